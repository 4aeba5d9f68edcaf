"""The sequencer's database as a file: what was written survives a power cut, and what others do to it is noticed."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StorageError
from ..storage.file_locks import FileSystemError
from ..storage.files import sync, sync_folder
from ..storage.sqlite_file import connect, free_name, is_busy, is_damage, is_full, log_of, open_to_read
from ..storage.sqlite_watch import OVERWRITTEN, SqliteWatch
from .folder_lock import unusable
from .schema import NAME, STEPS, check_file
from .values import StoreError

if sys.platform == "darwin":
    import fcntl

C = TypeVar("C")
T = TypeVar("T")
logger = logging.getLogger(__name__)

_MOST_LOG = 4 * 2**20
_WATCH_SECONDS = 1.0
_PATIENCE = 10.0
_BETWEEN_TRIES = 0.05


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


class DatabaseFile:
    """The file of one data folder. Use it from one thread at a time.

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
                self._checkpoints.execute("SELECT count(*) FROM sqlite_master").fetchone()
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
