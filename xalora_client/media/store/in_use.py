"""Which stored files somebody may be about to read.

A path that was handed out may be opened much later.
So each process notes the names it handed out in a file that it keeps locked; who removes files first reads the notes
of every process that is alive. A process that dies, however it does, takes its notes with it.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

from ...files.process_lock import LockFolder, ProcessLock, is_held


class InUse:
    """The names in use in one media folder, each as often as it was added. Threads may share it.

    Its methods raise OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._notes = LockFolder(folder / "in-use")
        self._names: Counter[str] = Counter()
        self._lock: ProcessLock | None = None

    def add(self, name: str) -> None:
        """Note that a file is in use by this process, once more if it is already."""
        with _guard:
            known = name in self._names
            self._names[name] += 1
            if self._lock is None or not self._lock.is_ours:
                self._lock = self._notes.new()
                self._lock.append("".join(f"+{each}\n" for each in self._names))
            elif not known:
                self._lock.append(f"+{name}\n")

    def discard(self, name: str) -> None:
        """Take back one ``add``; after the last, this process has no more use for the file."""
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
    """The process's notes for a media folder: one for all who use it."""
    with _guard:
        return _all.setdefault(folder.absolute(), InUse(folder.absolute()))


_all: dict[Path, InUse] = {}
_guard = threading.Lock()

if hasattr(os, "register_at_fork"):
    # A forked child keeps the names, and notes them in a file of its own at its next use.
    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release)
