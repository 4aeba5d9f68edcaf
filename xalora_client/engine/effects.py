"""What a flow may ask its driver to do. Flows decide, drivers act."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ..http.transport import Fetch
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
