"""How many requests go to one server at once, and when the next may go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from .retry import LONGEST_PAUSE

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


# When each server may be asked again with a key, by each clock: times of different clocks cannot be compared.
_pauses: dict[tuple[str, str, Callable[[], float]], float] = {}


def slow_down(server: str, key: str, clock: Callable[[], float], seconds: float) -> None:
    """Ask for a pause of so many seconds, at most LONGEST_PAUSE, from all clients of this process with this key."""
    resume = clock() + min(seconds, LONGEST_PAUSE)
    _pauses[server, key, clock] = max(resume, _pauses.get((server, key, clock), resume))


def pause_left(server: str, key: str, clock: Callable[[], float]) -> float:
    """Seconds until the server may be asked again with this key, 0 for now."""
    left = _pauses.get((server, key, clock), 0.0) - clock()
    if left <= 0:
        _pauses.pop((server, key, clock), None)
        return 0.0
    return left
