"""The ledger's file and tables; a damaged file is set aside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .. import sqlite_file
from ..sqlite_file import SqliteFile, Steps, is_damage
from . import damage

T = TypeVar("T")

NAME = "The ledger"

STEPS: Steps = (
    (
        """
        CREATE TABLE tasks (
            number INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL UNIQUE,
            fingerprint TEXT NOT NULL,
            server TEXT NOT NULL,
            task_type TEXT NOT NULL,
            workflow_id TEXT,
            parameters TEXT NOT NULL,
            source TEXT NOT NULL,
            state TEXT NOT NULL,
            tries INTEGER NOT NULL,
            created REAL NOT NULL,
            owner TEXT,
            task_id TEXT,
            submitted REAL,
            finished REAL,
            ran REAL,
            inference_latency REAL,
            upload_latency REAL,
            message TEXT,
            result TEXT NOT NULL,
            media_url TEXT,
            sha256 TEXT,
            extension TEXT,
            size INTEGER
        )
        """,
        "CREATE INDEX tasks_by_fingerprint ON tasks (fingerprint, state)",
        "CREATE INDEX tasks_by_task_id ON tasks (task_id)",
        "CREATE INDEX tasks_by_kind ON tasks (server, task_type, workflow_id, finished) WHERE ran IS NOT NULL",
    ),
    ("ALTER TABLE tasks ADD COLUMN place TEXT NOT NULL DEFAULT 'null'",),
)
"""Step n leads from version n to n + 1. Released steps are never changed; new ones are added."""


class Database(SqliteFile):
    """The file of a ledger."""

    def __init__(self, path: Path, steps: Steps = STEPS) -> None:
        super().__init__(path, steps, NAME)

    def _transaction(self, work: Callable[[sqlite3.Connection], T], reading: bool) -> T:
        try:
            return super()._transaction(work, reading)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._replace_damaged()
            return super()._transaction(work, reading)

    def _replace_damaged(self) -> None:
        """Set the damaged file aside, unless another process just did, and put a new one in its place."""
        damaged = self._file
        self._close()
        with sqlite_file.alone(self.path):
            if sqlite_file.identity(self.path) == damaged:
                aside = damage.set_aside(self.path)
                try:
                    carried = sqlite_file.build(self.path, self._steps, NAME, lambda db: damage.carry_over(aside, db))
                except BaseException:  # Mostly a full disk. With an empty ledger, tasks would be charged again.
                    damage.rename(aside, self.path)
                    raise
                damage.warn(self.path, aside, carried)
