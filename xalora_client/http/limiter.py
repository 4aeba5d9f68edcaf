"""How many requests go to one server at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
