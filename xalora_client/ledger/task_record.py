"""A task in the ledger: what was asked for, what became of it, and how both are stored in the table ``tasks``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..protocol.answers import FINAL_STATUSES, TaskStatus, WorkflowTaskResult
from ..storage.sqlite_file import DamageError, SqliteFile, Steps
from .fingerprint import TaskIdentity

CREATING, UNCONFIRMED, REJECTED = "creating", "doubtful", "refused"
"""States of a task without an id: about to be sent, sent without a conclusive answer, not accepted."""

FINAL_STATES = frozenset({REJECTED, *(status.value for status in FINAL_STATUSES)})


@dataclass(frozen=True)
class TaskRecord:
    """A task as it was when the ledger was read. Times are Unix seconds, or None for what has not happened yet.

    Attributes:
        number: Its number in the ledger: a newer task has a higher one.
        job_id: The id under which the task was sent.
        fingerprint: The same for the same work at the same server.
        server: The sequencer's address, or the lasting name of one whose address changes, such as "sandbox".
        task_type: The kind of task, such as "txt2vid".
        workflow_id: The server's workflow.
        parameters: JSON. Images and very long texts are replaced by their hashes.
        source: Who asked: "node", "cli" or "library".
        state: A TaskStatus, or before there is an id "creating", "doubtful" (sent, but no answer says whether it was
            accepted) or "refused".
        tries: How often the create was started, each time under the same job id. Above 1, it was sent again after an
            unclear failure or a crash.
        created: When the task was written to the ledger.
        owner: The name of the lock that the sender of the create holds.
        task_id: The sequencer's id, None before it gave one.
        submitted: When the sequencer accepted it.
        finished: When its end was seen.
        ran: Seconds from submitted to finished, or None if no run watched the end.
        inference_latency: Seconds the miner worked.
        upload_latency: Seconds the miner's upload took.
        message: The server's message, in one line.
        result: The server's result, as it was answered.
        media_url: Where the media was.
        sha256: The hash of the stored media file, in hex. None before it is downloaded.
        extension: Its extension, with the dot.
        media_bytes: Its size.
        caller: What part of the source asked, as JSON: for a node its ``node`` id, ``run``, ``title``, ``workflow`` id
            and, in a ComfyUI with several users, ``user``.
        more_urls: Where the others of several media were, a list.
        more_stored: The names of their stored files, as ``media`` has them, by number: the first of the others is "2".
    """

    number: int
    job_id: str
    fingerprint: str
    server: str
    task_type: str
    workflow_id: str | None
    parameters: object
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
    result: object = None
    media_url: str | None = None
    sha256: str | None = None
    extension: str | None = None
    media_bytes: int | None = None
    caller: object = None
    more_urls: object = None
    more_stored: object = None

    @property
    def is_final(self) -> bool:
        """Whether the state will not change any more."""
        unconfirmed = self.state == TaskStatus.CANCELED and self.finished is None
        return self.state in FINAL_STATES and not unconfirmed

    @property
    def media(self) -> str | None:
        """The name of the stored result: its SHA-256 in hex and its extension. None before it is downloaded."""
        return None if self.sha256 is None else f"{self.sha256}{self.extension or ''}"

    def stored(self, number: int = 1) -> tuple[str, str] | None:
        """The hash and the extension of the stored result, or of that ``number`` of several. None before a download."""
        if number == 1:
            return None if self.sha256 is None else (self.sha256, self.extension or "")
        name = self.more_stored.get(str(number)) if isinstance(self.more_stored, dict) else None
        return (name[:64], name[64:]) if isinstance(name, str) else None

    @property
    def more_media(self) -> list[str | None]:
        """As ``media``, the names of the others of several."""
        found = (self.stored(number) for number in range(2, 2 + len(self._more_urls)))
        return [None if one is None else "".join(one) for one in found]

    @property
    def _more_urls(self) -> tuple[str, ...]:
        return tuple(map(str, self.more_urls)) if isinstance(self.more_urls, list) else ()

    def to_json(self) -> dict[str, object]:
        """What others may know of the record, as a JSON object."""
        return {name: self.caller if name == "place" else getattr(self, name) for name in _JSON_FIELDS}

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
            more_media_urls=self._more_urls,
        )


_JSON_FIELDS = (
    *("number", "task_id", "job_id", "state", "is_final", "server", "task_type", "workflow_id", "parameters", "source"),
    *("place", "created", "submitted", "finished", "inference_latency", "message", "media", "media_bytes"),
    "more_media",
)

WATCHED = 75.0
"""The longest time in seconds between two queries of a run that waits: it polls at least once a minute. After a longer
gap, the moment of the task's end is unknown, and nothing is learned from it."""

_OTHER_NAMES = {"caller": "place", "media_bytes": "size"}
COLUMNS = tuple(_OTHER_NAMES.get(field.name, field.name) for field in fields(TaskRecord))
SELECT = f"SELECT {', '.join(COLUMNS)} FROM tasks"  # noqa: S608 - names of columns
_JSON = ("parameters", "result", "place", "more_urls", "more_stored")
_CONSTANT = (
    *("number", "job_id", "fingerprint", "server", "task_type", "workflow_id", "parameters", "source", "place"),
    "created",
)
"""What never changes after the record was added; nor do the pages of an index that has nothing else."""

CONTRADICTION = "its table and indexes contradict each other"


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
    # The same as tasks_by_fingerprint, on other pages: see usable().
    ("CREATE INDEX tasks_by_fingerprint_again ON tasks (fingerprint)",),
    (
        "ALTER TABLE tasks ADD COLUMN more_urls TEXT NOT NULL DEFAULT 'null'",
        "ALTER TABLE tasks ADD COLUMN more_stored TEXT NOT NULL DEFAULT 'null'",
    ),
)
"""Step n leads from version n to n + 1. Released steps are never changed; new ones are added."""


def ledger_file(home: Path) -> SqliteFile:
    """The file of a Xalora home. It is opened at its first use."""
    return SqliteFile(home / "ledger.sqlite3", STEPS, NAME, "ledger_damaged")


def storable(text: Any) -> Any:
    """The text without lone surrogates, which a server may send but SQLite cannot store."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


def new(identity: TaskIdentity, job_id: str, source: str, now: float, caller: object = None) -> TaskRecord:
    """The record of a task before its create."""
    known = {name: value for name, value in vars(identity).items() if name != "also"}
    return TaskRecord(
        number=0, job_id=job_id, **known, source=source, state=CREATING, tries=0, created=now, caller=caller
    )


def with_answer(record: TaskRecord, result: WorkflowTaskResult) -> TaskRecord:
    """The record updated by an answer; what the answer leaves out stays."""
    answered = {
        "state": str(result.status),
        "message": storable(result.message),
        "inference_latency": result.inference_latency,
        "upload_latency": result.upload_latency,
        "result": result.result,
        "media_url": storable(result.media_url),
        "more_urls": [*map(storable, result.more_media_urls)] or None,
    }
    return replace(record, **{name: value for name, value in answered.items() if value is not None})


def run_time(record: TaskRecord, seen: float | None, now: float) -> float | None:
    """How long a finished task took: it ended between ``seen``, when it was last found open, and ``now``."""
    if record.state != TaskStatus.FINISHED or record.submitted is None or seen is None:
        return None
    return max(0.0, (seen + now) / 2 - record.submitted) if 0 <= now - seen <= WATCHED else None


def from_row(row: sqlite3.Row) -> TaskRecord:
    """The record in a row of SELECT."""
    values = zip(COLUMNS, row, strict=True)
    return TaskRecord(*(_from_json(value) if name in _JSON else value for name, value in values))


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # This program did not write it; the rest of the record is still useful.
        return text


def _row(record: TaskRecord) -> dict[str, Any]:
    values = zip(COLUMNS, (getattr(record, field.name) for field in fields(record)), strict=True)
    return {name: json.dumps(value, default=repr) if name in _JSON else value for name, value in values}


def usable(db: sqlite3.Connection, fingerprints: Sequence[str]) -> TaskRecord | None:
    """The record to use in place of a new task with one of these: one that has a task first, then the newest.

    The table and two indexes, each on pages of its own, must agree: else a damaged page, even one that looks right,
    could hide a task that is paid for. Raises DamageError.
    """
    records = [record for fingerprint in fingerprints for record in _of_fingerprint(db, fingerprint)]
    found = [record for record in records if not record.is_final or record.state == TaskStatus.FINISHED]
    best = max(found, key=lambda record: (record.task_id is not None, record.number), default=None)
    # It may be sent again under its job id, which must be the right one.
    if best is not None and best.task_id is None and find(db, "job_id", best.job_id) != best:
        raise DamageError(CONTRADICTION)
    return best


def _of_fingerprint(db: sqlite3.Connection, fingerprint: str) -> list[TaskRecord]:
    value = (fingerprint,)
    query = "SELECT number, state FROM tasks INDEXED BY tasks_by_fingerprint WHERE fingerprint = ? ORDER BY number"
    first = [(number, state) for number, state in db.execute(query, value)]
    query = "SELECT number FROM tasks INDEXED BY tasks_by_fingerprint_again WHERE fingerprint = ? ORDER BY number"
    again = [number for (number,) in db.execute(query, value)]
    rows = [db.execute(f"{SELECT} WHERE number = ?", (number,)).fetchone() for number in again]
    records = [from_row(row) for row in rows if row is not None and row["fingerprint"] == fingerprint]
    if first != [(record.number, record.state) for record in records] or again != [number for number, _ in first]:
        raise DamageError(CONTRADICTION)
    return records


def find(db: sqlite3.Connection, column: str, identifier: str, server: str | None = None) -> TaskRecord | None:
    """The newest record with this "task_id" or "job_id", of one server or, with None, of any. Raises DamageError."""
    identifier = storable(identifier)
    record = one(db, f"{column} = ?1 AND server = coalesce(?2, server)", identifier, server)
    if record is not None and getattr(record, column) != identifier:
        raise DamageError(CONTRADICTION)
    return record


def one(db: sqlite3.Connection, where: str, *values: Any) -> TaskRecord | None:
    """The newest record that meets a condition. ``where`` is SQL, so it never comes from outside."""
    row = db.execute(f"{SELECT} WHERE {where} ORDER BY number DESC LIMIT 1", values).fetchone()
    return None if row is None else from_row(row)


def durations(
    db: sqlite3.Connection, server: str | None, task_type: str, workflow_id: str | None, limit: int
) -> list[float]:
    """How long the server's newest tasks of a kind took, in seconds, as far as their ends were watched."""
    query = (
        "SELECT ran FROM tasks WHERE server IS ? AND task_type = ? AND workflow_id IS ? AND ran IS NOT NULL"
        " ORDER BY finished DESC LIMIT ?"
    )
    return [ran for (ran,) in db.execute(query, (server, task_type, workflow_id, limit))]


def insert(db: sqlite3.Connection, record: TaskRecord) -> None:
    """Add a record. The database numbers it."""
    row = _row(record) | {"number": None}
    names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
    db.execute(f"INSERT INTO tasks ({names}) VALUES ({places})", row)  # noqa: S608 - names of columns


def update(db: sqlite3.Connection, record: TaskRecord) -> None:
    """Write what became of the task that has this number and job id. Raises DamageError when there is none."""
    row = _row(record)
    changes = ", ".join(f"{name} = :{name}" for name in row if name not in _CONSTANT)
    statement = f"UPDATE tasks SET {changes} WHERE number = :number AND job_id = :job_id"  # noqa: S608
    if db.execute(statement, row).rowcount != 1:
        raise DamageError(CONTRADICTION)
