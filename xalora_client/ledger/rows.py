"""Entries as rows of the table ``tasks``."""

from __future__ import annotations

import sqlite3
from typing import Any

from .entry import Entry, storable


def find(db: sqlite3.Connection, task_id: str, server: str | None) -> Entry | None:
    """The newest entry with a task id, of one server or of any."""
    if server is None:
        return one(db, "task_id = ?", storable(task_id))
    return one(db, "task_id = ? AND server = ?", storable(task_id), server)


def one(db: sqlite3.Connection, where: str, *values: Any) -> Entry | None:
    """The newest entry a condition holds for. ``where`` is SQL, so never anything from outside."""
    query = f"SELECT * FROM tasks WHERE {where} ORDER BY number DESC LIMIT 1"  # noqa: S608 - see above
    row = db.execute(query, values).fetchone()
    return None if row is None else Entry.from_row(row)


def insert(db: sqlite3.Connection, entry: Entry) -> None:
    """Add an entry."""
    row = entry.row()
    names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
    db.execute(f"INSERT INTO tasks ({names}) VALUES ({places})", row)  # noqa: S608 - names of columns


def update(db: sqlite3.Connection, entry: Entry) -> None:
    """Write an entry over the one with its job id."""
    row = entry.row()
    changes = ", ".join(f"{name} = :{name}" for name in row if name != "job_id")
    db.execute(f"UPDATE tasks SET {changes} WHERE job_id = :job_id", row)  # noqa: S608 - names of columns
