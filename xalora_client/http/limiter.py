"""How many requests go to one server at once, and when the next may go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

ORDINARY_AT_ONCE = 12
"""The most requests to one server at the same time on one event loop."""

URGENT_AT_ONCE = 4
"""The most cancels, besides these: a cancel must not wait behind creates that get no answer."""

_limits: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, bool], asyncio.Semaphore]] = WeakKeyDictionary()


@asynccontextmanager
async def limited(origin: str, *, urgent: bool = False) -> AsyncIterator[None]:
    """Wait for a slot at that server, and keep it until the end of the block."""
    of_loop = _limits.setdefault(asyncio.get_running_loop(), {})
    slots = URGENT_AT_ONCE if urgent else ORDINARY_AT_ONCE
    async with of_loop.setdefault((origin, urgent), asyncio.Semaphore(slots)):
        yield


LONGEST_PAUSE = 120.0
"""The longest pause in seconds after one answer. A server that is still overloaded will say so again."""

# When each server may be asked again, by each clock: times of different clocks cannot be compared.
_pauses: dict[tuple[str, Callable[[], float]], float] = {}


def slow_down(server: str, clock: Callable[[], float], seconds: float) -> None:
    """Send nothing more to the server for so many seconds, also from other clients of this process."""
    resume = clock() + min(seconds, LONGEST_PAUSE)
    _pauses[server, clock] = max(resume, _pauses.get((server, clock), resume))


def pause_left(server: str, clock: Callable[[], float]) -> float:
    """Seconds until the server may be asked again, 0 for now."""
    left = _pauses.get((server, clock), 0.0) - clock()
    if left <= 0:
        _pauses.pop((server, clock), None)
        return 0.0
    return left
