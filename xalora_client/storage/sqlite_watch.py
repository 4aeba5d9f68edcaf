"""Notice what others do to the files of a SQLite database that is in use: deleted, replaced, overwritten.

SQLite does not look: it goes on writing to a file that has no name any more, or into a copy that somebody put there.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from .sqlite_file import log_of

OVERWRITTEN = "overwritten"
_HEAD = 32
_COUNTERS = slice(12, 20)
_RECORD_HEAD = 24
_MOST_COMPARED = 32 * 2**20


class Change(NamedTuple):
    """What was done to which file: "deleted", "replaced by another file", "overwritten"."""

    file: Path
    what: str


class SqliteWatch:
    """What the files of a database should be now, while nothing but ``remember`` follows a checkpoint.

    The file changes only by checkpoints. The log grows; the last record in it has a checksum of all before it.

    Attributes:
        log_size: Bytes of the log, when it was last looked at.
    """

    def __init__(self, path: Path, page_size: int) -> None:
        self._path = path
        self._record = _RECORD_HEAD + page_size
        # Closing it would release SQLite's locks of the whole process on this file, so it stays open.
        self._bytes = path.open("rb", buffering=0)
        self.remember()

    def close(self) -> None:
        """Look no more. SQLite must have closed the file before."""
        self._bytes.close()

    def remember(self) -> None:
        """Take the files as they are. Raises OSError."""
        log = log_of(self._path).stat()
        self._file, self._log = _state(self._path), (log.st_dev, log.st_ino)
        # What is in the log already may be written over: where a checkpoint could not empty it, SQLite begins again.
        self.log_size = self._unsure = log.st_size
        self._head = self._last = b""
        self._end = 0
        self._digest = self._read_digest()

    def distrust_end(self) -> None:
        """A statement failed: what it left at the end of the log will be written over."""
        self._unsure = max(self._unsure, log_of(self._path).stat().st_size)

    def change(self) -> Change | None:
        """What others did; None for nothing."""
        try:
            file = _state(self._path)
        except FileNotFoundError:
            return Change(self._path, "deleted")
        if file != self._file and not self._is_as_before(file):
            return Change(self._path, OVERWRITTEN if file[:2] == self._file[:2] else "replaced by another file")
        return self._log_change()

    def _is_as_before(self, file: tuple[int, ...]) -> bool:
        """Whether only its time is another one, as by ``touch``."""
        if file[:3] != self._file[:3] or self._digest is None or self._read_digest() != self._digest:
            return False
        self._file = file
        return True

    def _read_digest(self) -> bytes | None:
        """Of all bytes of the file; None where there are too many for that."""
        if self._file[2] > _MOST_COMPARED:
            return None
        digest = hashlib.blake2b()
        self._bytes.seek(0)
        while piece := self._bytes.read(2**20):
            digest.update(piece)
        return digest.digest()

    def is_log_left(self) -> bool:
        """Whether the log is still here, but not the file that it belongs to."""
        change = self.change()
        return change is not None and change.file == self._path and self._log_change() is None

    def _log_change(self) -> Change | None:
        path = log_of(self._path)
        try:
            # SQLite locks the other files, and closing a file releases all locks of the process on it. Not this one.
            with path.open("rb", buffering=0) as log:
                stat = os.fstat(log.fileno())
                if (stat.st_dev, stat.st_ino) != self._log:
                    return Change(path, "replaced by another file")
                size, head = stat.st_size, log.read(_HEAD)
                if self._head and head != self._head:
                    if _counters(head) != tuple(count + 1 & 0xFFFFFFFF for count in _counters(self._head)):
                        return Change(path, OVERWRITTEN)
                    self._end, self._unsure = 0, size
                log.seek(self._end - self._record if self._end else 0)
                if size < self.log_size or (self._end and log.read(_RECORD_HEAD) != self._last):
                    return Change(path, OVERWRITTEN)
                end = _HEAD + (size - _HEAD) // self._record * self._record
                if end > max(_HEAD, self._end, self._unsure):
                    log.seek(end - self._record)
                    self._end, self._last = end, log.read(_RECORD_HEAD)
                self.log_size, self._head = size, head
        except FileNotFoundError:
            return Change(path, "deleted")
        return None


def _counters(head: bytes) -> tuple[int, ...]:
    """What SQLite counts in the log's head each time it begins again at its start."""
    return struct.unpack(">II", head[_COUNTERS].rjust(8, b"\0"))


def _state(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    # Windows notes this time when it likes; but there nobody can delete or replace a file that is open.
    return stat.st_dev, stat.st_ino, stat.st_size, 0 if sys.platform == "win32" else stat.st_mtime_ns
