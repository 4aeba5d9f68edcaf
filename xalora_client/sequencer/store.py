"""The tasks in SQLite, so that they survive the end of the process, even a kill.

This is all that the rest of the sequencer knows of the database. What is open is also held in memory, by the
dispatcher: each change is written here first.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .schema import open_database
from .work import Lease, Work, Workflow

KEPT_SECONDS = 90 * 86_400.0
"""A task that ended is known for so long: with its parameters, and so that its job id creates no other one."""

_AT_ONCE = 5000
_OPEN = "status IN ('waiting', 'running')"


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """A task to add. ``shown`` is its ``task_details`` as answers show them, ``work`` is all of them.

    ``images`` are the names of the parameters whose bytes are to be fetched.
    """

    workflow: Workflow
    shown: dict[str, Any]
    work: dict[str, Any]
    images: tuple[str, ...]
    timeout_seconds: int | None
    consumer_id: str
    job_id: str


class Store:
    """The tables of one data folder. Use it from one thread. Raises sqlite3.Error. Nothing here holds a key."""

    def __init__(self, path: Path) -> None:
        self.db = open_database(path)
        (self._salt,) = self.db.execute("SELECT value FROM salt").fetchone()

    def close(self) -> None:
        """Close the file; the store cannot be used any more."""
        self.db.close()

    def owner(self, api_key: str) -> bytes:
        """What is stored in place of a key."""
        return hashlib.sha256(self._salt + api_key.encode()).digest()

    def find_job(self, owner: bytes, consumer_id: str, job_id: str) -> str | None:
        """The task that was created with this job id; None if there is none."""
        row = self.db.execute(
            "SELECT task_id FROM tasks WHERE owner = ? AND consumer_id = ? AND job_id = ?", (owner, consumer_id, job_id)
        ).fetchone()
        return None if row is None else str(row["task_id"])

    def create(self, task: NewTask, owner: bytes, now: float) -> Work:
        """Add a task whose job id is new."""
        task_id = uuid.uuid4().hex
        number = self.db.execute(
            "INSERT INTO tasks (task_id, owner, consumer_id, job_id, task_type, workflow_id, task_details, work,"
            " inputs, ready, timeout_seconds, create_timestamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                task_id,
                owner,
                task.consumer_id,
                task.job_id,
                task.workflow.task_type,
                task.workflow.workflow_id,
                json.dumps(task.shown),
                json.dumps(task.work),
                json.dumps(dict.fromkeys(task.images)),
                not task.images,
                task.timeout_seconds,
                now,
            ),
        ).lastrowid
        assert number is not None  # noqa: S101 - sqlite3 gives it after each INSERT
        deadline = None if task.timeout_seconds is None else now + task.timeout_seconds
        return Work(task_id, number, task.workflow, now, deadline)

    def find(self, task_id: str, owner: bytes) -> dict[str, Any] | None:
        """What answers show of a task that this key created; None if there is no such task."""
        row = self.db.execute(
            "SELECT task_id, status, task_type, task_details, create_timestamp, inference_latency, upload_latency,"
            " timeout_seconds, workflow_id, media, msg, revision FROM tasks WHERE task_id = ? AND owner = ?",
            (task_id, owner),
        ).fetchone()
        return None if row is None else dict(row) | {"task_details": json.loads(row["task_details"])}

    def open_tasks(self) -> list[Work]:
        """All tasks that have not ended, oldest first."""
        rows = self.db.execute(
            "SELECT rowid, task_id, task_type, workflow_id, create_timestamp, timeout_seconds, ready, status, attempts,"
            " miner, lease, prompt_id, began, upload, revision FROM tasks"
            " WHERE status IN ('waiting', 'running') ORDER BY rowid"
        )
        return [_work(row) for row in rows]

    def details(self, task_id: str) -> dict[str, Any]:
        """The full ``task_details`` of a task that has not ended."""
        (work,) = self.db.execute("SELECT work FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        details: dict[str, Any] = json.loads(work)
        return details

    def inputs(self, task_id: str) -> dict[str, Any]:
        """For each image parameter its file, as ``set_inputs`` took it; None until it is here."""
        (inputs,) = self.db.execute("SELECT inputs FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        found: dict[str, Any] = json.loads(inputs)
        return found

    def set_inputs(self, task_id: str, inputs: dict[str, Any], work: dict[str, Any]) -> None:
        """All inputs of a task are here; ``work`` no longer has their bytes."""
        self.db.execute(
            "UPDATE tasks SET inputs = ?, work = ?, ready = 1 WHERE task_id = ?",
            (json.dumps(inputs), json.dumps(work), task_id),
        )

    def input_files(self) -> set[str]:
        """The names of the input files of all open tasks."""
        rows = self.db.execute(f"SELECT inputs FROM tasks WHERE {_OPEN} AND inputs != '{{}}'")  # noqa: S608
        return {file["file"] for (inputs,) in rows for file in json.loads(inputs).values() if file is not None}

    def owner_of(self, task_id: str) -> bytes:
        """Who created a task, as ``owner`` gives it."""
        (owner,) = self.db.execute("SELECT owner FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        return bytes(owner)

    def begin(self, work: Work, lease: Lease) -> None:
        """An attempt begins."""
        self.db.execute(
            "UPDATE tasks SET status = 'running', attempts = ?, miner = ?, lease = ?, prompt_id = ?, began = ?,"
            " upload = NULL WHERE task_id = ?",
            (lease.attempt, lease.miner, lease.token, lease.prompt_id, lease.began, work.task_id),
        )

    def set_status(self, work: Work, status: str, attempts: int, *, forget: bool = False) -> None:
        """An attempt was lost or is taken up again; ``forget`` that there was one."""
        kept = "lease = NULL, upload = NULL," if forget else ""
        self.db.execute(
            f"UPDATE tasks SET {kept} status = ?, attempts = ? WHERE task_id = ?",  # noqa: S608 - no values in it
            (status, attempts, work.task_id),
        )

    def set_upload(self, task_id: str, file: str) -> None:
        """The present attempt uploaded its result."""
        self.db.execute("UPDATE tasks SET upload = ? WHERE task_id = ?", (file, task_id))

    def finish(
        self,
        task_id: str,
        media: str,
        file: str,
        latencies: tuple[float | None, float | None],
        msg: str | None,
        *,
        revision: int,
        now: float,
    ) -> None:
        """Set a task to finished, with its media's name and file, the seconds it took, and what is to say of it."""
        self.db.execute(
            "UPDATE tasks SET status = 'finished', outcome = 'finished', media = ?, file = ?, inference_latency = ?,"
            " upload_latency = ?, msg = ?, revision = ?, ended = ?, work = NULL WHERE task_id = ?",
            (media, file, *map(_rounded, latencies), msg, revision, now, task_id),
        )

    def give_up(self, task_id: str, status: str, outcome: str, msg: str, *, revision: int, now: float) -> None:
        """Set a task to failed or canceled, with the reason."""
        self.db.execute(
            "UPDATE tasks SET status = ?, outcome = ?, msg = ?, revision = ?, ended = ?, work = NULL WHERE task_id = ?",
            (status, outcome, msg, revision, now, task_id),
        )

    def end_of(self, task_id: str) -> tuple[str, str | None, str | None] | None:
        """How a task ended and with which lease: outcome, lease, the file uploaded. None unless it has ended."""
        row = self.db.execute(
            f"SELECT outcome, lease, upload FROM tasks WHERE task_id = ? AND NOT {_OPEN}",  # noqa: S608
            (task_id,),
        ).fetchone()
        return None if row is None else (row["outcome"] or "lost", row["lease"], row["upload"])

    def file_of(self, media: str) -> str | None:
        """The file behind the name in a result's address; None if no task has it."""
        row = self.db.execute("SELECT file FROM tasks WHERE media = ?", (media,)).fetchone()
        return None if row is None else str(row[0])

    def own_result(self, media: str, owner: bytes) -> str | None:
        """The same for a task that this owner created."""
        row = self.db.execute("SELECT file FROM tasks WHERE media = ? AND owner = ?", (media, owner)).fetchone()
        return None if row is None else str(row[0])

    def recent(self, count: int) -> list[dict[str, Any]]:
        """The tasks that ended last, newest first, without anything that a user wrote."""
        rows = self.db.execute(
            "SELECT task_id, task_type, workflow_id, outcome, attempts, miner, create_timestamp, began, ended"
            " FROM tasks WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT ?",
            (count,),
        )
        return [dict(row) for row in rows]

    def prune(self, now: float) -> None:
        """Forget tasks that ended long ago, some at a time."""
        self.db.execute(
            "DELETE FROM tasks WHERE rowid IN (SELECT rowid FROM tasks WHERE ended < ? LIMIT ?)",
            (now - KEPT_SECONDS, _AT_ONCE),
        )


def _work(row: Any) -> Work:
    created, timeout = row["create_timestamp"], row["timeout_seconds"]
    work = Work(
        row["task_id"],
        row["rowid"],
        Workflow(row["task_type"], row["workflow_id"]),
        created,
        None if timeout is None else created + timeout,
        ready=bool(row["ready"]),
        status=row["status"],
        attempts=row["attempts"],
        upload=row["upload"],
        revision=row["revision"],
    )
    if row["lease"] is not None:
        work.lease = Lease(row["lease"], row["miner"], row["prompt_id"], work.attempts, row["began"], heard=True)
    return work


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
