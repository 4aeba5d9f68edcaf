"""A SQLite file: complete from the start, on the disk after each commit, and versioned.

``connect`` opens one for a single user, such as a server that has its folder to itself. ``SqliteFile`` shares one
between threads, processes and forks.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from ..errors import StorageError
from . import files
from .file_locks import FileSystemError, ProcessLock

T = TypeVar("T")

LONGEST_PATH = 490
"""Bytes. SQLite allows 512 for a path, with what it puts behind the names of its other files."""

PATIENCE = 10.0
"""Seconds to wait while another process writes."""

Steps = Sequence[Sequence[str | Callable[[sqlite3.Connection], object]]]
"""Step n leads from version n to n + 1: SQL statements, and functions that do what SQL cannot.

Released steps are never changed; new ones are added. All missing ones run in one transaction.
"""


class DamageError(sqlite3.DatabaseError):
    """What the file holds contradicts itself, although SQLite can read it."""


_SIGNS_OF_DAMAGE = (
    "malformed",
    "not a database",
    "could not decode",
    # The schema is fixed, so these say that the part of the file that describes it is damaged.
    "no such",
    "already exists",
    "duplicate column",
)


def is_damage(error: Exception) -> bool:
    """Whether the file itself is damaged, not just locked, full or read-only."""
    text = str(error).lower() if isinstance(error, sqlite3.Error) else ""
    return isinstance(error, DamageError) or any(sign in text for sign in _SIGNS_OF_DAMAGE)


def is_busy(error: Exception) -> bool:
    """Whether another program keeps the file locked."""
    return "locked" in str(error) or "for too long" in str(error)


def is_full(error: Exception) -> bool:
    """Whether the disk has no room left."""
    return "full" in str(error)


def connect(
    path: Path, steps: Steps, name: str, check: Callable[[sqlite3.Connection], object] = lambda db: None
) -> sqlite3.Connection:
    """Open the file at its newest version, making it if it is missing. ``name`` is what errors call it: "The ledger".

    Every statement commits on its own unless it follows a ``BEGIN``; a commit is on the disk when it returns. Rows are
    ``sqlite3.Row``. Any thread may use the connection, one at a time; a forked child may not.

    ``check`` may refuse a file: it raises before anything in it is changed. Raises StorageError when a newer program
    wrote the file, OSError, and sqlite3.Error, for which ``is_damage`` and ``unusable`` say more.
    """
    with alone(path):
        _make_if_missing(path, steps, name)
        # With a log, that is read as well. Without one, SQLite does not even make files beside this one.
        log = log_of(path)
        how = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
        with closing(open_to_read(path, how)) as db, damage_in_schema():
            _version(db, steps, name)
            check(db)
        return open_existing(path, steps, name)


def open_to_read(path: Path, how: str = "mode=ro") -> sqlite3.Connection:
    """Open an existing file so that nothing in it changes, not even when it is closed.

    ``how`` is "mode=ro", or "immutable=1" for one that nobody writes. Raises sqlite3.Error.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )


@contextmanager
def damage_in_schema() -> Iterator[None]:
    """Raise DamageError where SQLite's own description of the file is no text."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DamageError("malformed database schema") from error


def log_of(path: Path) -> Path:
    """The path of a file's log, which has what is not in the file yet."""
    return path.with_name(f"{path.name}-wal")


def unusable(path: Path, name: str, error: Exception, code: str | None = None) -> StorageError:
    """The error for an OSError or sqlite3.Error; ``code`` is the error's code when the file is damaged."""
    if is_damage(error):
        return StorageError(f"{name} {path} is damaged: {error}", code=code, params={"folder": path.parent})
    reason = error.strerror if isinstance(error, OSError) else error
    advice = "Another program keeps it locked: close that program, then try again." if is_busy(error) else None
    if isinstance(error, FileSystemError):
        advice = "Set XALORA_HOME to a folder on a disk of this machine."
    elif len(os.fsencode(path.absolute())) > LONGEST_PATH:
        reason, advice = f"its path is longer than {LONGEST_PATH} bytes", "Set XALORA_HOME to a shorter path."
    return StorageError(f"{name} {path} cannot be used: {reason}", advice=advice)


class SqliteFile:
    """A file that threads and processes share, opened at its first use. A forked child opens it again.

    ``name`` is what errors call it; ``code`` is that of the error when it is damaged.
    """

    def __init__(self, path: Path, steps: Steps, name: str, code: str) -> None:
        self.path = path
        self._steps = steps
        self._name = name
        self._code = code
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        _open_files.add(self)

    def run(self, action: Callable[[sqlite3.Connection], T], *, reading: bool = False) -> T:
        """Return ``action(db)``, called in one transaction that excludes other writers, or with ``reading`` nobody.

        It may be called twice. Raises StorageError when the file cannot be read or written.
        """
        with self._used():
            while True:
                db = self._opened()
                with _transaction(db, "BEGIN" if reading else "BEGIN IMMEDIATE"):
                    value = action(db)
                if self._file == _identity(self.path):
                    return value
                # Meanwhile another process replaced the file, perhaps without this action: repeat it on the new one.

    def write_through(self) -> None:
        """Copy what is committed from the log into the file, so that damage to the log loses none of it.

        Raises StorageError.
        """
        with self._used():
            self._opened().execute("PRAGMA wal_checkpoint")

    def exists(self) -> bool:
        """Whether there is a file, or one that is being repaired."""
        return self.path.exists() or aside(self.path).exists()

    def close(self) -> None:
        """Close the file. It is opened again when needed."""
        with self._lock:
            self._close()

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (OSError, sqlite3.Error) as error:
                raise unusable(self.path, self._name, error, self._code) from error

    def _opened(self) -> sqlite3.Connection:
        # The file may have been replaced or deleted since: what is written to it now would be lost.
        if self._db is not None and self._file != _identity(self.path):
            self._close()
        if self._db is None:
            with alone(self.path):
                _make_if_missing(self.path, self._steps, self._name)
                self._file = _identity(self.path)
                self._db = open_existing(self.path, self._steps, self._name)
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep every other process from opening, making or replacing the file."""
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
    if path.exists():
        return
    if aside(path).exists():
        raise DamageError("a repair of it was interrupted")
    if log_of(path).exists():  # Of a file that was deleted. SQLite would mix what is in it into the new one.
        log_of(path).rename(free_name(log_of(path), "left"))
    build(path, steps, name, lambda db: None)


def build(path: Path, steps: Steps, name: str, fill: Callable[[sqlite3.Connection], object]) -> None:
    """Make a complete file elsewhere and move it in, so that no process ever sees it half done.

    Raises OSError and sqlite3.Error.
    """
    fresh = path.with_name(f"{path.name}.new")
    for old in path.parent.glob(f"{fresh.name}*"):  # Left by a process that was killed halfway.
        old.unlink()
    # What is in it may be private. SQLite gives its other files the same mode.
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    db = sqlite3.connect(fresh, isolation_level=None)
    try:
        if _shares_memory(path.parent):
            db.execute("PRAGMA journal_mode = WAL")
        _migrate(db, steps, name)
        fill(db)
    finally:
        db.close()
    files.move(fresh, path)


def open_existing(path: Path, steps: Steps, name: str) -> sqlite3.Connection:
    """Open an existing file as ``connect`` does, in a block of ``alone``."""
    # With mode=rw, a missing file is not made: only ``build`` does that.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    shares_memory = _shares_memory(path.parent)
    if not shares_memory:
        # A log that another file system left is read by a program that is alone, as this one is now.
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)) as db:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = DELETE")
    db = sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        with damage_in_schema():
            _version(db, steps, name)
            if shares_memory:
                db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA fullfsync = ON")  # On macOS, FULL alone stops at the disk's own cache.
            _migrate(db, steps, name)
    except BaseException:
        db.close()
        raise
    return db


def _shares_memory(folder: Path) -> bool:
    """Whether programs can share a file in memory there, as they must the index of a log (WAL)."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(mmap.PAGESIZE)
        try:
            mmap.mmap(file.fileno(), mmap.PAGESIZE).close()
        except OSError:
            return False
    return True


def _version(db: sqlite3.Connection, steps: Steps, name: str) -> int:
    """The version of an existing file. Raises StorageError for a newer one, and DamageError for an empty file."""
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise DamageError("it is empty")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise StorageError(
            f"{name} was written by a newer version of this client (schema {version}, known up to {len(steps)})",
            advice="Update the client, or point XALORA_HOME elsewhere.",
        )
    return int(version)


def _migrate(db: sqlite3.Connection, steps: Steps, name: str) -> None:
    """Bring the tables to the newest version, in one transaction."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == len(steps):
        return
    with _transaction(db, "BEGIN IMMEDIATE"):
        for change in itertools.chain(*steps[version:]):
            if isinstance(change, str):
                db.execute(change)
            else:
                change(db)
        db.execute(f"PRAGMA user_version = {len(steps)}")


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Commit all of what is done in it, or nothing."""
    try:
        db.execute(begin)  # An interruption while it waits comes when it has the lock.
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def aside(path: Path) -> Path:
    """The path of a damaged file while it is repaired. Until the repair ends, no new file is made."""
    return path.with_name(f"{path.name}.repairing")


def free_name(path: Path, word: str) -> Path:
    """A path beside this one that is free, such as "ledger.sqlite3.damaged-20260131-235959"."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (path.with_name(f"{path.name}.{word}-{stamp}{more}") for more in ("", *(f"-{n}" for n in range(2, 100))))
    return next(name for name in names if not name.exists())


def rename(path: Path, destination: Path) -> None:
    """Rename a database file and its log, as far as they exist. Raises OSError."""
    # The main file is first: if this stops halfway, no file is left that looks complete without its log.
    for suffix in ("", "-wal", "-shm", "-journal"):
        old = path.with_name(path.name + suffix)
        if old.exists():
            files.replace(old, destination.with_name(destination.name + suffix))
    files.sync_folder(path.parent)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


# SQLite's files must not stay open across a fork: the child would seem to have its parent's locks. So they are closed
# before it, and both processes open them again when needed.
_open_files: weakref.WeakSet[SqliteFile] = weakref.WeakSet()
_locked_over_fork: list[SqliteFile] = []


def _before_fork() -> None:
    for file in list(_open_files):
        file._lock.acquire()
        _locked_over_fork.append(file)
        file._close()


def _after_fork() -> None:
    while _locked_over_fork:
        _locked_over_fork.pop()._lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
