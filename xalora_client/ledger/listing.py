"""Lists of the ledger's tasks. Reading them delays nobody who writes."""

from __future__ import annotations

import json
import sqlite3
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..storage.file_locks import is_held
from .task_record import FINAL_STATES, SELECT, TaskRecord, durations, from_row, ledger_file, one, storable

T = TypeVar("T")

OPEN = "open"
"""Every state that is not final, as a filter."""

_IS_OPEN = f"state NOT IN ({', '.join('?' * len(FINAL_STATES))}) OR state = 'canceled' AND finished IS NULL"
"""The same as SQL, for the values of FINAL_STATES. A cancel counts once the task's end was seen."""


class Listing:
    """The tasks of every server in one Xalora home. The methods raise StorageError when the file cannot be read."""

    def __init__(self, home: Path) -> None:
        self._database = ledger_file(home)
        self._owners = home / "owners"

    def close(self) -> None:
        """Close the ledger. Another call opens it again."""
        self._database.close()

    def tasks(
        self,
        limit: int = 100,
        *,
        before: int | None = None,
        state: str | None = None,
        text: str = "",
        user: str | None = None,
    ) -> tuple[list[TaskRecord], int]:
        """List tasks, newest first.

        Args:
            limit: The most tasks to return.
            before: The number of a record: only older ones are returned. For the next page.
            state: A record's state, or "open" for every one that is not final.
            text: What to look for in ids, kinds and parameters, without regard to the case of ASCII letters.
            user: Only tasks whose ``caller`` names this user or none.

        Returns:
            The tasks, and how many there are in all with this state, text and user.
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
        if user is not None:
            conditions.append("ifnull(json_extract(place, '$.user'), '') IN ('', ?)")
            values.append(user)
        where = " AND ".join(conditions)

        def action(db: sqlite3.Connection) -> tuple[list[TaskRecord], int]:
            (total,) = db.execute(f"SELECT count(*) FROM tasks WHERE {where}", values).fetchone()  # noqa: S608
            page = f"{SELECT} WHERE {where} AND number < ? ORDER BY number DESC LIMIT ?"
            rows = db.execute(page, [*values, before or 1 << 62, limit])
            return [from_row(row) for row in rows], total

        return self._read(action) or ([], 0)

    def find(self, task_or_job_id: str) -> TaskRecord | None:
        """Find a task.

        Args:
            task_or_job_id: The task's id, or its job id while it has no other.

        Returns:
            The newest task with this id, or None.
        """
        identifier = storable(task_or_job_id)
        return self._read(lambda db: one(db, "task_id = ?1 OR job_id = ?1", identifier))

    def usual_seconds(self, record: TaskRecord) -> float | None:
        """How long tasks of the same kind took at the same server.

        Args:
            record: A task of that kind.

        Returns:
            The median of the last 20, in seconds from submitted to finished. None when no end was watched.
        """
        ran = self._read(lambda db: durations(db, record.server, record.task_type, record.workflow_id, 20))
        return statistics.median(ran) if ran else None

    def is_being_sent(self, record: TaskRecord) -> bool:
        """Whether anybody still sends the create of a task. Its record may not say how that ended: after a crash.

        Args:
            record: The task.

        Returns:
            True while a process has the claim.
        """
        return record.owner is not None and is_held(self._owners / record.owner)

    def _read(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        """What ``action`` returns. None without a file: reading does not make one."""
        return self._database.run(action, reading=True) if self._database.exists() else None


def _pattern(text: str) -> str:
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return f"%{text}%"
