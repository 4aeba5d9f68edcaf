"""The tasks in SQLite, so that they survive the end of the process, even a kill or a power cut.

The queue also has the open tasks in memory: each change is written here first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..protocol.parameters import is_data_uri
from ..protocol.urls import without_signatures
from ..workflows import WorkflowKey
from .clock import Clock
from .database_file import DatabaseFile
from .open_task import Lease, OpenTask
from .values import EndedTask, InputFile, NewTask, Result, TaskView

KEPT_SECONDS = 90 * 86_400.0
"""A task that ended is known for so long: with its parameters, and so that its job id creates no other one."""

_AT_ONCE = 200
_LONGEST_PAUSE = 30 * 86_400.0
_LONGEST_DATA_URI = 200
_IS_OPEN = "status IN ('waiting', 'running')"
_OPEN_COLUMNS = (
    "task_type, workflow_id, miner, attempts, began, lease, prompt_id, task_id, rowid AS number, owner,"
    " create_timestamp AS created, timeout_seconds, priority, length(work) AS size, ready, status, upload AS uploads,"
    " revision"
)


class Database(DatabaseFile):
    """The tables of one data folder. Use it from one thread at a time. It holds no keys."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        (self._salt,) = self.run("SELECT value FROM salt").fetchone()
        self._offset: float | None = None

    def steady_time(self, clock: Clock) -> float:
        """Unix time for what is kept for long: it goes on from the last start, and never jumps.

        At the start the wall clock is believed as far as it may have gone on since.
        """
        if self._offset is None:
            (before,) = self.run("SELECT value FROM steady_time").fetchone()
            now = clock.time()
            is_plausible = before is None or before <= now <= before + _LONGEST_PAUSE
            self._offset = (now if is_plausible else before) - clock.monotonic()
        return self._offset + clock.monotonic()

    def owner(self, api_key: str) -> bytes:
        """What is stored in place of a key."""
        return hashlib.sha256(self._salt + api_key.encode()).digest()

    def find_by_job_id(self, owner: bytes, consumer_id: str, job_id: str) -> str | None:
        """The task that was created with this job id; None if there is none."""
        row = self.run(
            "SELECT task_id FROM tasks WHERE owner = ? AND consumer_id = ? AND job_id = ?", (owner, consumer_id, job_id)
        ).fetchone()
        return None if row is None else str(row["task_id"])

    def create(self, task: NewTask, now: float) -> OpenTask:
        """Add a task whose job id is new."""
        task_id, work = uuid.uuid4().hex, json.dumps(task.details)
        inputs = {name: None if file is None else asdict(file) for name, file in task.inputs.items()}
        ready = None not in inputs.values()
        number = self.run(
            "INSERT INTO tasks (task_id, owner, consumer_id, job_id, task_type, workflow_id, task_details, work,"
            " inputs, ready, timeout_seconds, create_timestamp, priority)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                task_id,
                task.owner,
                task.consumer_id,
                task.job_id,
                task.workflow.task_type,
                task.workflow.workflow_id,
                json.dumps(_shortened(task.details)),
                work,
                json.dumps(inputs),
                ready,
                task.timeout_seconds,
                now,
                task.priority,
            ),
        ).lastrowid
        assert number is not None  # noqa: S101 - sqlite3 gives it after each INSERT
        return OpenTask(
            task_id,
            number,
            task.owner,
            task.workflow,
            now,
            task.timeout_seconds,
            task.priority,
            len(work) + sum(file.size for file in task.inputs.values() if file is not None),
            ready=ready,
        )

    def find(self, task_id: str, owner: bytes) -> TaskView | None:
        """A task that this owner created, as it was last written; None if there is no such task."""
        row = self.run(
            "SELECT task_id, status, task_type, task_details, create_timestamp, inference_latency, upload_latency,"
            " timeout_seconds, workflow_id, media, coalesce(file, '') AS results, msg, revision FROM tasks"
            " WHERE task_id = ? AND owner = ?",
            (task_id, owner),
        ).fetchone()
        if row is None:
            return None
        read = {"task_details": json.loads(row["task_details"]), "results": len(row["results"].split())}
        return TaskView(**dict(row) | read)

    def running_tasks(self) -> list[OpenTask]:
        """All tasks that run."""
        return self._open_tasks("status = 'running'")

    def waiting_tasks(self, after: int, count: int) -> list[OpenTask]:
        """So many of the tasks that wait, the oldest first, after the one with this number."""
        return self._open_tasks("status = 'waiting' AND rowid > ? ORDER BY rowid LIMIT ?", after, count)

    def waiting_task(self, task_id: str) -> OpenTask | None:
        """The task with this id if it waits."""
        return next(iter(self._open_tasks("status = 'waiting' AND task_id = ?", task_id)), None)

    def _open_tasks(self, where: str, *values: Any) -> list[OpenTask]:
        sql = f"SELECT {_OPEN_COLUMNS} FROM tasks WHERE {where}"  # noqa: S608 - no values in it
        rows = self.rows(sql, values)
        return [_open_task(**row) for row in rows]

    def parameters(self, task_id: str) -> dict[str, Any]:
        """The parameters of a task that has not ended."""
        (details,) = self.run("SELECT work FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        parameters: dict[str, Any] = json.loads(details)["parameters"]
        return parameters

    def inputs(self, task_id: str) -> dict[str, InputFile]:
        """The files of its inputs that are here, by parameter."""
        (inputs,) = self.run("SELECT inputs FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        return {name: InputFile(**file) for name, file in json.loads(inputs).items() if file is not None}

    def set_inputs(self, task_id: str, inputs: Mapping[str, InputFile]) -> None:
        """All inputs of a task are here, so their bytes are no longer needed in its parameters."""
        files = {name: asdict(file) for name, file in {**self.inputs(task_id), **inputs}.items()}
        details = _shortened({"parameters": self.parameters(task_id)})
        self.run(
            "UPDATE tasks SET inputs = ?, work = ?, ready = 1 WHERE task_id = ?",
            (json.dumps(files), json.dumps(details), task_id),
        )

    async def input_files(self) -> set[str]:
        """The names of the input files of all open tasks."""
        return await self.slow(
            first_values,
            "SELECT DISTINCT json_extract(input.value, '$.file') FROM tasks, json_each(inputs) AS input"
            " WHERE status IN ('waiting', 'running') AND input.type = 'object'",
        )

    def input_urls(self, task_id: str) -> dict[str, str]:
        """The addresses of a task's inputs that are not here, by parameter."""
        (inputs,) = self.run("SELECT inputs FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        parameters = self.parameters(task_id)
        return {name: parameters[name] for name, file in json.loads(inputs).items() if file is None}

    def begin(self, task_id: str, lease: Lease) -> None:
        """An attempt begins."""
        self.run(
            "UPDATE tasks SET status = 'running', attempts = ?, miner = ?, lease = ?, prompt_id = ?, began = ?,"
            " upload = NULL WHERE task_id = ?",
            (lease.attempt, lease.miner, lease.token, lease.prompt_id, lease.began, task_id),
        )

    def set_status(self, task_id: str, status: str, attempts: int, *, drop_lease: bool = False) -> None:
        """An attempt was lost or continues; with ``drop_lease`` its lease and upload are no longer known."""
        forgotten = "lease = NULL, upload = NULL," if drop_lease else ""
        self.run(
            f"UPDATE tasks SET {forgotten} status = ?, attempts = ? WHERE task_id = ?",  # noqa: S608 - no values in it
            (status, attempts, task_id),
        )

    def sizes(self, files: Iterable[str]) -> dict[str, int]:
        """The sizes in bytes of those of the files that are in the folder of media."""
        rows = self.run(
            "SELECT file, size FROM results WHERE file IN (SELECT value FROM json_each(?))", (json.dumps([*files]),)
        )
        return dict(rows.fetchall())

    def attach_result(self, task_id: str, uploads: Iterable[str], file: str, size: int, now: float) -> None:
        """The present attempt uploaded this file, which is one of ``uploads``."""
        with self.transaction():
            self.run("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", (file, size, now))
            self.run("UPDATE tasks SET upload = ? WHERE task_id = ?", (" ".join(uploads), task_id))

    def finish(self, task_id: str, media: str, result: Result, *, revision: int, now: float) -> bool:
        """Set a task to finished, with the name in the address of its result. False if a file was forgotten."""
        files = result.file, *result.more
        with self.transaction():
            updated = [self.run("UPDATE results SET added = ? WHERE file = ?", (now, file)) for file in files]
            is_here = all(one.rowcount == 1 for one in updated)
            if is_here:
                seconds = result.inference_latency, result.upload_latency
                self.run(
                    "UPDATE tasks SET status = 'finished', outcome = 'finished', inference_latency = round(?, 6),"
                    " upload_latency = round(?, 6), media = ?, file = ?, msg = ?, revision = ?, ended = ?, work = NULL"
                    " WHERE task_id = ?",
                    (*seconds, media, " ".join(files), result.msg, revision, now, task_id),
                )
        return is_here

    def end(self, task_id: str, status: str, outcome: str, msg: str, *, revision: int, now: float) -> None:
        """Set a task to failed or canceled, with the reason."""
        self.run(
            "UPDATE tasks SET status = ?, outcome = ?, msg = ?, revision = ?, ended = ?, work = NULL WHERE task_id = ?",
            (status, outcome, msg, revision, now, task_id),
        )

    def outcome_of(self, task_id: str, token: str) -> str | None:
        """How a task ended while this lease was its last; None where it has not, or not with that lease."""
        row = self.run(
            f"SELECT outcome FROM tasks WHERE task_id = ? AND lease = ? AND NOT {_IS_OPEN}",  # noqa: S608
            (task_id, token),
        ).fetchone()
        return None if row is None else row["outcome"]

    def find_media(self, media: str, number: int, owners: Set[bytes] | None) -> str | None:
        """The file of that number behind the name in a result's address, of a task of one of these owners.

        ``owners`` is None for any. Returns None where there is none.
        """
        rows = self.run("SELECT file, owner FROM tasks WHERE media = ?", (media,))
        files = next((row["file"] for row in rows if owners is None or row["owner"] in owners), "").split()
        return files[number - 1] if 0 < number <= len(files) else None

    def withdraw_others(self, owners: Set[bytes]) -> list[str]:
        """Forget the uploaded images of all but these owners; returns the ids of their open tasks."""
        for (owner,) in self.run("SELECT DISTINCT owner FROM images").fetchall():
            if owner not in owners:
                self.run("DELETE FROM images WHERE owner = ?", (owner,))
        rows = self.run(f"SELECT task_id, owner FROM tasks WHERE {_IS_OPEN}")  # noqa: S608 - no values in it
        return [row["task_id"] for row in rows if row["owner"] not in owners]

    def ended_tasks(self, count: int, now: float) -> tuple[EndedTask, ...]:
        """The tasks that ended last, newest first."""
        rows = self.rows(
            "SELECT task_type, workflow_id, task_id, coalesce(outcome, ''), miner, attempts, ended - create_timestamp,"
            " ? - ended FROM tasks WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT ?",
            (now, count),
        )
        return tuple(EndedTask(WorkflowKey(*row[:2]), *row[2:]) for row in rows)

    async def forget_tasks(self, now: float) -> None:
        """Forget tasks that ended long ago, some at a time, and remember the time."""
        self.run("UPDATE steady_time SET value = ?1 WHERE value IS NULL OR value < ?1", (now,))
        old = "DELETE FROM tasks WHERE rowid IN (SELECT rowid FROM tasks WHERE ended < ? LIMIT ?)"
        while self.run(old, (now - KEPT_SECONDS, _AT_ONCE)).rowcount:  # noqa: ASYNC110 - it waits for nothing
            await asyncio.sleep(0)

    async def results_over(self, budget: int, before: float) -> list[str]:
        """Some of the oldest results, without which the rest fits into so many bytes, but none that was added later."""
        rows = await self.slow(
            list,
            "SELECT file FROM (SELECT file, added, sum(size) OVER (ORDER BY added DESC, file) AS total FROM results)"
            " WHERE total > ? AND added < ? ORDER BY added LIMIT ?",
            (budget, before, _AT_ONCE),
        )
        # Meanwhile another task may have got the same result.
        is_old = "SELECT 1 FROM results WHERE file = ? AND added < ?"
        return [file for (file,) in rows if self.run(is_old, (file, before)).fetchone()]

    def forget_result(self, file: str) -> None:
        """The file was removed."""
        self.run("DELETE FROM results WHERE file = ?", (file,))


def first_values(rows: Iterable[Any]) -> set[Any]:
    """The first value of each row."""
    return {value for (value,) in rows}


def _open_task(
    *,
    task_type: str,
    workflow_id: str | None,
    miner: str,
    began: float,
    lease: str | None,
    prompt_id: str,
    uploads: str | None,
    **fields: Any,
) -> OpenTask:
    """A task from its row."""
    # An attempt that was lost can still be renewed.
    attempt = None if lease is None else Lease(miner, fields["attempts"], began, 0.0, lease, prompt_id, expires_at=0.0)
    was_begun = bool(fields["attempts"])
    workflow, files = WorkflowKey(task_type, workflow_id), tuple((uploads or "").split())
    return OpenTask(workflow=workflow, lease=attempt, was_begun=was_begun, uploads=files, **fields)


def _shortened(details: Mapping[str, Any]) -> dict[str, Any]:
    """Task details as answers show them: without bodies of long ``data:`` URIs and signatures."""
    return {"parameters": {name: _shortened_value(value) for name, value in details["parameters"].items()}}


def _shortened_value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    is_long = is_data_uri(value) and len(value) > _LONGEST_DATA_URI
    return f"{value[:64]}… ({len(value)} characters)" if is_long else without_signatures(value)
