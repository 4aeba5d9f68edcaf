"""A damaged ledger is set aside, never deleted, and what can be read of it is carried over."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

logger = logging.getLogger("xalora_client")


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is broken, rather than locked, full, or not to be written."""
    text = str(error)
    return "malformed" in text or "not a database" in text


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
    # The main file goes first: should this stop halfway, no log is left beside a file that looks whole without it.
    for old, new in zip(names(path), names(aside), strict=True):
        if old.exists():
            old.rename(new)
    return aside


def carry_over(damaged: Path, db: sqlite3.Connection) -> int:
    """Copy the tasks that can be read into a new, empty database; returns how many."""
    db.execute("BEGIN")
    try:
        with closing(sqlite3.connect(damaged, isolation_level=None)) as old:
            # From both ends, as far as each goes: what cannot be read lies somewhere between.
            for order in ("number", "number DESC"):
                _copy(old, db, order)
    except sqlite3.DatabaseError:
        pass
    (count,) = db.execute("SELECT count(*) FROM tasks").fetchone()
    db.execute("COMMIT")
    return int(count)


def _copy(old: sqlite3.Connection, db: sqlite3.Connection, order: str) -> None:
    try:
        rows = old.execute(f"SELECT * FROM tasks ORDER BY {order}")  # noqa: S608 - one of two constants
        places = ", ".join("?" for _ in rows.description)
        for row in rows:
            db.execute(f"INSERT OR IGNORE INTO tasks VALUES ({places})", row)  # noqa: S608 - question marks alone
    except sqlite3.DatabaseError:
        return


def warn(path: Path, aside: Path, carried: int) -> None:
    """Say what happened, once."""
    logger.warning(
        "The ledger %s was damaged. It is kept as %s; a new one is in use, with the %d tasks that could be read. "
        "A task that is missing there would be paid for again: look at `xalora tasks` before repeating one.",
        path,
        aside,
        carried,
    )
