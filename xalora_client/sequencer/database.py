"""The tasks in SQLite, so that they survive the end of the process, even a kill or a power cut.

The queue also has the open tasks in memory: each change is written here first.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import logging
import os
import secrets
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StorageError
from ..protocol.parameters import is_data_uri
from ..protocol.urls import without_signatures
from ..storage.file_locks import FileSystemError
from ..storage.files import sync, sync_folder
from ..storage.sqlite_file import (
    DamageError,
    Steps,
    connect,
    free_name,
    is_busy,
    is_damage,
    is_full,
    log_of,
    open_to_read,
)
from ..storage.sqlite_watch import OVERWRITTEN, SqliteWatch
from ..workflows import WorkflowKey
from .clock import Clock
from .folder_lock import unusable
from .open_task import Lease, OpenTask
from .values import EndedTask, InputFile, NewTask, Result, StoreError, TaskView

if sys.platform == "darwin":
    import fcntl

C = TypeVar("C")
T = TypeVar("T")
logger = logging.getLogger(__name__)

KEPT_SECONDS = 90 * 86_400.0
"""A task that ended is known for so long: with its parameters, and so that its job id creates no other one."""

NAME = "The sequencer's database"

_AT_ONCE = 200
_MOST_LOG = 4 * 2**20
_WATCH_SECONDS = 1.0
_LONGEST_PAUSE = 30 * 86_400.0
_PATIENCE = 10.0
_BETWEEN_TRIES = 0.05
_LONGEST_DATA_URI = 200
_IS_OPEN = "status IN ('waiting', 'running')"
_OPEN_COLUMNS = (
    "task_type, workflow_id, miner, attempts, began, lease, prompt_id, task_id, rowid AS number, owner,"
    " create_timestamp AS created, timeout_seconds, priority, length(work) AS size, ready, status, upload, revision"
)
_SALT = "CREATE TABLE IF NOT EXISTS salt (value BLOB NOT NULL)"
_TASKS = """
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
    media TEXT,                       -- the name in the result's address
    msg TEXT,
    inputs TEXT,                      -- JSON: for each image parameter its file, or null until it is here
    ready INTEGER NOT NULL DEFAULT 0, -- whether all inputs are here
    attempts INTEGER NOT NULL DEFAULT 0,
    miner TEXT,                       -- of the present attempt, or the last
    lease TEXT,                       -- that attempt's token
    prompt_id TEXT,                   -- and its id
    began REAL,                       -- and when it began, Unix seconds
    upload TEXT,                      -- the file that it uploaded
    file TEXT,                        -- the file of the result
    revision INTEGER NOT NULL DEFAULT 0,
    outcome TEXT,                     -- finished, error, canceled, timed out, lost
    ended REAL,                       -- Unix seconds
    UNIQUE (owner, consumer_id, job_id)
)
"""
_CAPABILITIES = """
CREATE TABLE IF NOT EXISTS offers (   -- what miners announced that they can run
    miner TEXT NOT NULL,
    offer TEXT NOT NULL,              -- JSON
    seen REAL NOT NULL,               -- Unix seconds
    PRIMARY KEY (miner, offer)
) WITHOUT ROWID
"""
_RESULTS = """
CREATE TABLE IF NOT EXISTS results (  -- the files in the folder of media
    file TEXT PRIMARY KEY,
    size INTEGER NOT NULL,            -- bytes
    added REAL NOT NULL               -- Unix seconds, of the last task that has it
) WITHOUT ROWID
"""
_IMAGES = """
CREATE TABLE IF NOT EXISTS images (   -- what clients uploaded for their tasks
    token TEXT PRIMARY KEY,           -- the last part of its address
    owner BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,            -- bytes
    content_type TEXT NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0,
    used REAL NOT NULL,               -- Unix seconds, of the last use
    UNIQUE (owner, sha256)
) WITHOUT ROWID
"""


def _add_salt(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO salt SELECT ? WHERE NOT EXISTS (SELECT 1 FROM salt)", (secrets.token_bytes(16),))


_STEADY_TIME = """
CREATE TABLE steady_time (            -- one row: the time that was last, which ``Database.steady_time`` goes on from
    value REAL
)
"""
_LAST_TIME = """
INSERT INTO steady_time SELECT max(moment) FROM (
    SELECT max(ended) AS moment FROM tasks UNION SELECT max(used) FROM images
    UNION SELECT max(added) FROM results UNION SELECT max(seen) FROM offers
)
"""

STEPS: Steps = [
    # Files from before versions were counted have these tables, and rows without what was added later.
    (
        _SALT,
        _TASKS,
        _CAPABILITIES,
        _RESULTS,
        _IMAGES,
        _add_salt,
        "UPDATE tasks SET file = media WHERE file IS NULL",
        "UPDATE tasks SET inputs = '{}' WHERE inputs IS NULL",
        "DROP TABLE IF EXISTS requests",
        "CREATE INDEX IF NOT EXISTS tasks_open ON tasks (status) WHERE status IN ('waiting', 'running')",
        "CREATE INDEX IF NOT EXISTS tasks_ended ON tasks (ended) WHERE ended IS NOT NULL",
        "CREATE INDEX IF NOT EXISTS tasks_media ON tasks (media) WHERE media IS NOT NULL",
    ),
    ("ALTER TABLE tasks ADD COLUMN priority INTEGER NOT NULL DEFAULT 0", _STEADY_TIME, _LAST_TIME),
]

OWN_TABLES = {"salt", "tasks", "offers", "results", "images"}


def check_file(db: sqlite3.Connection) -> None:
    """Raise StorageError for a file that is not a sequencer's, and DamageError for one that is damaged."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if OWN_TABLES - tables:
        raise StorageError(f"{NAME} cannot be used: the file is another program's")
    (report,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if report != "ok":
        raise DamageError(" ".join(str(report).split()))


def waits_for_others(cls: type[C]) -> type[C]:
    """Let the asynchronous methods of a class wait while another program keeps the database locked, and begin again.

    Each writes before it changes anything else, so that it may be repeated. ``start`` is left alone.
    """
    for name, method in list(vars(cls).items()):
        if asyncio.iscoroutinefunction(method) and not name.startswith("_") and name != "start":
            setattr(cls, name, _repeated(method))
    return cls


def _repeated(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    @wraps(method)
    async def repeated(*arguments: Any, **keywords: Any) -> T:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return await method(*arguments, **keywords)
            except StoreError as error:
                if not error.is_busy or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_BETWEEN_TRIES)

    return repeated


class Database:
    """The tables of one data folder. Use it from one thread at a time. It holds no keys.

    What a method writes outlives a kill of the process when it returns, and a power cut after ``flush``. Each raises
    StoreError when that is not possible; opening raises StorageError for a file of a newer version or of another
    program, OSError and sqlite3.Error, and has changed nothing then.

    Somebody else who changes the files, damage, or a disk that loses what was written is the end of it: see ``watch``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path = path.resolve()  # The log of a linked file is beside the file itself.
        try:
            self._db = connect(path, STEPS, NAME, check_file)
        except StorageError as error:
            raise error.derived(advice="Update this version, or choose another data folder.") from error
        if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            raise FileSystemError(errno.ENODEV, "its file system cannot share a file in memory")
        # A commit does not wait for the disk: nothing else could run meanwhile. ``flush`` does, for many at once.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA wal_autocheckpoint = 0")
        (self._salt,) = self._db.execute("SELECT value FROM salt").fetchone()
        sync_folder(path.parent)
        # For other threads. While one reads from the file alone, no program's checkpoint changes the file.
        self._checkpoints = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self._checkpoints.execute("PRAGMA fullfsync = ON")
        self._reader = open_to_read(path)
        self._changing, self._reading = threading.Lock(), threading.Lock()
        (page_size,) = self._db.execute("PRAGMA page_size").fetchone()
        self._watch = SqliteWatch(path, page_size)
        self._fault: StorageError | None = None
        self._has_fault = asyncio.Event()
        self._flushed = 0
        self._flushing: asyncio.Future[None] | None = None
        self._offset: float | None = None
        self._checkpoint()

    def close(self) -> None:
        """Close the file; it cannot be used any more. After a fault, nothing of the log is copied into it."""
        with suppress(StoreError):
            self._check_files()
        with self._changing, self._reading:
            # The last one that is closed makes a checkpoint, unless it may only read.
            connections = [self._reader, self._checkpoints, self._db]
            for connection in connections if self._fault is None else reversed(connections):
                connection.close()
            with suppress(OSError):
                if self._fault is not None and self._watch.is_log_left():  # SQLite would mix it into the file there.
                    log_of(self._path).rename(free_name(log_of(self._path), "left"))
            self._watch.close()

    async def watch(self) -> None:
        """Look at the files every second, and keep the log short. Raises StorageError after a fault, at once.

        From here on no call waits while another program keeps the file locked: others are served meanwhile.
        """
        self._db.execute("PRAGMA busy_timeout = 0")
        while True:
            with suppress(StoreError):
                self._check_files()
            if self._fault is not None:
                raise self._fault
            if self._watch.log_size > _MOST_LOG:
                await self.checkpoint()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._has_fault.wait(), _WATCH_SECONDS)

    async def flush(self) -> None:
        """Wait until what was written so far is on the disk. Calls that wait at the same time share one wait."""
        written = self._db.total_changes
        while self._flushed < written:
            if self._flushing is None:
                self._flushing = asyncio.ensure_future(self._flush_now())
            await asyncio.shield(self._flushing)
        self._check_files()
        self._check_fault()

    async def _flush_now(self) -> None:
        written = self._db.total_changes
        try:
            await asyncio.to_thread(_flush_bytes, log_of(self._path))
            self._flushed = written
        except OSError as error:
            self._check_files()
            if error.filename is None:  # Not that it cannot be opened.
                self._break_after(error)
            raise StoreError(str(error)) from error
        finally:
            self._flushing = None

    async def checkpoint(self) -> None:
        """Copy the log into the file, and empty it. Others go on writing meanwhile."""
        try:
            await asyncio.to_thread(self._checkpoint)
        except sqlite3.Error as error:
            logger.error("The log of the database cannot be copied into its file: %s", error)
            if not (is_busy(error) or is_full(error)):
                self._break_after(error)

    def _checkpoint(self) -> None:
        with self._changing:
            if self._watch.change() is not None:
                return
            if self._checkpoints.in_transaction:
                self._checkpoints.execute("COMMIT")
            try:
                # The first does not keep others from writing, and leaves little for the second.
                for mode in ("PASSIVE", "TRUNCATE"):
                    self._checkpoints.execute(f"PRAGMA wal_checkpoint({mode})")
            finally:
                self._checkpoints.execute("BEGIN")
                self._checkpoints.execute("SELECT value FROM salt").fetchone()
                self._watch.remember()

    def _check_files(self) -> None:
        """Note what others did to the files. Raises StoreError when they cannot be looked at."""
        if self._fault is not None or not self._changing.acquire(blocking=False):
            return  # A checkpoint changes them now.
        try:
            change = self._watch.change()
        except OSError as error:
            raise StoreError(str(error)) from error
        finally:
            self._changing.release()
        if change is not None:
            saved = None if change.what == OVERWRITTEN else self._saved()
            where = "cannot be read any more" if saved is None else f"is in {saved.name}"
            self._break(
                StorageError(
                    f"{change.file} was {change.what} while the {self._path.stem} ran. What it had until then {where}",
                    advice="Put the file that you want in its place, and start it again.",
                )
            )

    def _saved(self) -> Path | None:
        """A copy of what is in the files that are open, although they are deleted. None if they cannot be read."""
        path = free_name(self._path, "saved")
        try:
            copy_to(self._db, path)
        except (OSError, sqlite3.Error):
            return None
        return path

    def _break(self, error: StorageError) -> None:
        if self._fault is None:
            self._fault = error
            self._has_fault.set()

    def _break_after(self, error: Exception) -> None:
        # A later attempt would seem to succeed: the system forgets what it could not write.
        what = f"The disk of {self._path} did not keep what was written: {error}"
        self._break(StorageError(what, advice="Check the disk, and start it again."))

    def _check_fault(self) -> None:
        if self._fault is not None:
            raise StoreError(str(self._fault))

    def run(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Execute a statement. Use ``rows`` where it may return several."""
        # What is written into a log that somebody put there would damage it. A transaction writes at its end.
        if not sql.startswith("SELECT") and (sql == "COMMIT" or not self._db.in_transaction):
            self._check_files()
        self._check_fault()
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        try:
            return self.run(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    async def slow(self, collect: Callable[[Iterable[Any]], T], sql: str, values: Sequence[Any] = ()) -> T:
        """What ``collect`` makes of the rows of a query that takes long, beside the event loop."""

        def read() -> T:
            with self._reading:
                return collect(self._reader.execute(sql, values))

        self._check_fault()
        try:
            return await asyncio.to_thread(read)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StoreError:
        if is_damage(error):
            self._check_files()
            self._break(unusable(self._path.parent, error, self._path.stem))
        else:
            with suppress(OSError):
                self._watch.distrust_end()
        return StoreError(str(error), is_full=is_full(error), is_busy=is_busy(error))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing, with one wait for the disk."""
        try:
            self.run("BEGIN IMMEDIATE")
            yield
            self.run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

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
            " timeout_seconds, workflow_id, media, msg, revision FROM tasks WHERE task_id = ? AND owner = ?",
            (task_id, owner),
        ).fetchone()
        return None if row is None else TaskView(**dict(row) | {"task_details": json.loads(row["task_details"])})

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

    def attach_result(self, task_id: str, file: str, size: int, now: float) -> None:
        """The present attempt uploaded this file."""
        with self.transaction():
            self.run("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", (file, size, now))
            self.run("UPDATE tasks SET upload = ? WHERE task_id = ?", (file, task_id))

    def finish(self, task_id: str, media: str, result: Result, *, revision: int, now: float) -> bool:
        """Set a task to finished, with the name in the address of its result. False if the file was forgotten."""
        with self.transaction():
            is_here = self.run("UPDATE results SET added = ? WHERE file = ?", (now, result.file)).rowcount == 1
            if is_here:
                seconds = result.inference_latency, result.upload_latency
                self.run(
                    "UPDATE tasks SET status = 'finished', outcome = 'finished', inference_latency = round(?, 6),"
                    " upload_latency = round(?, 6), media = ?, file = ?, msg = ?, revision = ?, ended = ?, work = NULL"
                    " WHERE task_id = ?",
                    (*seconds, media, result.file, result.msg, revision, now, task_id),
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

    def find_media(self, media: str, owners: Set[bytes] | None) -> str | None:
        """The file behind the name in a result's address, of a task of one of these owners; of any if None."""
        rows = self.run("SELECT file, owner FROM tasks WHERE media = ?", (media,))
        return next((row["file"] for row in rows if owners is None or row["owner"] in owners), None)

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


def copy_to(db: sqlite3.Connection, path: Path) -> None:
    """Copy all that is in a database into a new file that only its owner reads. Raises OSError and sqlite3.Error."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(path)) as copy:
            db.backup(copy)
            check_file(copy)
        sync(path)
    except BaseException:
        path.unlink()
        raise


def _flush_bytes(file: Path) -> None:
    handle = os.open(file, os.O_RDWR)
    try:
        if sys.platform == "darwin":  # There, fsync stops at the disk's own cache.
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
        else:
            os.fsync(handle)
    finally:
        os.close(handle)


def _open_task(
    *,
    task_type: str,
    workflow_id: str | None,
    miner: str,
    began: float,
    lease: str | None,
    prompt_id: str,
    **fields: Any,
) -> OpenTask:
    """A task from its row."""
    # An attempt that was lost can still be renewed.
    attempt = None if lease is None else Lease(miner, fields["attempts"], began, 0.0, lease, prompt_id, expires_at=0.0)
    was_begun = bool(fields["attempts"])
    return OpenTask(workflow=WorkflowKey(task_type, workflow_id), lease=attempt, was_begun=was_begun, **fields)


def _shortened(details: Mapping[str, Any]) -> dict[str, Any]:
    """Task details as answers show them: without bodies of long ``data:`` URIs and signatures."""
    return {"parameters": {name: _shortened_value(value) for name, value in details["parameters"].items()}}


def _shortened_value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    is_long = is_data_uri(value) and len(value) > _LONGEST_DATA_URI
    return f"{value[:64]}… ({len(value)} characters)" if is_long else without_signatures(value)
