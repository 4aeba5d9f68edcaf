"""Progress on stderr: one changing line on a terminal, plain lines otherwise. Nothing is estimated."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from ..delivery import UploadProgress
from ..engine.waiting import TaskUpdate
from ..media.download import DownloadProgress

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows one task: its status and time, then its download."""

    def __init__(self, label: str | None) -> None:
        self.prefix = f"{label}: " if label else ""
        self.on_terminal = sys.stderr.isatty()
        self.bar: Any = None
        self.shown = ("", -SECONDS_BETWEEN_LINES)

    def task(self, update: TaskUpdate) -> None:
        """Show an update of the task."""
        text = update.describe()
        if self.on_terminal and update.origin != "finished":  # That a result is reused is printed as a lasting line.
            if self.bar is None:
                self.bar = tqdm(bar_format="{desc}", leave=False, file=sys.stderr)
            self.bar.set_description_str(f"{self.prefix}{text}")
            return
        state, at = self.shown
        said = f"{update.task_id} {update.status}"
        if state != said or update.elapsed - at >= SECONDS_BETWEEN_LINES:
            self.shown = (said, update.elapsed)
            print(f"{self.prefix}task {update.task_id} {text}", file=sys.stderr)

    def upload(self, progress: UploadProgress) -> None:
        """Show how many bytes of an image have gone out."""
        if self.on_terminal:
            if self.bar is None or self.bar.unit != "B":
                self.close()
                self.bar = tqdm(
                    desc=f"{self.prefix}uploading", total=progress.total, unit="B", unit_scale=True,
                    leave=False, file=sys.stderr,
                )  # fmt: skip
            self.bar.update(progress.sent - self.bar.n)
            if progress.sent == progress.total:
                self.close()
        elif progress.sent == progress.total:
            print(f"{self.prefix}uploaded {progress.total / 1e6:.1f} MB", file=sys.stderr)

    def download(self, progress: DownloadProgress) -> None:
        """Show how many bytes have arrived."""
        if self.on_terminal:
            if self.bar is None or self.bar.unit != "B":
                self.close()
                self.bar = tqdm(
                    desc=f"{self.prefix}downloading", total=progress.total, unit="B", unit_scale=True,
                    leave=False, file=sys.stderr,
                )  # fmt: skip
            self.bar.update(progress.received - self.bar.n)
        elif progress.received == progress.total:
            print(f"{self.prefix}downloaded {progress.received / 1e6:.1f} MB", file=sys.stderr)

    def close(self) -> None:
        """Restore the terminal."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


@contextmanager
def progress(label: str | None = None) -> Iterator[Progress]:
    """A Progress that restores the terminal at the end."""
    shown = Progress(label)
    try:
        yield shown
    finally:
        shown.close()
