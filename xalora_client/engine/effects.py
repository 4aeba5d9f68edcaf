"""What a flow may ask of its driver. Flows think, drivers act."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ..protocol.requests import Request

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send a request; resumes with the Response, or with the NetworkError thrown in.

    ``timeout`` is in seconds. ``settle`` says that the answer matters too much to be lost to an interruption: the
    driver then waits for it a while longer, resumes the flow with it, and throws the interruption in at the flow's
    next effect.
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
    """GET a file; resumes with the Response, whose body is empty where ``sink`` took it.

    ``sink(status, headers)`` is called once when the headers are there and returns what takes the chunks, or None
    to have the body in the Response, as for an error page. Redirects are not followed. ``timeout`` is the longest
    silence in seconds, not the whole download's time. ``sequencer`` is whose word the address is: where that server is
    not on this machine or in a private network, addresses there are refused with a DownloadError.
    """

    url: str
    headers: Mapping[str, str]
    sink: Callable[[int, Mapping[str, str]], Callable[[bytes], object] | None]
    timeout: float
    sequencer: str = ""


@dataclass(frozen=True)
class Call:
    """Run slow local work (disk, decoding) where it blocks nobody; resumes with what it returns.

    An interruption waits for its end, as with ``Send.settle``.
    """

    function: Callable[[], Any]


Effect: TypeAlias = Send | Sleep | Fetch | Call
Flow: TypeAlias = Generator[Effect, Any, T]
