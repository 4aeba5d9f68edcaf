"""What the sequencer answers to clients, without I/O: an answer becomes a value or an error.

Answers, fields and statuses are those of the product's "Text2Video Workflow" page and of the npm package ``heurist``
0.0.43.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from ..errors import InvalidParameterError, ResponseError, one_line
from .hidden import redact
from .inputs import display_details
from .miner import MOST_RESULTS
from .parameters import decode_data_uri, is_data_uri
from .requests import Request, Response
from .urls import Link, without_signatures


class TaskStatus(str, Enum):
    """The five states of a task; the last three are final."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"

    def __str__(self) -> str:
        return self.value


_LONGEST_STATUS = 60
_LONGEST_ID = 256
_REPLACED = "\N{REPLACEMENT CHARACTER}"
_NOT_JSON = object()

LARGEST_PREVIEW = 1024 * 1024
"""The most bytes of a preview. A larger one is ignored."""

_LONGEST_URI = LARGEST_PREVIEW * 4 // 3 + 100
_LONGEST_TITLE = 60
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""How a JPEG and a PNG begin."""

FINAL_STATUSES = frozenset({TaskStatus.FINISHED, TaskStatus.FAILED, TaskStatus.CANCELED})


@dataclass(frozen=True)
class TaskProgress:
    """How far a running task is.

    Attributes:
        value: The part that is done, 0 to ``maximum``: steps of the miner's node, or seconds for an estimate.
        maximum: The whole, above 0.
        title: What the miner works on, such as "KSampler". Empty when it is not known.
        preview: A new preview picture, as the bytes of a JPEG or PNG file. None when there is no newer one.
        estimated: True when the server reports no progress, and this is what earlier tasks of the kind suggest.
    """

    value: float
    maximum: float
    title: str = ""
    preview: bytes | None = field(default=None, repr=False)
    estimated: bool = False

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1."""
        return self.value / self.maximum


MORE_FILES = "files were made; the first"
"""How a miner says that a task made more than its result, or its results."""


@dataclass(frozen=True)
class WorkflowTaskResult:
    """The server's answer about one task. A field that it left out, or that cannot be read, is None.

    Attributes:
        task_id: The id that was asked for, whatever the answer says.
        status: A TaskStatus, or the server's own word in one line where it is none of those.
        result: The result as sent: a URL, an object with a URL, or a file name.
        task_type: The kind of task, such as "txt2vid".
        task_details: The parameters, as sent.
        create_timestamp: When the task was created, in Unix seconds.
        inference_latency: Seconds the miner worked.
        upload_latency: Seconds the miner uploaded.
        timeout_seconds: Seconds the sequencer gives the task.
        workflow_id: The server's workflow.
        msg: The server's message, in one line.
        media_url: The address of a finished task's media.
        retry_after: Seconds the server asked to wait before the next query.
        progress: How far the running task is.
        revision: The number of this state of the task, of a server whose queries may wait for the next one.
        long_poll_seconds: How long such a query may wait.
        extra: Every other field, as sent.
        more_media_urls: Where there are several media, as of a batch of pictures, the addresses of the others.
    """

    task_id: str
    status: str
    result: object = None
    task_type: str | None = None
    task_details: object = None
    create_timestamp: float | None = None
    inference_latency: float | None = None
    upload_latency: float | None = None
    timeout_seconds: float | None = None
    workflow_id: str | None = None
    msg: str | None = None
    media_url: str | None = None
    retry_after: float | None = None
    progress: TaskProgress | None = None
    revision: int | None = None
    long_poll_seconds: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    more_media_urls: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The answer as a JSON object, for example to be kept in a file. A preview is left out."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        progress = None if self.progress is None else vars(replace(self.progress, preview=None))
        plain = {"status": str(self.status), "progress": progress, "extra": dict(self.extra)}
        return values | plain | {"more_media_urls": list(self.more_media_urls)}

    @classmethod
    def from_json(cls, data: object) -> WorkflowTaskResult:
        """Make an answer of what ``to_json`` gave.

        Args:
            data: The JSON object.

        Returns:
            An equal answer.

        Raises:
            InvalidParameterError: It is no such object.
        """
        try:
            values = dict[str, Any](data)  # type: ignore[call-overload]
            progress = values.get("progress")
            read = {
                "status": _status(values["status"]),
                "progress": None if progress is None else TaskProgress(**progress),
                "more_media_urls": tuple(values.get("more_media_urls", ())),
            }
            return cls(**values | read)
        except (TypeError, ValueError, KeyError):
            raise InvalidParameterError("data", data, "what to_json gave") from None

    @property
    def is_final(self) -> bool:
        """Whether the status will not change any more."""
        return self.status in FINAL_STATUSES

    @property
    def media_urls(self) -> tuple[str, ...]:
        """The addresses of all media of a finished task."""
        return () if self.media_url is None else (self.media_url, *self.more_media_urls)

    @property
    def message(self) -> str | None:
        """The server's own words about the task, from whichever field has them."""
        candidates = [self.msg, self.extra.get("message"), self.extra.get("error")]
        if self.status != TaskStatus.FINISHED:
            # Not an address: it may be signed, and a message is shown and stored.
            candidates.append(None if "//" in str(self.result) else self.result)
        return next(filter(None, map(_words, candidates)), None)

    @property
    def why_waiting(self) -> str | None:
        """Why no miner takes the waiting task now, in the words of `xalora sequencer`; None where one does or will."""
        return self.msg if self.status == TaskStatus.WAITING and self.revision is not None else None

    @property
    def left_behind(self) -> str | None:
        """What a finished task made beside its result, in the miner's words; None where it made nothing more."""
        found = self.message or ""
        return found if self.status == TaskStatus.FINISHED and MORE_FILES in found else None

    @property
    def shown_details(self) -> object:
        """``task_details`` to show: without the bodies of ``data:`` URIs and the signatures of links."""
        return display_details(self.task_details)

    @classmethod
    def from_answer(
        cls, answer: Mapping[str, object], *, task_id: str, server: str, retry_after: float | None = None
    ) -> WorkflowTaskResult:
        """Read an answer.

        Args:
            answer: The answer's JSON object, which has a ``status``.
            task_id: The id that was asked for.
            server: The URL that a bare file name is resolved against.
            retry_after: Seconds the server asked to wait.

        Returns:
            The answer as a value.
        """
        status = _status(answer["status"])
        finished = status == TaskStatus.FINISHED
        revision, long_poll_seconds = read_long_poll(answer) or (None, None)
        is_ours = revision is not None
        results = answer.get("results") if finished and is_ours else None
        more = results[1:MOST_RESULTS] if isinstance(results, list) else []
        return cls(
            task_id=task_id,
            status=status,
            result=answer.get("result"),
            task_type=_text(answer.get("task_type")),
            task_details=answer.get("task_details"),
            create_timestamp=_number(answer.get("create_timestamp")),
            inference_latency=_number(answer.get("inference_latency")),
            upload_latency=_number(answer.get("upload_latency")),
            timeout_seconds=_number(answer.get("timeout_seconds")),
            workflow_id=_text(answer.get("workflow_id")),
            msg=_words(answer.get("msg")),
            media_url=_media_url(answer.get("result"), server, is_ours=is_ours) if finished else None,
            retry_after=retry_after,
            progress=read_progress(answer.get("progress")) if status == TaskStatus.RUNNING else None,
            revision=revision,
            long_poll_seconds=long_poll_seconds,
            extra={name: value for name, value in answer.items() if name not in _KNOWN},
            more_media_urls=tuple(filter(None, (_media_url(each, server, is_ours=True) for each in more))),
        )


_OURS = {"media_url", "more_media_urls", "retry_after", "progress", "revision", "long_poll_seconds", "extra"}
"""Fields that are made from the answer. What other servers mean by these names stays in ``extra``."""

_KNOWN = frozenset(WorkflowTaskResult.__dataclass_fields__) - _OURS


_OWN_RESULT = re.compile(r"(?:/[^?]*)?(/media/[0-9a-f]{32,64}\.[a-z0-9]{1,5}(?:/[0-9]{1,2})?)")
"""The path of a result that a sequencer of ours keeps, maybe behind the path of a proxy."""


def _media_url(result: Any, server: str, *, is_ours: bool) -> str | None:
    """Find the address in each form that the docs show: a URL, ``{"url": ...}``, or a bare file name.

    A result that a sequencer of ours keeps is at the address that is known to reach it: behind a proxy, it may know
    neither host nor path of that.
    """
    if isinstance(result, Mapping):
        result = result.get("url")
    if not isinstance(result, str) or not result.strip():
        return None
    address = result.strip()
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", address)
    try:
        if scheme is None:
            return Link.parse(f"{server}/").join(address.replace("#", "%23")).text
        link = Link.parse(address)  # Any other scheme (file:, data:, ...) is not downloaded from.
        own = _OWN_RESULT.fullmatch(link.target) if is_ours else None
        return f"{server}{own[1]}" if own else address
    except ValueError:
        return None


def _status(word: object) -> str:
    """A TaskStatus, in any case; else the server's own word."""
    word = str(word)
    known = word.strip().lower().replace("cancelled", "canceled")
    return TaskStatus(known) if known in {status.value for status in TaskStatus} else one_line(word, _LONGEST_STATUS)


def _words(value: Any) -> str | None:
    return one_line(without_signatures(value)) or None if isinstance(value, str) else None


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


def _amount(value: Any) -> float | None:
    number = None if isinstance(value, str) else _number(value)
    return number if number is not None and number >= 0 else None


def _picture(uri: Any) -> bytes | None:
    if not isinstance(uri, str) or len(uri) > _LONGEST_URI or not is_data_uri(uri):
        return None
    try:
        _, content = decode_data_uri(uri)
    except ValueError:
        return None
    return content if len(content) <= LARGEST_PREVIEW and content.startswith(_PICTURES) else None


def check_status(response: Response, request: Request) -> None:
    """Raise the APIStatusError that a status outside 2xx stands for."""
    if not 200 <= response.status < 300:
        from .status_errors import status_error

        raise status_error(response, request, read_retry_after(response))


def read_created(response: Response, request: Request) -> tuple[str, tuple[int, float] | None]:
    """The id in an answer to ``task_create``, and the revision and seconds of a server whose queries may wait.

    Raises ResponseError where there is no usable id.
    """
    return _read_id(response, request, "task_id"), read_long_poll(_read_object(response, request))


def read_miner_id(response: Response, request: Request) -> str:
    """The id in an answer to ``resource_request``."""
    return _read_id(response, request, "miner_id")


def read_object(response: Response, request: Request) -> dict[str, Any]:
    """The JSON object of an answer to ``workflow_list``. Raises ResponseError."""
    return _read_object(response, request)


def read_message(response: Response, request: Request) -> str:
    """The server's words in an answer to ``task_cancel``."""
    return _words(_read_object(response, request).get("msg")) or "The server took the cancel request."


def read_result(response: Response, request: Request, *, server: str) -> WorkflowTaskResult:
    """The answer to ``task_result_query``. A missing status is a ResponseError."""
    answer = _read_object(response, request)
    status = answer.get("status")
    if not isinstance(status, str) or not status.strip():
        raise ResponseError("The server's answer has no status", task_id=request.task_id)
    return WorkflowTaskResult.from_answer(
        answer, task_id=request.task_id or "", server=server, retry_after=read_retry_after(response)
    )


def read_progress(answer: object) -> TaskProgress | None:
    """The progress in an answer. None where there is none, or where it makes no sense: it is only shown."""
    if not isinstance(answer, Mapping):
        return None
    value, maximum = _amount(answer.get("value")), _amount(answer.get("maximum"))
    if value is None or not maximum:
        return None
    title = answer.get("title")
    return TaskProgress(
        value=min(value, maximum),
        maximum=maximum,
        title=one_line(title, _LONGEST_TITLE) if isinstance(title, str) else "",
        preview=_picture(answer.get("preview")),
    )


def read_long_poll(answer: Mapping[str, object]) -> tuple[int, float] | None:
    """The task's revision and the seconds that a query may wait, where the server announces that it may."""
    revision, seconds = answer.get("revision"), _amount(answer.get("long_poll_seconds"))
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 0 or not seconds:
        return None
    return revision, seconds


def _read_id(response: Response, request: Request, name: str) -> str:
    answer = _read_object(response, request)
    value = _text(answer.get(name)) or ""
    if value.strip() and value.isprintable() and _REPLACED not in value and len(value) <= _LONGEST_ID:
        return value
    if answer.get(name):
        raise ResponseError(f"The server's {name} is not usable: {one_line(repr(answer[name]), 80)}")
    words = _words(answer.get("msg"))
    raise ResponseError(f"The server's answer has no {name}{f': {words}' if words else ''}")


def _read_object(response: Response, request: Request) -> dict[str, Any]:
    """Return the answer's JSON object with the key removed from its strings. Raises ResponseError."""
    try:
        # Scrubbing is inside the try: like parsing, it recurses as deeply as the server's JSON is nested.
        answer = _scrub(json.loads(response.body), request.secret)
    except (ValueError, RecursionError):
        answer = _NOT_JSON
    if answer is _NOT_JSON:  # Not raised within: Python's own error holds on to the whole text.
        body = response.body[:4096].decode("utf-8", "replace")
        start = one_line(without_signatures(redact(body, request.secret)), 100)
        what = (
            f"The server's answer is not JSON: {start!r}" if start else f"The server answered {response.status} alone"
        )
        raise ResponseError(what, task_id=request.task_id)
    if not isinstance(answer, dict):
        raise ResponseError("The server's answer is not a JSON object", task_id=request.task_id)
    return answer


def _scrub(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        # JSON can hold lone surrogates, which cannot be printed, sent or stored.
        return redact(value, secret).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_scrub(item, secret) for item in value]
    if isinstance(value, dict):
        return {_scrub(name, secret): _scrub(item, secret) for name, item in value.items()}
    return value


def read_retry_after(response: Response) -> float | None:
    """Seconds the server asks to wait (RFC 9110: seconds, or a date); None when it does not, or cannot be understood.

    A date in the past gives 0.
    """
    value = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value, re.ASCII):
        return float(value)
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return max(0.0, moment - response.received)
