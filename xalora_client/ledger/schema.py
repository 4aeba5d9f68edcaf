"""The tables, and the way to them from every earlier version."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..errors import ConfigurationError

Steps = Sequence[Sequence[str]]

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
)
"""Step n leads from version n to n + 1. Released steps are never changed, only followed by others."""


def migrate(db: sqlite3.Connection, steps: Steps = STEPS) -> None:
    """Bring the tables to the newest version, in one transaction.

    Raises ConfigurationError when a later version of the client wrote them, and sqlite3.Error.
    """
    if _version(db, steps) == len(steps):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[_version(db, steps) :]:  # Another process may have just done it.
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(steps)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection, steps: Steps) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise ConfigurationError(
            f"The ledger was written by a newer version of this client (schema {version}, known up to {len(steps)})",
            advice="Update the client, or point XALORA_HOME elsewhere.",
        )
    return int(version)
