"""When to kill a process, by what it has left in its home so far."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

DOWNLOADED = ("downloaded, not yet stored", "stored")
"""The phases in which nothing is left to download."""


class Home:
    """A Xalora home, looked at from outside while it is in use. What is there at first, it takes no notice of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: set[Path] = set()
        self.known = self.media()
        self.last = 0
        self.last = self.entry()[0]

    def entry(self) -> tuple[int, str | None, str | None]:
        """Number, state and media hash of the newest task."""
        ledger = f"{(self.folder / 'ledger.sqlite3').as_uri()}?mode=ro"
        query = "SELECT number, state, sha256 FROM tasks WHERE number > ? ORDER BY number DESC LIMIT 1"
        found = None
        # Unless there is no file yet, or no table in it.
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(ledger, uri=True, timeout=10)) as db:
            found = db.execute(query, (self.last,)).fetchone()
        return found or (self.last, None, None)

    def phase(self) -> str:
        """How far the task is."""
        _, state, sha256 = self.entry()
        if state is None:
            return "before the create"
        if state in ("creating", "doubtful"):
            return "create in flight"
        if state in ("waiting", "running"):
            return "waiting"
        if sha256 is not None:
            return "stored"
        if self.complete():
            return "downloaded, not yet stored"
        return "downloading" if self.incoming() else "finished, not yet downloaded"

    def media(self) -> set[Path]:
        return set((self.folder / "media").glob("*/*")) - self.known

    def incoming(self) -> bool:
        with suppress(FileNotFoundError):  # It is complete now, or gone.
            return any(path.suffix == ".part" and path.stat().st_size for path in self.media())
        return False

    def complete(self) -> bool:
        return any(path.suffix != ".part" for path in self.media())


def moments(home: Home) -> list[tuple[str, Callable[[], bool]]]:
    """When to kill a process that has just begun a new task, by name."""
    began = time.monotonic()

    def after(seconds: float) -> Callable[[], bool]:
        return lambda: time.monotonic() - began >= seconds

    return [
        ("at once", after(0.0)),
        ("ledger written", lambda: home.entry()[1] is not None),
        ("task known", lambda: home.phase() == "waiting"),
        ("waiting for a while", lambda: home.phase() == "waiting" and after(0.7)()),
        ("bytes coming in", lambda: home.incoming() or home.complete()),
        ("all bytes there", home.complete),
        ("result heard", lambda: home.entry()[1] == "finished"),
        ("result written down", lambda: home.phase() == "stored"),
    ]


def wait_until(moment: Callable[[], bool], patience: float) -> None:
    """Look as often as possible: some moments last for milliseconds. Returns in the end even if it does not come."""
    deadline = time.monotonic() + patience
    while not moment() and time.monotonic() < deadline:
        time.sleep(0.001)
