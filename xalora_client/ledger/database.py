"""The ledger's file and tables."""

from __future__ import annotations

from pathlib import Path

from ..storage.sqlite_file import SqliteFile, Steps

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
    # Says the same as tasks_by_fingerprint, on other pages: see entry.usable.
    ("CREATE INDEX tasks_by_fingerprint_again ON tasks (fingerprint)",),
)
"""Step n leads from version n to n + 1. Released steps are never changed; new ones are added."""


def ledger_file(home: Path) -> SqliteFile:
    """The file of a Xalora home. It is opened at its first use."""
    return SqliteFile(home / "ledger.sqlite3", STEPS, NAME, "ledger_damaged")
