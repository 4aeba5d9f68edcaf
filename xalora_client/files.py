"""Files that survive crashes: moves that leave no half of a file."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from pathlib import Path

# Named twice for ``delivery/`` alone, which imports it from here.
from .file_locks import LockFolder, is_held
from .file_locks import ProcessLock as ProcessLock


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


_all: dict[Path, InUse] = {}
_guard = threading.Lock()

if hasattr(os, "register_at_fork"):
    # A forked child keeps the names, and writes them to its own file at the next use.
    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release)
