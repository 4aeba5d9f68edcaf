"""What the sequencer says, without I/O: an answer becomes a value, or an error.

Answers, fields and statuses are those of the product's "Text2Video Workflow" page and of the npm package ``heurist``
0.0.43.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from .. import errors
from .requests import Request, Response, redact


class TaskStatus(str, Enum):
    """The five states of a task; the last three are final."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"

    def __str__(self) -> str:
        return self.value


FINAL_STATUSES = frozenset({TaskStatus.FINISHED, TaskStatus.FAILED, TaskStatus.CANCELED})


@dataclass(frozen=True)
class WorkflowTaskResult:
    """One answer about one task.

    ``create_timestamp`` is in Unix seconds, the two latencies and ``timeout_seconds`` are in seconds. A field the
    server left out, or sent in a form that cannot be read, is None. ``extra`` keeps every field not known here.
    ``status`` is a TaskStatus, or the server's own word where that is none of the five. ``retry_after`` is the
    seconds the server asked to wait before the next query.
    """

    task_id: str
    status: str
    result: Any = None
    task_type: str | None = None
    task_details: Any = None
    create_timestamp: float | None = None
    inference_latency: float | None = None
    upload_latency: float | None = None
    timeout_seconds: float | None = None
    workflow_id: str | None = None
    msg: str | None = None
    media_url: str | None = None
    retry_after: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether the status will not change any more."""
        return self.status in FINAL_STATUSES

    @property
    def message(self) -> str | None:
        """The server's own words about the task, wherever it put them."""
        candidates = [self.msg, self.extra.get("message"), self.extra.get("error")]
        if self.status != TaskStatus.FINISHED:
            candidates.append(self.result)
        return next((text for text in candidates if isinstance(text, str) and text.strip()), None)

    @classmethod
    def from_answer(
        cls, answer: Mapping[str, Any], *, task_id: str, server: str, retry_after: float | None = None
    ) -> WorkflowTaskResult:
        """Read an answer that has a ``status``; ``server`` is the URL a bare file name is resolved against."""
        status = str(answer["status"])
        finished = status == TaskStatus.FINISHED
        return cls(
            task_id=_text(answer.get("task_id")) or task_id,
            status=TaskStatus(status) if status in {each.value for each in TaskStatus} else status,
            result=answer.get("result"),
            task_type=_text(answer.get("task_type")),
            task_details=answer.get("task_details"),
            create_timestamp=_number(answer.get("create_timestamp")),
            inference_latency=_number(answer.get("inference_latency")),
            upload_latency=_number(answer.get("upload_latency")),
            timeout_seconds=_number(answer.get("timeout_seconds")),
            workflow_id=_text(answer.get("workflow_id")),
            msg=_text(answer.get("msg")),
            media_url=_media_url(answer.get("result"), server) if finished else None,
            retry_after=retry_after,
            extra={name: value for name, value in answer.items() if name not in _KNOWN},
        )


_KNOWN = frozenset(WorkflowTaskResult.__dataclass_fields__) - {"media_url", "retry_after", "extra"}


def _media_url(result: Any, server: str) -> str | None:
    """Find the address in each form the docs show: a URL, ``{"url": ...}``, or a bare file name."""
    if isinstance(result, Mapping):
        result = result.get("url")
    if not isinstance(result, str) or not result.strip():
        return None
    address = result.strip()
    try:
        scheme = urlsplit(address).scheme
        if scheme in ("http", "https"):
            return address
        # Only a name or path is left to resolve; any other scheme (file:, data:, ...) is no place to fetch from.
        return None if scheme else urljoin(f"{server}/", quote(address, safe="/%?=&~+,;@"))
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


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
    return WorkflowTaskResult.from_answer(
        answer, task_id=request.task_id or "", server=server, retry_after=read_retry_after(response)
    )


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
