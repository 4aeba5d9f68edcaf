"""What the ledger holds, read for lists: without holding up those who write to it."""

from __future__ import annotations

import json
import sqlite3
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .database import ledger_file
from .entry import FINAL_STATES, SELECT, Entry, one, storable

T = TypeVar("T")

OPEN = "open"
"""Every state that is not final, as a filter."""

_IS_OPEN = f"state NOT IN ({', '.join('?' * len(FINAL_STATES))}) OR state = 'canceled' AND finished IS NULL"
"""The same as SQL, for the values of FINAL_STATES. A cancel counts once the task's end was seen."""


class Listing:
    """The tasks of every server in one Xalora home. The methods raise StorageError when the file cannot be read."""

    def __init__(self, home: Path) -> None:
        self._database = ledger_file(home)

    def close(self) -> None:
        """Close the file; another call opens it again."""
        self._database.close()

    def tasks(
        self, limit: int, *, before: int | None = None, state: str | None = None, text: str = ""
    ) -> tuple[list[Entry], int]:
        """The newest ``limit`` tasks, newest first, and how many there are in all that meet the filter.

        ``before`` is the number of an entry, to go on after it. ``state`` is one of an entry's states, or "open".
        ``text`` is looked for in ids, kinds and parameters, without regard to the case of ASCII letters.
        """
        conditions, values = ["1"], list[Any]()
        if state == OPEN:
            conditions.append(f"({_IS_OPEN})")
            values += FINAL_STATES
        elif state:
            conditions.append("state = ?")
            values.append(state)
        if text:
            columns = ("task_id", "job_id", "task_type", "workflow_id", "parameters")
            conditions.append("(" + " OR ".join(f"{column} LIKE ? ESCAPE '!'" for column in columns) + ")")
            values += [_pattern(text)] * 4 + [_pattern(json.dumps(text)[1:-1])]
        where = " AND ".join(conditions)

        def work(db: sqlite3.Connection) -> tuple[list[Entry], int]:
            (total,) = db.execute(f"SELECT count(*) FROM tasks WHERE {where}", values).fetchone()  # noqa: S608
            page = f"{SELECT} WHERE {where} AND number < ? ORDER BY number DESC LIMIT ?"
            return _entries(db, page, [*values, before or 1 << 62, limit]), total

        nothing: tuple[list[Entry], int] = ([], 0)
        return self._read(work, nothing)

    def find(self, task_or_job_id: str) -> Entry | None:
        """The newest entry with this id. A task that has no id yet is found by its job id."""
        identifier = storable(task_or_job_id)
        return self._read(lambda db: one(db, "task_id = ?1 OR job_id = ?1", identifier), None)

    def usual_seconds(self, server: str, task_type: str, workflow_id: str | None) -> float | None:
        """How long the server's last tasks of a kind took, as their median; None when none was watched."""
        query = (
            "SELECT ran FROM tasks WHERE server IS ? AND task_type = ? AND workflow_id IS ? AND ran IS NOT NULL"
            " ORDER BY finished DESC LIMIT 20"
        )
        ran: list[float] = self._read(
            lambda db: [row[0] for row in db.execute(query, (server, task_type, workflow_id))], []
        )
        return statistics.median(ran) if ran else None

    def _read(self, work: Callable[[sqlite3.Connection], T], empty: T) -> T:
        if not self._database.exists():  # Looking at a list makes no file.
            return empty
        return self._database.run(work, reading=True)


def _entries(db: sqlite3.Connection, query: str, values: list[Any]) -> list[Entry]:
    return [Entry.from_row(row) for row in db.execute(query, values)]


def _pattern(text: str) -> str:
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return f"%{text}%"
