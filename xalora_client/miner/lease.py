"""Holding a task: heartbeats that learn at once when to stop, and reports of progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from ..errors import XaloraError
from ..protocol.miner import Assignment
from .progress import Progress, small_jpeg
from .retrying import until_answered
from .sequencer_calls import SequencerCalls
from .times import Times

_SOONEST_SECONDS = 1.0
_LONGEST_DELAY = 5.0
"""A lease lasts 30 s: when the sequencer is back, it must hear of this task in time."""


class Lease:
    """The hold on one task. ``stopped`` keeps it up for as long as it is awaited."""

    def __init__(self, calls: SequencerCalls, task: Assignment, titles: Mapping[str, str], times: Times) -> None:
        self._calls = calls
        self._task = task
        self._titles = titles
        self._times = times
        self._progress = Progress()
        self._changed = asyncio.Event()

    def report(self, progress: Progress) -> None:
        """Tell the sequencer how far the task is, soon."""
        self._progress = progress
        self._changed.set()

    async def stopped(self) -> str:
        """Return why the sequencer wants the task stopped: "canceled", "timed out" or "lost"."""
        parts = [asyncio.ensure_future(each) for each in (self._hold(), self._tell())]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            return next(part.result() for part in parts if part.done())
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _hold(self) -> str:
        async def beat() -> str | None:
            return await self._calls.heartbeat(self._task, wait_seconds=self._times.heartbeat)

        soon = replace(self._times, longest_delay=min(self._times.longest_delay, _LONGEST_DELAY))
        while True:
            began = time.monotonic()
            try:
                stop = await until_answered(beat, soon, lambda _: None)
            except XaloraError:  # An answer outside the protocol. The submit will tell.
                stop = None
            if stop is not None:
                return stop
            # A server that answers at once must not be asked without a pause.
            await asyncio.sleep(max(0.0, min(_SOONEST_SECONDS, self._times.heartbeat) - (time.monotonic() - began)))

    async def _tell(self) -> str:
        while True:
            await self._changed.wait()
            self._changed.clear()
            said = self._progress.to_json(self._titles)
            preview, self._progress.preview = self._progress.preview, b""
            if preview and (small := await asyncio.to_thread(small_jpeg, preview)):
                said["preview"] = small
            with suppress(XaloraError):  # The next report has it all.
                if stop := await self._calls.heartbeat(self._task, progress=said):
                    return stop
            await asyncio.sleep(self._times.report)
