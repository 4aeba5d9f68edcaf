"""Every error the SDK raises is one of these, or a subclass of one.

::

    XaloraError
    ├── ConfigurationError (ValueError)      no key, a bad URL, settings that conflict
    │   └── InvalidParameterError            a value no task can be built with; nothing was sent
    ├── StorageError                         a full disk, a folder that cannot be written, a damaged file
    ├── NetworkError (ConnectionError)       no complete answer came back
    │   └── RequestTimeoutError (TimeoutError)
    ├── APIStatusError                       the server answered with a status outside 2xx
    │   ├── BadRequestError                  400, 422
    │   ├── AuthenticationError              401
    │   ├── PaymentRequiredError             402
    │   ├── PermissionDeniedError            403
    │   ├── NotFoundError                    404, 410
    │   ├── ConflictError                    409
    │   ├── RateLimitError                   429
    │   └── ServerError                      5xx
    ├── ResponseError (ValueError)           2xx, but not an answer of the protocol
    ├── TaskError                            the task itself did not end well
    │   ├── TaskFailedError
    │   ├── TaskCanceledError
    │   └── TaskTimeoutError (TimeoutError)  the local deadline passed; the task continues
    └── MediaError                           the result cannot be used as media
        ├── DownloadError
        ├── DecodeError (ValueError)
        └── MediaTooLargeError

A message has three parts: what happened, to which task, and what to do next. The last part depends on where it is
read: ``messages.py`` has it for the command line, for ComfyUI and for programs.

An error is never changed after it was raised. To add context, raise a new one from it:
``raise error.derived(…) from error``.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from . import messages

if TYPE_CHECKING:
    from typing_extensions import Unpack

E = TypeVar("E", bound="XaloraError")

# Control characters, marks that change the direction of text, and lone surrogates.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")


_MOST_LISTED = 20


def one_line(text: str, longest: int = 300) -> str:
    """Text from outside, safe to show: one line of at most ``longest`` characters, without control characters."""
    # Cut before cleaning: a server may send a megabyte.
    line = " ".join(_UNSHOWN.sub(" ", text[: 4 * longest]).split())
    return line if len(line) <= longest and len(text) <= 4 * longest else f"{line[: longest - 1]}…"


def listed(names: Sequence[object]) -> str:
    """Names from outside as a list in words: at most twenty, in less than 2,000 characters, and how many more."""
    shown = ", ".join(one_line(str(name), 90) for name in names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return f"{shown} and {more:,} more" if more > 0 else shown


Sent = Literal["no", "maybe"]


class _Common(TypedDict, total=False):
    """What every error accepts by keyword."""

    task_id: str | None
    advice: str | None
    code: str | None
    params: Mapping[str, object] | None


class XaloraError(Exception):
    """Base of every error. ``str()`` joins what, task and advice. All accept the keywords of this one.

    Attributes:
        what: What happened.
        task_id: The task it happened to, or None.
        code: Names the kind of failure, such as "no_key". Several classes may share one.
        params: The values in its message, by name.
        transient: Whether the same call may work later.
        sent: "no" when the server certainly did not process the request, else "maybe".
        retry_after: The seconds that the server asked to wait, or None.
        remedy: What a program may offer to do: "set-key", "check-server", "top-up" the account, "retry" the same call,
            "collect" the task's result by its id, or None.
    """

    code: str = "error"
    remedy: str | None = None
    transient: bool = False
    sent: Literal["no", "maybe"] = "maybe"
    retry_after: float | None = None

    def __init__(
        self,
        what: str = "",
        *,
        task_id: str | None = None,
        advice: str | None = None,
        remedy: str | None = None,
        code: str | None = None,
        params: Mapping[str, object] | None = None,
    ) -> None:
        """Make an error.

        Args:
            what: What happened. Empty: the text for the code.
            task_id: The task it happened to, or None.
            advice: What to do next. None: the advice for the code.
            remedy: What a program may offer to do. None: what the class has.
            code: The kind of failure. None: that of the class.
            params: The values in the code's text, by name.
        """
        self.code = self.code if code is None else code
        self.params: dict[str, object] = dict(params or {})
        self.what: str = what or messages.what(self.code, self.params)
        self.task_id = task_id
        self.own_advice = advice
        self.remedy = self.remedy if remedy is None else remedy
        super().__init__(self.what)

    @property
    def advice(self) -> str:
        """What to do next, for programs."""
        return self.advice_for(messages.LIBRARY)

    def advice_for(self, surface: Literal["library", "command", "nodes"]) -> str:
        """What to do next, in the terms of that surface.

        Args:
            surface: Who reads it: "library", "command" or "nodes".
        """
        if self.own_advice is not None:
            return self.own_advice
        return messages.advice(self.code, self.params, surface)

    @property
    def plain(self) -> str:
        """What happened, for a user of ComfyUI."""
        return messages.plain(self.code, self.params) or self.what

    @property
    def details(self) -> str:
        """What ``plain`` leaves out and an expert would ask for: the error's own text, and the task. May be empty."""
        has_all = self.plain == self.what or self.plain.endswith(f": {self.params.get('message')}")
        what = "" if has_all else self.what
        task = f"task {self.task_id}" if self.task_id and self.task_id not in what else ""
        return " · ".join(filter(None, [what, task]))

    @property
    def untranslated(self) -> str:
        """The text for a user of ComfyUI where a translation of its code's words would leave something out, else ""."""
        return "" if messages.has_all(self.code) and self.own_advice is None else self.text(messages.NODES)

    def text(self, surface: Literal["library", "command", "nodes"]) -> str:
        """The whole message, in the terms of that surface. For "nodes", the details come last.

        Args:
            surface: Who reads it: "library", "command" or "nodes".
        """
        if surface == messages.NODES:
            details = f" ({self.details})" if self.details else ""
            return f"{self.plain.rstrip('.')}. {self.advice_for(surface)}".rstrip() + details
        what = self.what.rstrip(".")
        if self.task_id and self.task_id not in what:
            what = f"{what} (task {self.task_id})"
        return f"{what}. {self.advice_for(surface)}".rstrip()

    def __str__(self) -> str:
        return self.text(messages.LIBRARY)

    def derived(self: E, **changes: object) -> E:
        """The same error with other facts, to raise from this one.

        Args:
            changes: Attributes by name. ``advice`` replaces that of the code; ``params`` are added; without a
                ``what``, that of the code is used.

        Returns:
            A new error of the same class.
        """
        facts: dict[str, Any] = self.__dict__ | changes
        if "advice" in changes:
            facts["own_advice"] = facts.pop("advice")
        elif "code" in changes:
            facts["own_advice"] = None
        facts["params"] = self.params | facts["params"]
        facts["what"] = facts["what"] or messages.what(facts["code"], facts["params"])
        error: E = _unpickled(type(self), self.args, facts)
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, because the name of these classes' module is not where the package is."""
        kind = type(self)
        known: Any = kind.__name__ if globals().get(kind.__name__) is kind else kind
        return _unpickled, (known, self.args, self.__dict__)


def _unpickled(kind: Any, args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    kind = globals()[kind] if isinstance(kind, str) else kind
    error: XaloraError = kind.__new__(kind, *args)
    error.args = (state["what"],) if "what" in state else args
    error.__dict__.update(state)
    return error


class ConfigurationError(XaloraError, ValueError):
    """The client cannot work as it is set up; nothing was sent."""

    code = "configuration"
    sent: Literal["no", "maybe"] = "no"


class InvalidParameterError(ConfigurationError):
    """A task parameter has a value that is not allowed; nothing was sent.

    Attributes:
        field: The parameter's name.
        value: Its value.
        allowed: What is allowed, in words.
    """

    code = "invalid_parameter"

    def __init__(self, field: str, value: object, allowed: str, **rest: Unpack[_Common]) -> None:
        """Make an error of the attributes ``field``, ``value`` and ``allowed``. ``rest`` is as for XaloraError."""
        try:
            shown = one_line(repr(value), 80)
        except (RecursionError, ValueError):  # Nested too deeply, or a number with thousands of digits.
            shown = f"a {type(value).__name__} too large to show"
        facts = {"field": field, "value": shown, "allowed": allowed}
        super().__init__(f"{field} is {shown}", **rest | {"params": facts | dict(rest.get("params") or {})})
        self.field = field
        self.value = value
        self.allowed = allowed

    @property
    def details(self) -> str:
        """As for every error. The value is in the plain words."""
        return "" if self.what == f"{self.field} is {self.params['value']}" else super().details

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the value if possible, else its ``repr``."""
        rebuild, (kind, args, state) = super().__reduce__()
        try:
            pickle.dumps(self.value)
        except Exception:  # noqa: BLE001 - whatever the value's own code raises
            state = state | {"value": repr(self.value)}
        return rebuild, (kind, args, state)


class StorageError(XaloraError):
    """This machine's disk cannot be used: it is full, cannot be written, or holds a damaged file."""

    code = "storage"
    sent: Literal["no", "maybe"] = "no"


class NetworkError(XaloraError, ConnectionError):
    """No complete answer came back.

    Attributes:
        sent: "no" when no connection was made, so that the server certainly did not process the request.
        transient: False when trying again cannot help, as with a certificate that is not trusted.
    """

    code = "network"
    remedy: str | None = "retry"
    transient: bool = True

    def __init__(
        self,
        what: str = "",
        *,
        sent: Literal["no", "maybe"] = "maybe",
        transient: bool = True,
        **rest: Unpack[_Common],
    ) -> None:
        """Make an error. ``sent`` and ``transient`` are attributes; ``what`` and ``rest`` are as for XaloraError."""
        super().__init__(what, **rest)
        self.sent: Literal["no", "maybe"] = sent
        self.transient = transient
        self.remedy = self.remedy if transient else "check-server"


class RequestTimeoutError(NetworkError, TimeoutError):
    """The server did not answer one request in time."""

    code = "request_timeout"


_NOT_PROCESSED = frozenset(
    # Something on the way or at the door turned the request away, or sent it elsewhere unread.
    {307, 308, 401, 402, 403, 404, 405, 407, 410, 421, 426, 451, 511}
    # Its form is refused: head, length, size, coding, method or protocol. That is decided before anything is done.
    | {400, 406, 411, 413, 414, 415, 422, 428, 431, 501, 505}
    # The server puts it off, or has no room to store it.
    | {425, 429, 507}
)
"""Statuses of requests that were certainly not processed, by their definitions (RFC 9110, 4918 and 6585).

All others may come after the work: 409 from a job that exists, 500 from a fault right after it, 502 and 504 from a
proxy that lost the answer, 303 in place of one. So may a plain 503; with Retry-After, the server puts requests off.
"""


class APIStatusError(XaloraError):
    """The server answered with an HTTP status outside 2xx.

    Attributes:
        status_code: That status.
        message: The server's message.
        retry_after: The seconds it asked to wait, or None.
    """

    code = "status"

    def __init__(
        self,
        message: str,
        *,
        status_code: int = 0,
        retry_after: float | None = None,
        processed: bool = True,
        **rest: Unpack[_Common],
    ) -> None:
        """Make an error.

        Args:
            message: The server's message.
            status_code: The status; 0 leaves it out of the message.
            retry_after: The seconds that the server asked to wait, or None.
            processed: False where the answer says that the request was not, whatever its status means.
            rest: The keywords of XaloraError.
        """
        what = f"The server answered {status_code}: {message}" if status_code else message
        super().__init__(what, **rest)
        self.params.setdefault("message", message)
        self.message = message
        self.status_code = status_code
        self.retry_after = retry_after
        self.transient: bool = status_code in (408, 425, 429) or status_code >= 500
        busy = status_code == 503 and retry_after is not None
        self.sent: Literal["no", "maybe"] = "no" if busy or not processed or status_code in _NOT_PROCESSED else "maybe"


class BadRequestError(APIStatusError):
    """400 or 422: the server does not accept these parameters."""

    code = "bad_request"


class AuthenticationError(APIStatusError):
    """401: the key is not accepted."""

    code = "authentication"
    remedy: str | None = "set-key"


class PaymentRequiredError(APIStatusError):
    """402: the account has no credit left."""

    code = "payment_required"
    remedy: str | None = "top-up"


class PermissionDeniedError(APIStatusError):
    """403: this key may not do that."""

    code = "permission_denied"


class NotFoundError(APIStatusError):
    """404 or 410: the server does not know the task or the address."""

    code = "not_found"


class ConflictError(APIStatusError):
    """409: the request does not fit the task's present state."""

    code = "conflict"


class RateLimitError(APIStatusError):
    """429: too many requests."""

    code = "rate_limit"
    remedy: str | None = "retry"


class ServerError(APIStatusError):
    """5xx: the server failed."""

    code = "server_error"
    remedy: str | None = "retry"


class ResponseError(XaloraError, ValueError):
    """The server answered 2xx with something outside the protocol."""

    code = "response"
    remedy: str | None = "check-server"


class TaskError(XaloraError):
    """A task did not end well. ``result`` is the server's last answer about it, or None."""

    def __init__(self, what: str = "", *, result: object = None, **rest: Unpack[_Common]) -> None:
        """Make an error. ``result`` is the attribute; ``what`` and ``rest`` are as for XaloraError."""
        super().__init__(what, **rest)
        self.result = result


class TaskFailedError(TaskError):
    """The miner or the sequencer gave up on the task."""

    code = "task_failed"
    remedy: str | None = "retry"


class TaskCanceledError(TaskError):
    """The task was canceled before it finished."""

    code = "task_canceled"
    remedy: str | None = "retry"


class TaskTimeoutError(TaskError, TimeoutError):
    """The local deadline passed. The task was not canceled and may still finish."""

    code = "task_timeout"
    remedy: str | None = "collect"


class MediaError(XaloraError):
    """A result cannot be used as media. ``path`` is the file that is kept, or None."""

    code = "media"

    def __init__(self, what: str = "", *, path: Path | None = None, **rest: Unpack[_Common]) -> None:
        """Make an error. ``path`` is the attribute; ``what`` and ``rest`` are as for XaloraError."""
        super().__init__(what, **rest)
        self.path = path


class DownloadError(MediaError):
    """The result's bytes could not be downloaded, or are not complete."""

    code = "download"
    remedy: str | None = "collect"


class DecodeError(MediaError, ValueError):
    """The bytes are not media that can be read; the file is kept for inspection."""

    code = "decode"


class MediaTooLargeError(MediaError):
    """A limit on bytes, pixels, frames or duration would be exceeded; the message names the limit and the value."""

    code = "media_too_large"


# Shown as "xalora_client.NotFoundError" wherever the package is: inside ComfyUI its real path is long.
for _class in [value for value in vars().values() if isinstance(value, type) and issubclass(value, XaloraError)]:
    _class.__module__ = "xalora_client"
