"""Holding a task: heartbeats that learn at once when to stop, and reports of progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

from ..errors import XaloraError
from ..http.retry import retry
from ..protocol.miner import Assignment
from .progress import Progress, small_jpeg
from .sequencer_api import SequencerAPI
from .timeouts import Timeouts

_SOONEST_SECONDS = 1.0
_LONGEST_DELAY = 5.0
"""A lease lasts 30 s: when the sequencer is back, it must hear of this task in time."""


class Heartbeat:
    """Keeps the lease of one task, for as long as ``stopped`` is awaited."""

    def __init__(self, api: SequencerAPI, task: Assignment, titles: Mapping[str, str], timeouts: Timeouts) -> None:
        self._api = api
        self._task = task
        self._titles = titles
        self._timeouts = timeouts
        self._progress = Progress()
        self._changed = asyncio.Event()

    def report(self, progress: Progress) -> None:
        """Tell the sequencer how far the task is, soon."""
        self._progress = progress
        self._changed.set()

    async def stopped(self) -> str:
        """Return why the sequencer wants the task stopped: "canceled", "timed out" or "lost"."""
        loops = [asyncio.ensure_future(loop) for loop in (self._renew(), self._report())]
        try:
            await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            return next(loop.result() for loop in loops if loop.done())
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _renew(self) -> str:
        async def beat() -> str | None:
            return await self._api.heartbeat(self._task, wait_seconds=self._timeouts.heartbeat)

        while True:
            began = time.monotonic()
            try:
                stop = await retry(beat, delays=self._timeouts.delays(_LONGEST_DELAY))
            except XaloraError:  # An answer outside the protocol. The submit will tell.
                stop = None
            if stop is not None:
                return stop
            # A server that answers at once must not be asked without a pause.
            await asyncio.sleep(max(0.0, min(_SOONEST_SECONDS, self._timeouts.heartbeat) - (time.monotonic() - began)))

    async def _report(self) -> str:
        while True:
            await self._changed.wait()
            self._changed.clear()
            progress = self._progress.to_json(self._titles)
            preview, self._progress.preview = self._progress.preview, b""
            if preview and (jpeg := await asyncio.to_thread(small_jpeg, preview)):
                progress["preview"] = jpeg
            with suppress(XaloraError):  # The next report has it all.
                if stop := await self._api.heartbeat(self._task, progress=progress):
                    return stop
            await asyncio.sleep(self._timeouts.report)
