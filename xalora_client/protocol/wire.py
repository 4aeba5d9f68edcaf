"""The sequencer's protocol, without I/O: a task becomes a Request, a Response becomes an answer or an error.

Every call is ``POST {server}/{endpoint}`` with a JSON body; the key travels in the body. Endpoints, bodies and
answers are those recorded from the npm package ``heurist`` 0.0.43.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from .. import errors
from .credentials import Credentials, redact
from .parameters import Text
from .results import WorkflowTaskResult
from .tasks import WorkflowTask

_TASK_ID = Text("a task's id")


@dataclass(frozen=True)
class Request:
    """One POST. ``body`` holds the key, so ``repr`` leaves it out."""

    url: str
    body: Mapping[str, Any] = field(repr=False)
    task_id: str | None = None

    @property
    def secret(self) -> str:
        """What must not appear in anything shown to people."""
        return str(self.body.get("api_key") or "")

    def content(self) -> bytes:
        """The body as it is sent."""
        return json.dumps(self.body, ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True)
class Response:
    """One answer: status, headers with lower-case names, the whole body, and the Unix time it came in."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received: float


@dataclass(frozen=True)
class Sequencer:
    """Where requests go and who sends them."""

    url: str
    credentials: Credentials

    def create(self, task: WorkflowTask, job_id: str) -> Request:
        """``task_create``. ``workflow_id`` and ``timeout_seconds`` are left out when unset (or 0)."""
        who = self.credentials_of(task)
        body: dict[str, Any] = {
            "consumer_id": who.consumer_id,
            "api_key": who.api_key,
            "task_type": task.task_type,
            "task_details": task.task_details,
            "job_id": job_id,
        }
        if task.workflow_id:
            body["workflow_id"] = task.workflow_id
        if task.timeout_seconds:
            body["timeout_seconds"] = task.timeout_seconds
        return Request(f"{self.url}/task_create", body)

    def query(self, task_id: str, credentials: Credentials | None = None) -> Request:
        """``task_result_query``. Raises InvalidParameterError for what cannot be a task id."""
        return self._about("task_result_query", task_id, credentials)

    def cancel(self, task_id: str, credentials: Credentials | None = None) -> Request:
        """``task_cancel``. Raises InvalidParameterError for what cannot be a task id."""
        return self._about("task_cancel", task_id, credentials)

    def resource(self, consumer_id: str | None, workflow_id: str | None, task_type: str | None) -> Request:
        """``resource_request``."""
        body = {
            "consumer_id": consumer_id or self.credentials.consumer_id,
            "api_key": self.credentials.api_key,
        }
        optional = {"workflow_id": workflow_id, "task_type": task_type}
        return Request(
            f"{self.url}/resource_request", body | {name: value for name, value in optional.items() if value}
        )

    def credentials_of(self, task: WorkflowTask) -> Credentials:
        """The task's own consumer and key where it has them, else the client's."""
        return Credentials(task.consumer_id or self.credentials.consumer_id, task.api_key or self.credentials.api_key)

    def _about(self, endpoint: str, task_id: str, credentials: Credentials | None) -> Request:
        _TASK_ID.check("task_id", task_id)
        key = (credentials or self.credentials).api_key
        return Request(f"{self.url}/{endpoint}", {"task_id": task_id, "api_key": key}, task_id=task_id)


def check_status(response: Response, request: Request) -> None:
    """Raise the APIStatusError that a status outside 2xx stands for."""
    if not 200 <= response.status < 300:
        raise _status_error(response, request)


def read_task_id(response: Response, request: Request) -> str:
    """The id in an answer to ``task_create``."""
    return _read_id(response, request, "task_id", advice=_UNSURE)


def read_miner_id(response: Response, request: Request) -> str:
    """The id in an answer to ``resource_request``."""
    return _read_id(response, request, "miner_id")


def read_message(response: Response, request: Request) -> str:
    """The server's words in an answer to ``task_cancel``."""
    message = _read_object(response, request).get("msg")
    return message if isinstance(message, str) and message else "The server took the cancel request."


def read_result(response: Response, request: Request, *, server: str) -> WorkflowTaskResult:
    """The answer to ``task_result_query``. A missing status is a ResponseError."""
    answer = _read_object(response, request)
    status = answer.get("status")
    if not isinstance(status, str) or not status:
        raise errors.ResponseError("The server's answer has no status", task_id=request.task_id)
    return WorkflowTaskResult.from_answer(answer, task_id=request.task_id or "", server=server)


_UNSURE = "The task may have been created: look at your account, or at `xalora tasks`, before submitting it again."


def _read_id(response: Response, request: Request, name: str, advice: str | None = None) -> str:
    answer = _read_object(response, request, advice)
    value = answer.get(name)
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    words = answer.get("msg")
    said = f": {_shorten(words)}" if isinstance(words, str) and words else ""
    raise errors.ResponseError(f"The server's answer has no {name}{said}", advice=advice)


def _read_object(response: Response, request: Request, advice: str | None = None) -> dict[str, Any]:
    """Return the answer's JSON object, its texts cleared of the key, or raise a ResponseError."""
    try:
        # Scrubbing is inside: like parsing, it recurses as deep as the server's JSON goes.
        answer = _scrub(json.loads(response.body), request.secret)
    except (ValueError, RecursionError):
        start = _shorten(redact(response.body.decode("utf-8", "replace"), request.secret))
        raise errors.ResponseError(
            f"The server's answer is not JSON: {start!r}", task_id=request.task_id, advice=advice
        ) from None
    if not isinstance(answer, dict):
        raise errors.ResponseError("The server's answer is not a JSON object", task_id=request.task_id, advice=advice)
    return answer


def _scrub(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return redact(value, secret)
    if isinstance(value, list):
        return [_scrub(each, secret) for each in value]
    if isinstance(value, dict):
        return {_scrub(name, secret): _scrub(each, secret) for name, each in value.items()}
    return value


def read_retry_after(response: Response) -> float | None:
    """Seconds the server asks to wait before the next request, or None."""
    return parse_retry_after(response.headers.get("retry-after"), response.received)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait from a Retry-After header (RFC 9110: seconds, or a date); None when absent or unreadable.

    ``now`` is the Unix time that a date is counted from. A date in the past gives 0.
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value, re.ASCII):
        return float(value)
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return max(0.0, moment - now)


_ERRORS: dict[int, type[errors.APIStatusError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    410: errors.NotFoundError,
    422: errors.BadRequestError,
    429: errors.RateLimitError,
}


def _status_error(response: Response, request: Request) -> errors.APIStatusError:
    status = response.status
    kind = _ERRORS.get(status) or (errors.ServerError if status >= 500 else errors.APIStatusError)
    advice = None
    if 300 <= status < 400:
        # Following would hand the key to another host.
        target = redact(response.headers.get("location", "another address"), request.secret)
        advice = f"It redirects to {_shorten(target)}: if that is right, set XALORA_WORKFLOW_URL to it."
    return kind(
        _shorten(redact(_said(response), request.secret)),
        status_code=status,
        retry_after=read_retry_after(response),
        task_id=request.task_id,
        advice=advice,
    )


def _said(response: Response) -> str:
    """The server's words: ``message`` or ``error`` of a JSON object, else the text, else the status in words."""
    text = response.body[:65536].decode("utf-8", "replace").strip()
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        said = next((answer[name] for name in ("message", "error", "msg", "detail") if answer.get(name)), None)
        if said is not None:
            return said if isinstance(said, str) else json.dumps(said)
    if text and answer is None:
        return re.sub(r"<[^>]*>", " ", text) if text.startswith("<") else text
    try:
        return HTTPStatus(response.status).phrase
    except ValueError:
        return "no message"


def _shorten(text: str) -> str:
    """One line of at most 300 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:299]}…"
