"""The sandbox's tasks and requests in SQLite, so that they survive the end of the process, even a kill."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

from .kinds import KnownTask, shortened

_KEPT_REQUESTS = 100_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS salt (value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    task_id TEXT PRIMARY KEY,
    owner BLOB NOT NULL,              -- salted hash of the api_key
    consumer_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'waiting',
    task_type TEXT NOT NULL,
    task_details TEXT NOT NULL,       -- JSON, as answers show it
    work TEXT,                        -- JSON, all of it; only while there is work to do
    workflow_id TEXT,
    timeout_seconds INTEGER,
    create_timestamp REAL NOT NULL,   -- Unix seconds
    inference_latency REAL,           -- seconds
    upload_latency REAL,              -- seconds
    media TEXT,                       -- file name
    msg TEXT,
    UNIQUE (owner, consumer_id, job_id)
);
CREATE TABLE IF NOT EXISTS requests (
    time REAL NOT NULL,               -- Unix seconds
    endpoint TEXT NOT NULL,
    job_id TEXT,
    task_id TEXT,
    status_code INTEGER NOT NULL
);
"""


class TaskStore:
    """The tasks and requests of one data folder. Use it from one thread. Raises sqlite3.Error.

    The file is ``sandbox.sqlite3``. Its table ``requests`` lists every POST and every download (time, endpoint, job_id,
    task_id, status_code) for tests and users to read; it never holds keys or media.
    """

    def __init__(self, data: Path) -> None:
        # Every statement commits on its own. With WAL, others can read the file meanwhile, and commits survive SIGKILL
        # without waiting for the disk.
        self._db = sqlite3.connect(data / "sandbox.sqlite3", isolation_level=None)
        try:
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            self._db.execute(
                "INSERT INTO salt SELECT ? WHERE NOT EXISTS (SELECT 1 FROM salt)", (secrets.token_bytes(16),)
            )
            self._db.execute(
                "DELETE FROM requests WHERE rowid <= (SELECT max(rowid) FROM requests) - ?", (_KEPT_REQUESTS,)
            )
            (self._salt,) = self._db.execute("SELECT value FROM salt").fetchone()
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; the store cannot be used any more."""
        self._db.close()

    def create(self, task: KnownTask, *, consumer_id: str, api_key: str, job_id: str) -> tuple[str, bool]:
        """Add a task; return its id and True. For a job id that was used before, return that task's id and False."""
        owner = self._owner(api_key)
        task_id = uuid.uuid4().hex
        added = self._db.execute(
            "INSERT INTO tasks (task_id, owner, consumer_id, job_id, task_type, task_details, work,"
            " workflow_id, timeout_seconds, create_timestamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (
                task_id,
                owner,
                consumer_id,
                job_id,
                task.task_type,
                json.dumps(shortened(task.task_details)),
                json.dumps(task.task_details),
                task.workflow_id,
                task.timeout_seconds or None,
                time.time(),
            ),
        ).rowcount
        if added:
            return task_id, True
        (task_id,) = self._db.execute(
            "SELECT task_id FROM tasks WHERE owner = ? AND consumer_id = ? AND job_id = ?",
            (owner, consumer_id, job_id),
        ).fetchone()
        return task_id, False

    def find(self, task_id: str, api_key: str) -> dict[str, Any] | None:
        """Return the columns of a task that this key created, without its work; None if there is no such task."""
        row = self._db.execute(
            "SELECT task_id, status, task_type, task_details, create_timestamp, inference_latency,"
            " upload_latency, timeout_seconds, workflow_id, media, msg FROM tasks"
            " WHERE task_id = ? AND owner = ?",
            (task_id, self._owner(api_key)),
        ).fetchone()
        return None if row is None else dict(row) | {"task_details": json.loads(row["task_details"])}

    def requeue(self) -> list[str]:
        """Set tasks that a dead process left running to waiting; return all waiting tasks, oldest first."""
        self._db.execute("UPDATE tasks SET status = 'waiting' WHERE status = 'running'")
        rows = self._db.execute("SELECT task_id FROM tasks WHERE status = 'waiting' ORDER BY rowid")
        return [task_id for (task_id,) in rows]

    def deadline(self, task_id: str) -> float | None:
        """The Unix time at which the task times out; None if it has no limit."""
        (deadline,) = self._db.execute(
            "SELECT create_timestamp + timeout_seconds FROM tasks WHERE task_id = ?", (task_id,)
        ).fetchone()
        return None if deadline is None else float(deadline)

    def start(self, task_id: str) -> tuple[str, dict[str, Any]]:
        """Set a waiting task to running; return its type and its full details."""
        self._db.execute("UPDATE tasks SET status = 'running' WHERE task_id = ?", (task_id,))
        task_type, work = self._db.execute("SELECT task_type, work FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        return task_type, json.loads(work)

    def mark_finished(self, task_id: str, media: str, *, inference_latency: float, upload_latency: float) -> None:
        """Set a task to finished, with the name of its media file and the seconds it took."""
        self._db.execute(
            "UPDATE tasks SET status = 'finished', media = ?, inference_latency = ?, upload_latency = ?,"
            " work = NULL WHERE task_id = ?",
            (media, round(inference_latency, 6), round(upload_latency, 6), task_id),
        )

    def give_up(self, task_id: str, status: str, msg: str) -> bool:
        """Set a task to failed or canceled, with the reason. False if it had already ended; then nothing changes."""
        return bool(
            self._db.execute(
                "UPDATE tasks SET status = ?, msg = ?, work = NULL"
                " WHERE task_id = ? AND status IN ('waiting', 'running')",
                (status, msg, task_id),
            ).rowcount
        )

    def log_request(self, endpoint: str, job_id: str | None, task_id: str | None, status_code: int) -> None:
        """Record one request in the table ``requests``."""
        self._db.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?, ?)",
            (time.time(), endpoint, job_id, task_id, status_code),
        )

    def _owner(self, api_key: str) -> bytes:
        return hashlib.sha256(self._salt + api_key.encode()).digest()
