"""A lock file that lives as long as its holder: the system lets go of it when the process dies, however it dies.

It answers "is whoever wrote this still there?" without process ids, which are used again. The lock belongs to one
open file (``flock``; on Windows a locked byte), so it also keeps two users inside one process apart. A forked child
does not hold its parent's locks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
import weakref
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    # A locked byte cannot be read by others there, so it lies where no content comes.
    _LOCKED_BYTE = 1 << 30

    def _lock(handle: int) -> None:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class ProcessLock:
    """An exclusive lock on a file, held until ``release``, the end of the process, or until nobody knows it any more.

    Make one with ``acquire``.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle
        # No more than closing happens here: the file then looks left behind, which it is.
        self._closing = weakref.finalize(self, os.close, handle)
        _held.add(self)

    @classmethod
    def acquire(cls, path: Path) -> ProcessLock | None:
        """Lock the file, making it and its folder where they are missing; None while another holds it.

        Raises OSError when the file cannot be made or its file system knows no locks.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                _lock(handle)
                if _is_at(handle, path):
                    return cls(path, handle)
            except (BlockingIOError, PermissionError):  # What flock and msvcrt say while another holds it.
                os.close(handle)
                return None
            except BaseException:
                os.close(handle)
                raise
            # Between opening and locking, its last holder removed the file; the lock on it means nothing.
            os.close(handle)

    @property
    def is_ours(self) -> bool:
        """Whether this process still holds it: not released, and not a forked parent's."""
        return self._handle is not None

    def append(self, text: str) -> None:
        """Write to the end of the locked file, which others may read. Raises OSError, ValueError once released."""
        if self._handle is None:
            raise ValueError("the lock was released")
        os.write(self._handle, text.encode())

    def release(self) -> None:
        """Let others have the lock, and remove the file. Does nothing the second time."""
        if self._handle is None:
            return
        self._handle = None
        _remove_locked(self._closing, self.path)

    def _forget(self) -> None:
        """In a forked child: close the copy of the parent's handle, which leaves the parent's lock alone."""
        self._handle = None
        self._closing()


class LockFolder:
    """A folder of locks, each with a name of its own: who reads a name later can tell whether its holder is alive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self) -> ProcessLock:
        """Make and hold a lock; its name is that of its path. Raises OSError."""
        while True:
            lock = ProcessLock.acquire(self.folder / uuid.uuid4().hex)
            if lock is not None:
                return lock

    def is_held(self, name: str) -> bool:
        """Whether the holder of that lock is alive. Raises OSError when that cannot be told."""
        return is_held(self.folder / name)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock on this file. A file left behind by a dead holder is removed.

    Raises OSError when that cannot be told.
    """
    if not path.exists():
        return False
    lock = ProcessLock.acquire(path)
    if lock is None:
        return True
    lock.release()
    return False


def _remove_locked(closing: weakref.finalize[[int], ProcessLock], path: Path) -> None:
    """Remove the file while it is still locked, so that nobody else's is; Windows wants it closed first."""
    if sys.platform == "win32":
        closing()
    with contextlib.suppress(OSError):  # An empty file more; on Windows, somebody may just be looking at it.
        path.unlink(missing_ok=True)
    closing()


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


_held: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_held):
        lock._forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
