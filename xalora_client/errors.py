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

A message has three parts: what happened, to which task, and what to do next.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

# Control characters, marks that change the direction of text, and lone surrogates.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")


def one_line(text: str, longest: int = 300) -> str:
    """Text from outside, safe to show: one line of at most ``longest`` characters, without control characters."""
    # Cut before cleaning: a server may send a megabyte.
    line = " ".join(_UNSHOWN.sub(" ", text[: 4 * longest]).split())
    return line if len(line) <= longest and len(text) <= 4 * longest else f"{line[: longest - 1]}…"


class XaloraError(Exception):
    """Base of every error. ``str()`` joins what, task and advice.

    Attributes:
        what: What happened.
        task_id: The task it happened to, or None.
        advice: What to do next.
        remedy: What a program may offer to do: "set-key", "check-server", "top-up" the account, "retry" (the same call
            again is right), "collect" (the task's result, by its id), or None.
    """

    advice = ""
    remedy: str | None = None

    def __init__(
        self, what: str, *, task_id: str | None = None, advice: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.task_id = task_id
        self.advice = self.advice if advice is None else advice
        self.remedy = self.remedy if remedy is None else remedy

    def __str__(self) -> str:
        what = self.what.rstrip(".")
        if self.task_id and self.task_id not in what:
            what = f"{what} (task {self.task_id})"
        return f"{what}. {self.advice}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, because the name of these classes' module is not where the package is."""
        kind = type(self)
        known: Any = kind.__name__ if globals().get(kind.__name__) is kind else kind
        return _unpickled, (known, self.args, self.__dict__)


def _unpickled(kind: Any, args: tuple[Any, ...], state: dict[str, Any]) -> XaloraError:
    kind = globals()[kind] if isinstance(kind, str) else kind
    error: XaloraError = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(XaloraError, ValueError):
    """The client cannot work as it is set up; nothing was sent."""


class InvalidParameterError(ConfigurationError):
    """A task parameter has a value that is not allowed; nothing was sent.

    Attributes:
        field: The parameter's name.
        value: Its value.
        allowed: What is allowed, in words.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        try:
            shown = one_line(repr(value), 80)
        except (RecursionError, ValueError):  # Nested too deeply, or a number with thousands of digits.
            shown = f"a {type(value).__name__} too large to show"
        super().__init__(f"{field} is {shown}", advice=f"Allowed: {allowed}.")
        self.field = field
        self.value = value
        self.allowed = allowed

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

    advice = "Free some space or make the folder writable, or point XALORA_HOME elsewhere."


class NetworkError(XaloraError, ConnectionError):
    """No complete answer came back.

    Attributes:
        never_sent: True when no connection was made, so the server certainly did not process the request.
        lasting: True when trying again cannot help, as with a certificate that is not trusted.
    """

    advice = "Check the network, proxy and XALORA_WORKFLOW_URL, then try again."
    remedy = "retry"

    def __init__(self, what: str, *, never_sent: bool = False, lasting: bool = False, **more: str | None) -> None:
        super().__init__(what, **more)
        self.never_sent = never_sent
        self.lasting = lasting
        self.remedy = "check-server" if lasting else self.remedy


class RequestTimeoutError(NetworkError, TimeoutError):
    """The server did not answer one request in time."""


class APIStatusError(XaloraError):
    """The server answered with an HTTP status outside 2xx.

    Attributes:
        status_code: That status.
        message: The server's own words.
        retry_after: The seconds it asked to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int = 0,
        retry_after: float | None = None,
        task_id: str | None = None,
        advice: str | None = None,
    ) -> None:
        what = f"The server answered {status_code}: {message}" if status_code else message
        super().__init__(what, task_id=task_id, advice=advice)
        self.message = message
        self.status_code = status_code
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400 or 422: the server does not accept these parameters."""

    advice = "Correct the parameters and submit again; nothing was started."


class AuthenticationError(APIStatusError):
    """401: the key is not accepted."""

    advice = "Check XALORA_API_KEY (consumer#key)."
    remedy = "set-key"


class PaymentRequiredError(APIStatusError):
    """402: the account has no credit left."""

    advice = "Top up the account, then submit again."
    remedy = "top-up"


class PermissionDeniedError(APIStatusError):
    """403: this key may not do that."""

    advice = "Check that the key belongs to the account that owns the task or workflow."


class NotFoundError(APIStatusError):
    """404 or 410: the server does not know the task or the address."""

    advice = "Check the task id and XALORA_WORKFLOW_URL."


class ConflictError(APIStatusError):
    """409: the request does not fit the task's present state."""

    advice = "Look at the task's status before trying again."


class RateLimitError(APIStatusError):
    """429: too many requests."""

    advice = "Wait a moment and try again."
    remedy = "retry"


class ServerError(APIStatusError):
    """5xx: the server failed."""

    advice = "Try again later."
    remedy = "retry"


class ResponseError(XaloraError, ValueError):
    """The server answered 2xx with something outside the protocol."""

    advice = "Check that XALORA_WORKFLOW_URL points at a Xalora sequencer."
    remedy = "check-server"


class TaskError(XaloraError):
    """A task did not end well. ``result`` is the server's last answer about it, or None."""

    def __init__(
        self, what: str, *, task_id: str | None = None, advice: str | None = None, result: object = None
    ) -> None:
        super().__init__(what, task_id=task_id, advice=advice)
        self.result = result


class TaskFailedError(TaskError):
    """The miner or the sequencer gave up on the task."""

    advice = "Change the parameters or submit it again as a new task."
    remedy = "retry"


class TaskCanceledError(TaskError):
    """The task was canceled before it finished."""

    advice = "Submit it again as a new task if the result is still wanted."
    remedy = "retry"


class TaskTimeoutError(TaskError, TimeoutError):
    """The local deadline passed. The task was not canceled and may still finish."""

    advice = "It goes on remotely: collect it later by its id, or cancel it."
    remedy = "collect"


class MediaError(XaloraError):
    """A result cannot be used as media. ``path`` is the file that is kept, or None."""

    def __init__(
        self, what: str, *, task_id: str | None = None, advice: str | None = None, path: Path | None = None
    ) -> None:
        super().__init__(what, task_id=task_id, advice=advice)
        self.path = path


class DownloadError(MediaError):
    """The result's bytes could not be downloaded, or are not complete."""

    advice = "Fetch the task again; it is paid for, and nothing is charged again."
    remedy = "collect"


class DecodeError(MediaError, ValueError):
    """The bytes are not media that can be read; the file is kept for inspection."""


class MediaTooLargeError(MediaError):
    """A limit on bytes, pixels, frames or duration would be exceeded; the message names the limit and the value."""

    advice = "Ask for fewer or smaller frames, or in Python allow more with Client(limits=...)."


# Shown as "xalora_client.NotFoundError" wherever the package is: inside ComfyUI its real path is long.
for _kind in [each for each in vars().values() if isinstance(each, type) and issubclass(each, XaloraError)]:
    _kind.__module__ = "xalora_client"
