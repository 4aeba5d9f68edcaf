"""Work that an interruption must not cut: it is waited for, and the interruption goes on afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")

LONGEST_TO_FINISH = 20.0
"""How long an interruption waits for an outcome that must not be lost."""


class Unbreakable(asyncio.Task[T], Generic[T]):
    """A task that may finish when its event loop is torn down, which cancels every other task."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        super().__init__(coroutine, loop=asyncio.get_running_loop())

    def cancel(self, msg: Any = None) -> bool:
        """Refuse while no loop runs: then the loop is being torn down. A transport's own timers run in the loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return super().cancel(msg)


async def wait_until_done(task: asyncio.Task[Any]) -> None:
    """Wait up to 20 s until the task is done, whatever else is thrown in meanwhile. After that it is canceled."""
    deadline = time.monotonic() + LONGEST_TO_FINISH
    while not task.done():
        left = deadline - time.monotonic()
        if left <= 0:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=max(0.0, left) or None)


async def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await the work. An interruption is raised when the work has ended, or after 20 s."""
    task = Unbreakable(coroutine)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await wait_until_done(task)
        if not task.cancelled():
            task.exception()  # Heard: the interruption matters more.
        raise
