"""The folder of results: files named by their hash, the oldest removed when they are more than the budget."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

KEPT_SECONDS = 3600.0
"""A result stays at least so long, even beyond the budget."""


class Results:
    """The files in ``folder``. ``budget`` is in bytes; None keeps everything."""

    def __init__(self, folder: Path, db: sqlite3.Connection, budget: int | None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._db = db
        self._budget = budget

    def add(self, file: str, now: float) -> None:
        """Count a file that a task has now. Raises OSError when it is not there."""
        size = (self.folder / file).stat().st_size
        self._db.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", (file, size, now))

    def prune(self, now: float) -> None:
        """Remove the oldest until the rest fits, but none of the last hour."""
        (total,) = self._db.execute("SELECT coalesce(sum(size), 0) FROM results").fetchone()
        if self._budget is None or total <= self._budget:
            return
        old = self._db.execute(
            "SELECT file, size FROM results WHERE added < ? ORDER BY added", (now - KEPT_SECONDS,)
        ).fetchall()
        for file, size in old:
            if total <= self._budget:
                break
            with suppress(FileNotFoundError):
                (self.folder / file).unlink()
            self._db.execute("DELETE FROM results WHERE file = ?", (file,))
            total -= size
