"""A clock for the sequencer that a test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any

from xalora_client.sequencer.clock import Clock


class _Call:
    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.callback = callback
        self.arguments = arguments
        self.canceled = False

    def cancel(self) -> None:
        self.canceled = True


class ManualClock(Clock):
    """Stands still until ``advance``. Use both from the loop's thread. ``jump`` sets the Unix time alone."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.ahead = 0.0
        """How far the wall clock was set forward."""
        self._calls: list[tuple[float, int, _Call]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now + self.ahead

    def monotonic(self) -> float:
        return self.now

    def jump(self, seconds: float) -> None:
        """Somebody sets the machine's clock."""
        self.ahead += seconds

    def call_later(self, seconds: float, callback: Callable[..., object], *arguments: Any) -> _Call:
        call = _Call(callback, arguments)
        if seconds <= 0:
            asyncio.get_running_loop().call_soon(self._run, call)
        else:
            heapq.heappush(self._calls, (self.now + seconds, next(self._numbers), call))
        return call

    def due_in(self, seconds: float) -> int:
        """How many calls come after exactly so many seconds."""
        return sum(moment == self.now + seconds and not call.canceled for moment, _, call in list(self._calls))

    def advance(self, seconds: float) -> None:
        """Make what was to come in these seconds come, in its order."""
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, call = heapq.heappop(self._calls)
            self._run(call)
        self.now = end

    @staticmethod
    def _run(call: _Call) -> None:
        if not call.canceled:
            call.callback(*call.arguments)
