"""The media store: files are named by the hash of their content, so that the same bytes are kept once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError
from ..storage import files

logger = logging.getLogger("xalora_client")

BUDGET = 5_000_000_000
"""The default limit on the bytes of all stored files."""

GRACE_SECONDS = 3600.0
"""How long a file stays after its last use, so that whoever was given its path can read it."""

LEFT_BEHIND_SECONDS = 24 * 3600.0
"""The age at which an unfinished download is presumed dead: a live one writes at least every half minute."""


@dataclass(frozen=True)
class Pruned:
    """The files that were removed, the bytes that were freed, and the bytes of stored media that are left."""

    files: tuple[Path, ...]
    freed: int
    left: int


class MediaStore:
    """The folder ``media`` in the Xalora home.

    ``ab/abcdef….mp4`` is a finished file. ``rejected`` holds files that cannot be read, kept for inspection.
    ``incoming`` holds unfinished downloads (``.part``) and complete ones (``.whole``, with the hash in the name) that
    have no place yet, or that only their name connects with their task. Later runs find them there.

    A file's modification time is that of its last use, because content that is named by its hash never changes. Threads
    and processes may share the folder. Each method raises StorageError when the folder cannot be written.
    ``budget`` is the limit on the bytes of all stored files that ``prune`` keeps to.
    """

    def __init__(self, home: Path, budget: int = BUDGET) -> None:
        self.folder = home / "media"
        self.budget = budget

    def incoming(self, name: str) -> Path:
        """Make an empty file to download into; ``name`` identifies the download."""
        folder = self.folder / "incoming"
        with self._written(folder):
            files.make_folder(folder)
            handle, path = tempfile.mkstemp(dir=folder, prefix=f"{name}-", suffix=".part")
            os.close(handle)
        return Path(path)

    def complete(self, part: Path, name: str, sha256: str) -> Path:
        """Mark a download as complete; returns its new path."""
        whole = part.with_name(f"{name}-{sha256}.whole")
        with self._written(part.parent):
            # The new name comes first: a process that is killed during a slow flush then still has the complete file.
            part.replace(whole)
            with contextlib.suppress(FileNotFoundError):  # Another run has moved it to its place already.
                files.sync(whole)
        return whole

    def completed(self, name: str) -> tuple[Path, str] | None:
        """A complete download of that name and its hash, or None. One whose bytes have changed is rejected."""
        for whole in (self.folder / "incoming").glob(f"{name}-*.whole"):
            sha256 = whole.stem.rpartition("-")[2]
            if _is_whole(whole, sha256):
                return whole, sha256
            if whole.exists():
                self._reject_damaged(whole)
        return None

    def adopt(self, file: Path, sha256: str, extension: str, *, keep: bool = False) -> Path:
        """Move a complete file to its place, safe from a power cut; returns that place.

        ``extension`` begins with a dot. The file counts as used now. With ``keep``, it also stays where it is, if the
        file system supports hard links.
        """
        place = self._place(sha256, extension)
        with self._written(place.parent):
            if not _is_whole(place, sha256):
                try:
                    os.utime(file)
                    files.move(_second_name(file) if keep else file, place)
                except FileNotFoundError:  # Another run that found it complete may have just moved it there.
                    if not _is_whole(place, sha256):
                        raise
            else:
                # It may be open in another process, and Windows does not replace an open file.
                os.utime(place)
                if not keep:
                    file.unlink(missing_ok=True)
        return place

    def find(self, sha256: str, extension: str) -> Path | None:
        """The place of a stored file whose bytes are unchanged, or None.

        The file is read and hashed, which takes a moment for a large one; a damaged file goes to ``rejected``. A file
        that is found counts as used now.
        """
        place = self.peek(sha256, extension)
        if place is None:
            return None
        with contextlib.suppress(OSError):  # A full disk must not hide a file that is there.
            os.utime(place)
        if _is_whole(place, sha256):
            return place
        self._reject_damaged(place)
        return None

    def peek(self, sha256: str, extension: str) -> Path | None:
        """The place of a stored file, or None. This is no use of it, and its bytes are not checked."""
        if not (re.fullmatch("[0-9a-f]{64}", sha256) and re.fullmatch(r"(\.[a-z0-9]{1,10})?", extension)):
            return None
        place = self._place(sha256, extension)
        return place if place.is_file() else None

    def reject(self, file: Path, name: str) -> Path:
        """Move a file that cannot be read to ``rejected``, for inspection; returns that place."""
        place = self.folder / "rejected" / "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:100]
        with self._written(place.parent):
            files.make_folder(place.parent)
            file.replace(place)
        return place

    def prune(self, budget: int | None = None) -> Pruned:
        """Remove the least recently used files until at most ``budget`` bytes are left, None for the store's own.

        Whatever the budget, a file stays for an hour after its last use.
        Complete downloads without a place and rejected files count like the others. What is in ``incoming`` for more
        than a day is always removed if it is an unfinished download or also has its place.
        """
        budget = self.budget if budget is None else budget
        with self._written(self.folder):
            now = time.time()
            removed = [part for part in self._left_behind(now) if _removed(part.path)]
            stored = sorted(self._stored(), key=lambda file: file.used)
            left = sum(file.size for file in stored)
            for file in stored:
                if left <= budget:
                    break
                if not _is_fresh(file.path, now) and _removed(file.path):
                    left -= file.size
                    removed.append(file)
        return Pruned(tuple(file.path for file in removed), sum(file.size for file in removed), left)

    def _place(self, sha256: str, extension: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}{extension}"

    def _stored(self) -> Iterator[_File]:
        yield from _files(self.folder, "[0-9a-f][0-9a-f]/*")
        yield from _files(self.folder, "incoming/*.whole")
        yield from _files(self.folder, "rejected/*")

    def _left_behind(self, now: float) -> list[_File]:
        placed = {file.path.stem for file in _files(self.folder, "[0-9a-f][0-9a-f]/*")}
        return [
            file
            for file in _files(self.folder, "incoming/*")
            if now - file.used > LEFT_BEHIND_SECONDS
            and (file.path.suffix == ".part" or file.path.stem.rpartition("-")[2] in placed)
        ]

    def _reject_damaged(self, file: Path) -> None:
        try:
            kept = self.reject(file, file.name)
        except StorageError as error:  # The file is useless in either case.
            logger.warning("The stored file %s is damaged: %s", file, error)
        else:
            logger.warning("The stored file %s is damaged; it is kept as %s", file, kept)

    @contextlib.contextmanager
    def _written(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"Media cannot be written to {folder}: {error.strerror}") from error


@dataclass(frozen=True)
class _File:
    path: Path
    used: float
    size: int


def _files(folder: Path, pattern: str) -> Iterator[_File]:
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # Another process may prune too.
            stat = path.stat()
            # A second name takes no space.
            size = 0 if path.suffix == ".whole" and stat.st_nlink > 1 else stat.st_size
            yield _File(path, stat.st_mtime, size)


def budget_of(gigabytes: str | None) -> int:
    """The bytes that a stored setting allows; the default where there is none that can be read."""
    try:
        return int(float(gigabytes or "") * 1e9)
    except (ValueError, OverflowError):
        return BUDGET


def hash_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _second_name(file: Path) -> Path:
    """A second name of the same file, or the file itself if there can be none."""
    other = file.with_name(f"{uuid.uuid4().hex}.part")
    try:
        other.hardlink_to(file)
    except FileNotFoundError:
        raise
    except OSError:
        return file
    return other


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return hash_of(path) == sha256
    except OSError:  # Gone or not readable: useless in either case.
        return False


def _is_fresh(path: Path, now: float) -> bool:
    """Checked again just before removal: another run may have found the file since."""
    try:
        return now - path.stat().st_mtime < GRACE_SECONDS
    except FileNotFoundError:
        return False


def _removed(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # Windows does not remove an open file.
        return False
    return True
