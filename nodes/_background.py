"""A thread with an event loop, for what the routes do: ComfyUI's own loop must not wait for disks and networks."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="xalora-routes", daemon=True).start()
    return loop


async def run(work: Coroutine[Any, Any, T]) -> T:
    """Do the work in the background and await its result. It goes on when the one who awaits is gone."""
    return await asyncio.shield(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, _loop())))


def start(work: Coroutine[Any, Any, Any]) -> None:
    """Do the work in the background."""
    asyncio.run_coroutine_threadsafe(work, _loop())
