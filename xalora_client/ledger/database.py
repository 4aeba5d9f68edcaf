"""The ledger's file: opened when needed, shared by threads, processes and forks, set aside when damaged."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from .. import files
from ..errors import StorageError
from ..files import ProcessLock
from . import damage

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds to wait while another process writes."""

_BUSY_ADVICE = "Another program keeps it locked: close that program, then try again."

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
    ("ALTER TABLE tasks ADD COLUMN place TEXT NOT NULL DEFAULT 'null'",),
)
"""Step n leads from version n to n + 1. Released steps are never changed; new ones are added."""


class Database:
    """One SQLite file in WAL mode. Every commit is on the disk when it returns."""

    def __init__(self, path: Path, steps: Steps = STEPS) -> None:
        self.path = path
        self._steps = steps
        self._guard = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        _databases.add(self)

    def run(self, work: Callable[[sqlite3.Connection], T], *, reading: bool = False) -> T:
        """Do some work in one transaction that excludes other writers, or with ``reading`` nobody.

        The work may run twice: a file that turns out to be damaged is set aside, and the work is done on a new one.
        Raises StorageError when the file cannot be read or written.
        """
        with self._guard:
            try:
                try:
                    return self._transaction(work, reading)
                except sqlite3.DatabaseError as error:
                    if not damage.is_damage(error):
                        raise
                    self._replace_damaged()
                    return self._transaction(work, reading)
            except (OSError, sqlite3.Error) as error:
                raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file. It is opened again when needed."""
        with self._guard:
            self._close()

    def _transaction(self, work: Callable[[sqlite3.Connection], T], reading: bool) -> T:
        while True:
            db = self._opened()
            try:
                db.execute("BEGIN" if reading else "BEGIN IMMEDIATE")
                value = work(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            if self._file == _identity(self.path):
                return value
            # Meanwhile another process set the file aside, perhaps without this work: repeat it on the new one.

    def _opened(self) -> sqlite3.Connection:
        # The file may have been set aside or deleted since: what is written to it now would be lost.
        if self._db is not None and self._file != _identity(self.path):
            self._close()
        if self._db is not None:
            return self._db
        # Wait for a process that is replacing the file: between the old and the new one there is none.
        with self._alone():
            return self._open()

    def _open(self) -> sqlite3.Connection:
        if not self.path.exists():
            self._put(lambda db: None)
        self._file = _identity(self.path)
        # Connecting does not create it: the file has its tables from the start.
        self._db = db = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA fullfsync = ON")  # On macOS, FULL alone stops at the disk's own cache.
            migrate(db, self._steps)
        except BaseException:
            self._close()
            raise
        return db

    def _replace_damaged(self) -> None:
        """Set the damaged file aside, unless another process just did, and put a new one in its place."""
        damaged = self._file
        self._close()
        with self._alone():
            if _identity(self.path) == damaged:
                aside = damage.set_aside(self.path)
                try:
                    carried = self._put(lambda db: damage.carry_over(aside, db))
                except BaseException:  # Mostly a full disk. With an empty ledger, tasks would be charged again.
                    damage.rename(aside, self.path)
                    raise
                damage.warn(self.path, aside, carried)

    def _put(self, fill: Callable[[sqlite3.Connection], T]) -> T:
        """Build a complete file elsewhere and move it in, so that no process ever sees it half done."""
        fresh = self.path.with_name(f"{self.path.name}.new")
        for left in self.path.parent.glob(f"{fresh.name}*"):  # Left by a process that was killed halfway.
            left.unlink()
        # Prompts are private. SQLite gives its other files the same mode.
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        db = sqlite3.connect(fresh, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            migrate(db, self._steps)
            filled = fill(db)
        finally:
            db.close()
        files.move(fresh, self.path)
        return filled

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclude every other process from opening, making or replacing the file."""
        deadline = time.monotonic() + PATIENCE
        while True:
            files.make_folder(self.path.parent)
            lock = ProcessLock.acquire(self.path.with_name(f"{self.path.name}.building"))
            if lock is not None:
                break
            if time.monotonic() > deadline:
                raise sqlite3.OperationalError("another process has been opening it for too long")
            time.sleep(0.02)
        try:
            yield
        finally:
            lock.release()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _unusable(self, error: Exception) -> StorageError:
        busy = "locked" in str(error) or "for too long" in str(error)
        said = error.strerror if isinstance(error, OSError) else error
        return StorageError(f"The ledger {self.path} cannot be used: {said}", advice=_BUSY_ADVICE if busy else None)


def migrate(db: sqlite3.Connection, steps: Steps = STEPS) -> None:
    """Bring the tables to the newest version, in one transaction.

    Raises StorageError when a newer version of the client wrote them, and sqlite3.Error.
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
        raise StorageError(
            f"The ledger was written by a newer version of this client (schema {version}, known up to {len(steps)})",
            advice="Update the client, or point XALORA_HOME elsewhere.",
        )
    return int(version)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


# SQLite's files must not be kept across a fork: the child would seem to have its parent's locks. So they are closed
# before it, and each side opens them again when needed.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_held_over_fork: list[Database] = []


def _before_fork() -> None:
    for database in list(_databases):
        database._guard.acquire()
        _held_over_fork.append(database)
        database._close()


def _after_fork() -> None:
    while _held_over_fork:
        _held_over_fork.pop()._guard.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
