"""A SQLite file: never seen half made, written through to the disk, and versioned.

``connect`` opens one for a single user, such as a server that has its folder to itself. ``SqliteFile`` shares one
between threads, processes and forks.
"""

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

from . import files
from .errors import StorageError
from .files import ProcessLock

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds to wait while another process writes."""

Steps = Sequence[Sequence[str | Callable[[sqlite3.Connection], object]]]
"""Step n leads from version n to n + 1: SQL statements, and functions that do what SQL cannot.

Released steps are never changed; new ones are added. All missing ones run in one transaction.
"""


class DamageError(sqlite3.DatabaseError):
    """What the file holds contradicts itself, although SQLite can read it."""


def is_damage(error: Exception) -> bool:
    """Whether the file itself is damaged, not just locked, full or read-only."""
    text = str(error) if isinstance(error, sqlite3.Error) else ""
    return isinstance(error, DamageError) or "malformed" in text or "not a database" in text


def first_fault(db: sqlite3.Connection) -> str | None:
    """What SQLite finds wrong with the file, or None. Reads all of it, about 100 MB a second."""
    try:
        (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error)
    return None if found == "ok" else str(found)


def connect(path: Path, steps: Steps, name: str) -> sqlite3.Connection:
    """Open the file at its newest version, making it if it is missing. ``name`` is what errors call it: "The ledger".

    Every statement commits on its own unless it follows a ``BEGIN``; a commit is on the disk when it returns. Rows are
    ``sqlite3.Row``. Any thread may use the connection, one at a time; a forked child may not.

    Raises StorageError when a newer program wrote the file, OSError, and sqlite3.Error, for which ``is_damage`` and
    ``unusable`` say more.
    """
    with alone(path):
        _make_if_missing(path, steps, name)
        return _open(path, steps, name)


def build(path: Path, steps: Steps, name: str, fill: Callable[[sqlite3.Connection], T]) -> T:
    """Make a complete file elsewhere and move it in, so that no process ever sees it half done.

    Raises OSError and sqlite3.Error.
    """
    fresh = path.with_name(f"{path.name}.new")
    for left in path.parent.glob(f"{fresh.name}*"):  # Left by a process that was killed halfway.
        left.unlink()
    # What is in it may be private. SQLite gives its other files the same mode.
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    db = sqlite3.connect(fresh, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        _migrate(db, steps, name)
        filled = fill(db)
    finally:
        db.close()
    files.move(fresh, path)
    return filled


def unusable(path: Path, name: str, error: Exception) -> StorageError:
    """The error to raise for an OSError or sqlite3.Error."""
    busy = "locked" in str(error) or "for too long" in str(error)
    said = error.strerror if isinstance(error, OSError) else error
    advice = "Another program keeps it locked: close that program, then try again." if busy else None
    return StorageError(f"{name} {path} cannot be used: {said}", advice=advice)


class SqliteFile:
    """A file that threads and processes share, opened at its first use. A forked child opens it anew."""

    def __init__(self, path: Path, steps: Steps, name: str) -> None:
        self.path = path
        self.name = name
        self._steps = steps
        self._guard = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        _open_files.add(self)

    def run(self, work: Callable[[sqlite3.Connection], T], *, reading: bool = False) -> T:
        """Do some work in one transaction that excludes other writers, or with ``reading`` nobody.

        The work may run twice. Raises StorageError when the file cannot be read or written.
        """
        with self._guard:
            try:
                return self._transaction(work, reading)
            except (OSError, sqlite3.Error) as error:
                raise unusable(self.path, self.name, error) from error

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
            if self._file == identity(self.path):
                return value
            # Meanwhile another process replaced the file, perhaps without this work: repeat it on the new one.

    def _opened(self) -> sqlite3.Connection:
        # The file may have been replaced or deleted since: what is written to it now would be lost.
        if self._db is not None and self._file != identity(self.path):
            self._close()
        if self._db is None:
            with alone(self.path):
                _make_if_missing(self.path, self._steps, self.name)
                self._file = identity(self.path)
                self._db = _open(self.path, self._steps, self.name)
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Exclude every other process from opening, making or replacing the file."""
    deadline = time.monotonic() + PATIENCE
    while True:
        files.make_folder(path.parent)
        lock = ProcessLock.acquire(path.with_name(f"{path.name}.building"))
        if lock is not None:
            break
        if time.monotonic() > deadline:
            raise sqlite3.OperationalError("another process has been opening it for too long")
        time.sleep(0.02)
    try:
        yield
    finally:
        lock.release()


def _make_if_missing(path: Path, steps: Steps, name: str) -> None:
    if not path.exists():
        build(path, steps, name, lambda db: None)


def _open(path: Path, steps: Steps, name: str) -> sqlite3.Connection:
    # Connecting does not make the file: it has its tables from the start.
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
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
        _migrate(db, steps, name)
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection, steps: Steps, name: str) -> None:
    """Bring the tables to the newest version, in one transaction."""
    if _version(db, steps, name) == len(steps):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[_version(db, steps, name) :]:  # Another process may have just done it.
            for change in step:
                if isinstance(change, str):
                    db.execute(change)
                else:
                    change(db)
        db.execute(f"PRAGMA user_version = {len(steps)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection, steps: Steps, name: str) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise StorageError(
            f"{name} was written by a newer version of this client (schema {version}, known up to {len(steps)})",
            advice="Update the client, or point XALORA_HOME elsewhere.",
        )
    return int(version)


def identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


# SQLite's files must not be kept across a fork: the child would seem to have its parent's locks. So they are closed
# before it, and each side opens them again when needed.
_open_files: weakref.WeakSet[SqliteFile] = weakref.WeakSet()
_held_over_fork: list[SqliteFile] = []


def _before_fork() -> None:
    for file in list(_open_files):
        file._guard.acquire()
        _held_over_fork.append(file)
        file._close()


def _after_fork() -> None:
    while _held_over_fork:
        _held_over_fork.pop()._guard.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
