"""The lease of one task: heartbeats that renew it and learn at once when to stop, and reports of progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ..errors import XaloraError
from ..http.retry import retry
from ..protocol.miner import Assignment
from . import cancel
from .progress import Progress, small_jpeg
from .sequencer_api import SequencerAPI
from .timeouts import Timeouts

_SHORTEST_INTERVAL = 1.0
_LONGEST_DELAY = 5.0
"""A lease lasts 30 s. When the sequencer is back, it must get a heartbeat of this task in time."""


@dataclass(eq=False)
class Heartbeat:
    """Renews the lease of one task, as long as ``stopped`` is awaited. ``titles`` are its nodes' by id."""

    api: SequencerAPI
    task: Assignment
    titles: Mapping[str, str]
    timeouts: Timeouts

    def __post_init__(self) -> None:
        self._progress = Progress()
        self._changed = asyncio.Event()

    def report(self, progress: Progress) -> None:
        """Send the task's progress to the sequencer soon."""
        self._progress = progress
        self._changed.set()

    async def run_until_stopped(self) -> str:
        """Return why the sequencer wants the task stopped: "canceled", "timed out" or "lost"."""
        loops = [asyncio.ensure_future(loop) for loop in (self._renew(), self._report())]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            await cancel(*loops)

    async def _renew(self) -> str:
        beat = partial(self.api.heartbeat, self.task, wait_seconds=self.timeouts.heartbeat)
        while True:
            started = time.monotonic()
            with suppress(XaloraError):  # An answer outside the protocol. The submit will show what is wrong.
                if stop := await retry(beat, delays=self.timeouts.delays(_LONGEST_DELAY)):
                    return stop
            # A server that answers at once must not be asked without a pause.
            interval = min(_SHORTEST_INTERVAL, self.timeouts.heartbeat)
            await asyncio.sleep(max(0.0, interval - (time.monotonic() - started)))

    async def _report(self) -> str:
        while True:
            await self._changed.wait()
            self._changed.clear()
            progress = self._progress.to_json(self.titles)
            preview, self._progress.preview = self._progress.preview, b""
            if preview and (jpeg := await asyncio.to_thread(small_jpeg, preview)):
                progress["preview"] = jpeg
            with suppress(XaloraError):  # The next report has everything.
                if stop := await self.api.heartbeat(self.task, progress=progress):
                    return stop
            await asyncio.sleep(self.timeouts.report)
