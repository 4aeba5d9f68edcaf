"""Files that survive crashes: moves that leave no half of a file, and locks that end with their process.

A process lock is a lock file that lives as long as its holder: the system releases it when the process ends, even if
it is killed. It answers "is the writer of this still alive?" without process ids, which are reused. The lock belongs to
one open file (``flock``; on Windows a locked byte), so it also separates two users inside one process. A forked child
does not hold its parent's locks. What is written into a locked file is valid until its process ends; ``InUse`` uses
this.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import uuid
import weakref
from collections import Counter
from pathlib import Path


def move(file: Path, place: Path) -> None:
    """Move a complete file to its place, replacing what is there, and flush its bytes and its name to the disk.

    Both are on one file system. The place's folder is made if it is missing. Raises OSError.
    """
    make_folder(place.parent)
    _sync_bytes(file)
    file.replace(place)
    sync_folder(place.parent)


def sync(file: Path) -> None:
    """Flush a file's bytes and its name to the disk. Raises OSError."""
    _sync_bytes(file)
    sync_folder(file.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and flush each name to the disk. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _sync_bytes(file: Path) -> None:
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to the disk; Windows does that by itself. Raises OSError."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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


class ProcessLock:
    """An exclusive lock on a file, held until ``release``, the end of the process, or garbage collection.

    Make one with ``acquire``.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle
        # Only closes the file, which then looks left behind, as it is.
        self._closing = weakref.finalize(self, os.close, handle)
        _held.add(self)

    @classmethod
    def acquire(cls, path: Path) -> ProcessLock | None:
        """Lock the file, making it and its folder if they are missing; None while another holds it.

        Raises OSError when the file cannot be made or its file system has no locks.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                _lock(handle)
                if _is_at(handle, path):
                    return cls(path, handle)
            except (BlockingIOError, PermissionError):  # What flock and msvcrt raise while another holds it.
                os.close(handle)
                return None
            except BaseException:
                os.close(handle)
                raise
            # Its last holder removed the file between opening and locking, so this lock means nothing.
            os.close(handle)

    @property
    def is_ours(self) -> bool:
        """Whether this process still holds it: it was neither released nor inherited by a fork."""
        return self._handle is not None

    def append(self, text: str) -> None:
        """Append to the locked file, which others may read. Raises OSError, and ValueError once released."""
        if self._handle is None:
            raise ValueError("the lock was released")
        os.write(self._handle, text.encode())

    def release(self) -> None:
        """Release the lock and remove the file. Does nothing the second time."""
        if self._handle is None:
            return
        self._handle = None
        _remove_locked(self._closing, self.path)

    def _forget(self) -> None:
        """In a forked child: close the copy of the parent's handle. The parent keeps its lock."""
        self._handle = None
        self._closing()


class LockFolder:
    """A folder of locks with unique names. A name tells any reader whether its holder is still alive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self) -> ProcessLock:
        """Make and hold a lock, named by the last part of its path. Raises OSError."""
        while True:
            lock = ProcessLock.acquire(self.folder / uuid.uuid4().hex)
            if lock is not None:
                return lock

    def is_held(self, name: str) -> bool:
        """Whether the holder of that lock is alive. Raises OSError when the lock cannot be tried."""
        return is_held(self.folder / name)


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


def _remove_locked(closing: weakref.finalize[[int], ProcessLock], path: Path) -> None:
    """Remove the file while it is locked, so that it is not another's. Windows needs it closed first."""
    if sys.platform == "win32":
        closing()
    with contextlib.suppress(OSError):  # Leaves an empty file. On Windows, another process may have it open.
        path.unlink(missing_ok=True)
    closing()


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


class InUse:
    """The names in use in one media folder, with counts. Threads may share it.

    Its methods raise OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._notes = LockFolder(folder / "in-use")
        self._names: Counter[str] = Counter()
        self._lock: ProcessLock | None = None

    def add(self, name: str) -> None:
        """Record one more use of a file by this process."""
        with _guard:
            known = name in self._names
            self._names[name] += 1
            if self._lock is None or not self._lock.is_ours:
                self._lock = self._notes.new()
                self._lock.append("".join(f"+{each}\n" for each in self._names))
            elif not known:
                self._lock.append(f"+{name}\n")

    def discard(self, name: str) -> None:
        """Undo one ``add``. After the last, this process no longer uses the file."""
        with _guard:
            self._names[name] -= 1
            if self._names[name] <= 0:
                del self._names[name]
                if self._lock is not None and self._lock.is_ours:
                    self._lock.append(f"-{name}\n")

    def everywhere(self) -> set[str]:
        """The names in use by any process that is alive."""
        with _guard:
            names = set(self._names)
            own = self._lock.path if self._lock is not None and self._lock.is_ours else None
        for notes in self._notes.folder.glob("*"):
            if notes != own and is_held(notes):
                names |= _read(notes)
        return names


def _read(notes: Path) -> set[str]:
    names: set[str] = set()
    try:
        lines = notes.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # Its process just ended.
        return names
    for line in lines:
        if line.startswith("-"):
            names.discard(line[1:])
        else:
            names.add(line[1:])
    return names


def in_use(folder: Path) -> InUse:
    """The process's InUse for a media folder; all its users share it."""
    with _guard:
        return _all.setdefault(folder.absolute(), InUse(folder.absolute()))


_held: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_held):
        lock._forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


_all: dict[Path, InUse] = {}
_guard = threading.Lock()

if hasattr(os, "register_at_fork"):
    # A forked child keeps the names, and writes them to its own file at the next use.
    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release)
