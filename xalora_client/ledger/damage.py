"""A damaged ledger is set aside, never deleted, and what can be read is copied into a new one."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from .entry import COLUMNS

logger = logging.getLogger("xalora_client")


def names(path: Path) -> tuple[Path, Path, Path]:
    """The files that make up one SQLite database, the main one first."""
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def set_aside(path: Path) -> Path:
    """Rename a database to ``….corrupt-<time>``; returns its new path. Raises OSError."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    rename(path, aside)
    return aside


def rename(path: Path, place: Path) -> None:
    """Rename a database. Raises OSError."""
    # The main file goes first: if this stops halfway, no file is left that looks complete without its log.
    for old, new in zip(names(path), names(place), strict=True):
        if old.exists():
            old.rename(new)


def carry_over(damaged: Path, db: sqlite3.Connection) -> int:
    """Copy the tasks that can be read into a new, empty database; returns how many. Raises sqlite3.Error."""
    db.execute("BEGIN")
    with closing(sqlite3.connect(damaged, isolation_level=None)) as old:
        # Read from both ends as far as possible: the damage is somewhere in between.
        for order in ("number", "number DESC"):
            for row in _readable(old, order):
                columns, places = ", ".join(row), ", ".join(f":{name}" for name in row)
                db.execute(f"INSERT OR IGNORE INTO tasks ({columns}) VALUES ({places})", row)  # noqa: S608 - columns
    (count,) = db.execute("SELECT count(*) FROM tasks").fetchone()
    db.execute("COMMIT")
    return int(count)


def _readable(old: sqlite3.Connection, order: str) -> Iterator[dict[str, Any]]:
    old.row_factory = sqlite3.Row
    try:
        for row in old.execute(f"SELECT * FROM tasks ORDER BY {order}"):  # noqa: S608 - one of two constants
            yield {name: row[name] for name in COLUMNS if name in row.keys()}  # noqa: SIM118 - a Row is no dict
    except sqlite3.DatabaseError:
        return


def warn(path: Path, aside: Path, carried: int) -> None:
    """Log what happened."""
    logger.warning(
        "The ledger %s was damaged; it is kept as %s, and a new one has the %d tasks that could be read. "
        "A missing task would be charged again: look at `xalora tasks`, or at the Xalora tab in ComfyUI, before you "
        "repeat one.",
        path,
        aside,
        carried,
    )
