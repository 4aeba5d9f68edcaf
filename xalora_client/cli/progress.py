"""Progress on stderr: one changing line on a terminal, plain lines otherwise."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from tqdm import tqdm

from ..client.updates import TaskUpdate, minutes
from ..media.decoding.formats import MediaInfo
from ..media.receiver import DownloadProgress
from ..uploads import UploadProgress

SECONDS_BETWEEN_LINES = 10.0

WORDS = "{desc}"
BAR = "{desc} {percentage:3.0f}%|{bar}|"


class Progress:
    """Shows one task: its status and time, the miner's progress, its download and its result.

    Make it where an event loop runs: on a terminal, the time is also counted between updates. ``close`` restores the
    terminal.
    """

    def __init__(self, label: str | None = None, *, is_shown: bool = True) -> None:
        self.prefix = f"{label}: " if label else ""
        self.is_shown = is_shown
        self.on_terminal = sys.stderr.isatty()
        self.bar: Any = None
        self.last_state, self.last_printed = "", -SECONDS_BETWEEN_LINES
        self.began = time.monotonic()
        self.reused = False
        self.ticking: asyncio.TimerHandle | None = None

    def task(self, update: TaskUpdate) -> None:
        """Show an update of the task."""
        self.reused = update.origin == "finished"
        is_end = update.result is not None and update.result.is_final
        if not self.is_shown or (is_end and not self.reused):  # What follows says how it ended.
            return
        if self.on_terminal and not self.reused:  # That a result is reused is printed as a line that stays.
            self._draw(update, time.monotonic() - update.elapsed)
            return
        why = update.result and update.result.why_waiting
        state = f"{update.task_id} {update.status} {update.last_error} {why}"
        if self.last_state != state or update.elapsed - self.last_printed >= SECONDS_BETWEEN_LINES:
            self.last_state, self.last_printed = state, update.elapsed
            task = f"task {update.task_id} " if update.task_id else ""
            print(f"{self.prefix}{task}{update.describe()}", file=sys.stderr)

    def _draw(self, update: TaskUpdate, began: float) -> None:
        self._stop_ticking()
        progress = update.progress
        measured = progress is not None and not progress.estimated and update.last_error is None
        if self.bar is None:
            self.bar = tqdm(bar_format=WORDS, leave=False, file=sys.stderr)
        self.bar.bar_format = BAR if measured else WORDS
        if progress is not None and measured:
            self.bar.total, self.bar.n = progress.maximum, progress.value
        self.bar.set_description_str(f"{self.prefix}{update.describe(time.monotonic() - began)}")
        self.ticking = asyncio.get_running_loop().call_later(1.0, self._draw, update, began)

    def upload(self, progress: UploadProgress) -> None:
        """Show how many bytes of an image have gone out."""
        self._draw_bytes("upload", progress.sent, progress.total)

    def download(self, progress: DownloadProgress) -> None:
        """Show how many bytes have arrived."""
        self._draw_bytes("download", progress.received, progress.total)

    def _draw_bytes(self, verb: str, done: int, total: int | None) -> None:
        self._stop_ticking()
        if not self.is_shown:
            return
        if self.on_terminal:
            if self.bar is None or self.bar.unit != "B":
                self.close()
                self.bar = tqdm(
                    desc=f"{self.prefix}{verb}ing", total=total, unit="B", unit_scale=True, leave=False, file=sys.stderr
                )
            self.bar.update(done - self.bar.n)
            if done == total:
                self.close()
        elif done == total:
            print(f"{self.prefix}{verb}ed {done / 1e6:.1f} MB", file=sys.stderr)

    def done(self, info: MediaInfo, task_details: object) -> None:
        """Print a line that stays: the result, and where it differs from what was asked for."""
        self.close()
        if not self.is_shown:
            return
        reused = " · reused, no charge" if self.reused else ""
        took = minutes(time.monotonic() - self.began)
        print(f"{self.prefix}done · {took}{reused} · {info.describe(task_details)}", file=sys.stderr)

    def close(self) -> None:
        """Restore the terminal."""
        self._stop_ticking()
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _stop_ticking(self) -> None:
        if self.ticking is not None:
            self.ticking.cancel()
            self.ticking = None
