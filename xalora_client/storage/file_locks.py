"""Locks between processes that end with their process.

A process lock is a lock file that lives as long as its holder: the system releases it when the process ends, even if
it is killed. It answers "is the writer of this still alive?" without process ids, which are reused. The lock belongs to
one open file (``flock``; on Windows a locked byte), so it also separates two users inside one process. A forked child
does not hold its parent's locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import weakref
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    # Others cannot read a locked byte on Windows, so it is far behind any content.
    _LOCKED_BYTE = 1 << 30

    def _lock(handle: int) -> None:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # SQLite's kind. A file system may have one of them alone.


_TRIES = 100


class FileSystemError(OSError):
    """The file system lacks what is needed; ``strerror`` says what."""


class ProcessLock:
    """An exclusive lock on a file, held until ``release``, the end of the process, or garbage collection.

    Make one with ``acquire``.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle
        # Garbage collection only closes the file. To others, its holder is then dead.
        self._closing = weakref.finalize(self, os.close, handle)
        _open_locks.add(self)

    @classmethod
    def acquire(cls, path: Path) -> ProcessLock | None:
        """Lock the file, making it and its folder if they are missing; None while another holds it.

        Raises OSError when the file cannot be made, and FileSystemError when its file system has no locks.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            lock = None
            try:
                _lock(handle)
                # Its last holder may have removed the file between opening and locking: then this lock means nothing.
                if _is_at(handle, path):
                    lock = cls(path, handle)
                    return lock
            except (BlockingIOError, PermissionError):  # What flock and msvcrt raise while another holds it.
                return None
            except OSError as error:
                raise FileSystemError(error.errno, "its file system has no locks", str(path)) from error
            finally:
                if lock is None:
                    os.close(handle)
        raise FileSystemError(errno.ENOLCK, "its file system does not say which file is which", str(path))

    def is_present(self) -> bool:
        """Whether its file is still there. Where others removed it, it keeps out nobody. Raises OSError."""
        return _is_at(self._handle, self.path)

    def release(self) -> None:
        """Release the lock and remove the file. Does nothing the second time."""
        if not self._closing.alive:
            return
        # Removed while it is locked, so that it is not another's. Windows needs it closed first.
        if sys.platform == "win32":
            self._closing()
        with contextlib.suppress(OSError):  # Leaves an empty file. On Windows, another process may have it open.
            if sys.platform == "win32" or self.is_present():
                self.path.unlink(missing_ok=True)
        self._closing()


def is_held(path: Path) -> bool:
    """Whether the lock on this file is held. A file left behind by a dead holder is removed.

    Raises OSError when the lock cannot be tried.
    """
    if not path.exists():
        return False
    lock = ProcessLock.acquire(path)
    if lock is None:
        return True
    lock.release()
    return False


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


_open_locks: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Close the copies of the parent's handles. The parent keeps its locks."""
    for lock in list(_open_locks):
        lock._closing()
    _open_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
