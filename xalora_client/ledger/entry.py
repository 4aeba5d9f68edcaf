"""A task in the ledger: what was asked for, what became of it, and how both are stored in the table ``tasks``."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, fields, replace
from typing import Any

from ..protocol.answers import FINAL_STATUSES, TaskStatus, WorkflowTaskResult
from ..sqlite_file import DamageError
from .fingerprint import Intent

CREATING, DOUBTFUL, REFUSED = "creating", "doubtful", "refused"
"""States of a task without an id: about to be sent, sent without a conclusive answer, not accepted."""

FINAL_STATES = frozenset({REFUSED, *(status.value for status in FINAL_STATUSES)})


@dataclass(frozen=True)
class Entry:
    """A task as it was when the ledger was read.

    ``state`` is one of TaskStatus, or before the task has an id "creating", "doubtful" (sent, but no answer says
    whether it was accepted) or "refused". ``tries`` counts how often the create was started, each time under the same
    ``job_id``; above 1 it was sent again after an ambiguous failure or a crash. ``created``, ``submitted`` (the create
    was answered) and ``finished`` (seen final) are Unix seconds; the latencies are the server's, in seconds; ``ran`` is
    the seconds from submitted to finished, or None if no run watched the end. ``sha256``, ``extension`` (with its
    dot) and ``size`` (bytes) name the media file once it is stored. ``source`` is "node", "cli" or "library",
    ``place`` the part of it that asked, as JSON: for a node its ``node`` id, ``title`` and ``workflow`` id.
    """

    number: int
    job_id: str
    fingerprint: str
    server: str
    task_type: str
    workflow_id: str | None
    parameters: Any
    source: str
    state: str
    tries: int
    created: float
    owner: str | None = None
    task_id: str | None = None
    submitted: float | None = None
    finished: float | None = None
    ran: float | None = None
    inference_latency: float | None = None
    upload_latency: float | None = None
    message: str | None = None
    result: Any = None
    media_url: str | None = None
    sha256: str | None = None
    extension: str | None = None
    size: int | None = None
    place: Any = None

    @property
    def is_final(self) -> bool:
        """Whether the state will not change any more."""
        unconfirmed = self.state == TaskStatus.CANCELED and self.finished is None
        return self.state in FINAL_STATES and not unconfirmed

    def as_result(self) -> WorkflowTaskResult:
        """The server's last answer, as far as it was kept. Raises ValueError for a task without an id."""
        if self.task_id is None:
            raise ValueError("the task has no id yet")
        return WorkflowTaskResult(
            task_id=self.task_id,
            status=TaskStatus(self.state),
            result=self.result,
            task_type=self.task_type,
            create_timestamp=self.submitted,
            inference_latency=self.inference_latency,
            upload_latency=self.upload_latency,
            workflow_id=self.workflow_id,
            msg=self.message,
            media_url=self.media_url,
        )

    @classmethod
    def new(cls, intent: Intent, job_id: str, source: str, now: float, place: Any = None) -> Entry:
        """The entry of an intent before its create."""
        return cls(
            number=0,
            job_id=job_id,
            fingerprint=intent.fingerprint,
            server=intent.server,
            task_type=intent.task_type,
            workflow_id=intent.workflow_id,
            parameters=intent.parameters,
            source=source,
            state=CREATING,
            tries=0,
            created=now,
            place=place,
        )

    def with_answer(self, result: WorkflowTaskResult) -> Entry:
        """The entry updated by an answer; what the answer leaves out stays."""
        said = {
            "state": str(result.status),
            "message": storable(result.message),
            "inference_latency": result.inference_latency,
            "upload_latency": result.upload_latency,
            "result": result.result,
            "media_url": storable(result.media_url),
        }
        return replace(self, **{name: value for name, value in said.items() if value is not None})

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Entry:
        """Read a row of the table ``tasks``."""
        return cls(**{name: _read(row[name]) if name in _JSON else row[name] for name in COLUMNS})

    def row(self) -> dict[str, Any]:
        """The values for a row, without ``number``, which the database assigns."""
        values = {name: getattr(self, name) for name in COLUMNS if name != "number"}
        return {name: _written(value) if name in _JSON else value for name, value in values.items()}


COLUMNS = tuple(field.name for field in fields(Entry))
SELECT = f"SELECT {', '.join(COLUMNS)} FROM tasks"  # noqa: S608 - names of columns
_JSON = ("parameters", "result", "place")
_LASTING = (
    "job_id",
    "fingerprint",
    "server",
    "task_type",
    "workflow_id",
    "parameters",
    "source",
    "created",
    "place",
)
"""What never changes after the entry was added; nor do the pages of an index that has nothing else."""


def storable(text: Any) -> Any:
    """The text without lone surrogates, which a server may send but SQLite cannot store."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


def _written(value: Any) -> str:
    return json.dumps(value, default=repr)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # This program did not write it; the rest of the entry is still useful.
        return text


CONTRADICTION = "its table and indexes contradict each other"


def usable(db: sqlite3.Connection, fingerprint: str) -> Entry | None:
    """The entry to use in place of a new task: one that has a task first, then the newest.

    The table and two indexes must say the same, on pages of their own: else a page that is damaged, even one that looks
    right, could hide a task that is paid for. Raises DamageError.
    """
    value = (fingerprint,)
    query = "SELECT number, state FROM tasks INDEXED BY tasks_by_fingerprint WHERE fingerprint = ? ORDER BY number"
    first = [(number, state) for number, state in db.execute(query, value)]
    query = "SELECT number FROM tasks INDEXED BY tasks_by_fingerprint_again WHERE fingerprint = ? ORDER BY number"
    again = [number for (number,) in db.execute(query, value)]
    rows = [db.execute(f"{SELECT} WHERE number = ?", (number,)).fetchone() for number in again]
    entries = [Entry.from_row(row) for row in rows if row is not None and row["fingerprint"] == fingerprint]
    if first != [(entry.number, entry.state) for entry in entries] or again != [number for number, _ in first]:
        raise DamageError(CONTRADICTION)
    found = [entry for entry in entries if not entry.is_final or entry.state == TaskStatus.FINISHED]
    best = max(found, key=lambda entry: (entry.task_id is not None, entry.number), default=None)
    # It may be sent again under its job id, which must be the right one.
    if best is not None and best.task_id is None and of_job(db, best.job_id) != best:
        raise DamageError(CONTRADICTION)
    return best


def find(db: sqlite3.Connection, task_id: str, server: str | None) -> Entry | None:
    """The newest entry with a task id, of one server or, with None, of any. Raises DamageError."""
    entry = one(db, "task_id = ?1 AND server = coalesce(?2, server)", storable(task_id), server)
    if entry is not None and entry.task_id != storable(task_id):
        raise DamageError(CONTRADICTION)
    return entry


def of_job(db: sqlite3.Connection, job_id: str) -> Entry | None:
    """The entry of a job. Raises DamageError."""
    entry = one(db, "job_id = ?", job_id)
    if entry is not None and entry.job_id != job_id:
        raise DamageError(CONTRADICTION)
    return entry


def one(db: sqlite3.Connection, where: str, *values: Any) -> Entry | None:
    """The newest entry that meets a condition. ``where`` is SQL, so it never comes from outside."""
    query = f"{SELECT} WHERE {where} ORDER BY number DESC LIMIT 1"
    row = db.execute(query, values).fetchone()
    return None if row is None else Entry.from_row(row)


def insert(db: sqlite3.Connection, entry: Entry) -> None:
    """Add an entry."""
    row = entry.row()
    names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
    db.execute(f"INSERT INTO tasks ({names}) VALUES ({places})", row)  # noqa: S608 - names of columns


def update(db: sqlite3.Connection, entry: Entry) -> None:
    """Write what became of the entry that has the same number and job id. Raises DamageError when there is none."""
    row = entry.row()
    changes = ", ".join(f"{name} = :{name}" for name in row if name not in _LASTING)
    statement = f"UPDATE tasks SET {changes} WHERE number = :number AND job_id = :job_id"  # noqa: S608
    if db.execute(statement, row | {"number": entry.number}).rowcount != 1:
        raise DamageError(CONTRADICTION)
