"""What a flow may ask its driver to do. Flows decide, drivers act."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ..protocol.requests import Request

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send a request; resumes with the Response, or with the NetworkError thrown in.

    ``timeout`` is in seconds. ``settle`` says that an interruption must not lose the answer: the driver then waits a
    little longer for it, resumes the flow with it, and throws the interruption in at the flow's next effect.
    """

    request: Request
    timeout: float
    settle: bool = False


@dataclass(frozen=True)
class Sleep:
    """Wait some seconds; resumes with None."""

    seconds: float


@dataclass(frozen=True)
class Fetch:
    """GET a file; resumes with the Response, whose body is empty where ``sink`` took it. Redirects are not followed.

    Attributes:
        url: The address.
        headers: More headers to send.
        sink: ``sink(status, headers)`` is called once, when the headers are there. It returns the function that takes
            the pieces of the body, or None to have the body's start in the Response, as for an error page.
        timeout: The longest silence in seconds, not the time for the whole download.
        sequencer: The URL of the sequencer that gave the address. Unless it is on this machine or in a private network,
            addresses there are refused with a DownloadError.
    """

    url: str
    headers: Mapping[str, str]
    sink: Callable[[int, Mapping[str, str]], Callable[[bytes], object] | None]
    timeout: float
    sequencer: str = ""


@dataclass(frozen=True)
class Call:
    """Run slow local work (disk, decoding) off the event loop; resumes with what it returns.

    An interruption waits until it ends, as with ``Send.settle``.
    """

    function: Callable[[], Any]


@dataclass(frozen=True)
class Await:
    """Await what ``start()`` returns, such as an upload; resumes with its result. An interruption cancels it.

    ``settle`` as for ``Send``.
    """

    start: Callable[[], Coroutine[Any, Any, Any]]
    settle: bool = False


Effect: TypeAlias = Send | Sleep | Fetch | Call | Await
Flow: TypeAlias = Generator[Effect, Any, T]
