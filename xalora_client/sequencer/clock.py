"""The sequencer's clock and timers, in one place, so that tests can replace them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Cancel the call."""


class Clock:
    """Unix time, and calls that come later on the running event loop."""

    def time(self) -> float:
        """The Unix time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of a clock that never jumps."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Call after so many seconds; at once when there are none left."""
        return asyncio.get_running_loop().call_later(seconds, callback, *arguments)

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds."""
        await self.wait(asyncio.get_running_loop().create_future(), seconds)

    async def wait(self, signal: asyncio.Future[None], seconds: float) -> None:
        """Wait until the signal is set, at most so many seconds. Afterwards the signal is done."""
        timer = self.call_later(seconds, wake, signal)
        try:
            await signal
        finally:
            timer.cancel()


def wake(signal: asyncio.Future[None]) -> None:
    """Set a signal that may be set already."""
    if not signal.done():
        signal.set_result(None)


class Watchers:
    """Those who wait for the next change of something."""

    def __init__(self) -> None:
        self._signals: set[asyncio.Future[None]] = set()

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Return at the next ``wake``, or after so many seconds."""
        signal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._signals.add(signal)
        try:
            await clock.wait(signal, seconds)
        finally:
            self._signals.discard(signal)

    def wake(self) -> None:
        """Wake all who wait."""
        for signal in self._signals:
            wake(signal)


async def first_ended(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Run them at once until one has ended, and cancel the others. What they return or raise is dropped."""
    running = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
