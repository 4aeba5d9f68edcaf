"""The media store: files are named by the hash of their content, so that the same bytes are kept once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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

    ``ab/abcdef….mp4`` is a stored file. ``rejected`` holds files that cannot be read, kept for inspection.
    ``incoming`` holds unfinished downloads (``.part``) and complete ones (``.whole``, with the hash in the name) that
    are not stored yet, or that only their name connects with their task. Later runs find them there.

    A file's modification time is the time of its last use, because content that is named by its hash never changes.
    Threads and processes may share the folder. Every method raises StorageError when the folder cannot be written.
    ``budget`` is the limit on the bytes of all files that ``prune`` keeps to.
    """

    def __init__(self, home: Path, budget: int = BUDGET) -> None:
        self.folder: Path = home / "media"
        self.budget = budget

    def incoming(self, name: str) -> Path:
        """Create an empty file to download into; ``name`` identifies the download."""
        folder = self.folder / "incoming"
        with _storage_errors(folder):
            files.make_folder(folder)
            handle, path = tempfile.mkstemp(dir=folder, prefix=f"{name}-", suffix=".part")
            os.close(handle)
        return Path(path)

    def mark_complete(self, part: Path, name: str, sha256: str) -> Path:
        """Mark a download as complete, so that later runs find it; returns its new path."""
        whole = part.with_name(f"{name}-{sha256}.whole")
        with _storage_errors(part.parent):
            # The new name comes first: a process that is killed during a slow flush then still has the complete file.
            files.replace(part, whole)
            with contextlib.suppress(FileNotFoundError):  # Another run has stored it already.
                files.sync(whole)
        return whole

    def completed(self, name: str) -> tuple[Path, str] | None:
        """A complete download of that name and its hash, or None. One whose bytes have changed is rejected."""
        for whole in (self.folder / "incoming").glob(f"{name}-*.whole"):
            sha256 = whole.stem.rpartition("-")[2]
            if _is_intact(whole, sha256):
                return whole, sha256
            if whole.exists():
                self._reject_damaged(whole)
        return None

    def commit(self, file: Path, sha256: str, extension: str, *, keep_source: bool = False) -> Path:
        """Move a complete file into the store, safe from a power cut; returns its new path.

        ``extension`` begins with a dot. The file counts as used now. With ``keep_source``, it also keeps its old name,
        if the file system supports hard links.
        """
        path = self._path(sha256, extension)
        with _storage_errors(path.parent):
            if _is_intact(path, sha256):
                # It may be open in another process, and Windows does not replace an open file.
                files.touch(path)
                if not keep_source:
                    file.unlink(missing_ok=True)
                return path
            try:
                files.touch(file)
                files.move(_second_name(file) if keep_source else file, path)
            except FileNotFoundError:  # Another run that found it complete may have just stored it.
                if not _is_intact(path, sha256):
                    raise
        return path

    def find(self, sha256: str, extension: str) -> Path | None:
        """The path of a stored file whose bytes are unchanged, or None.

        The file is read and hashed, which takes a moment for a large one; a damaged file goes to ``rejected``. A file
        that is found counts as used now.
        """
        path = self.peek(sha256, extension)
        if path is None:
            return None
        with contextlib.suppress(OSError):  # A full disk must not hide a file that is there.
            os.utime(path)
        if _is_intact(path, sha256):
            return path
        self._reject_damaged(path)
        return None

    def peek(self, sha256: str, extension: str) -> Path | None:
        """The path of a stored file, or None. This does not count as use, and its bytes are not checked."""
        if not (re.fullmatch("[0-9a-f]{64}", sha256) and re.fullmatch(r"(\.[a-z0-9]{1,10})?", extension)):
            return None
        path = self._path(sha256, extension)
        return path if path.is_file() else None

    def reject(self, file: Path, name: str) -> Path:
        """Move a file that cannot be read to ``rejected``, for inspection; returns its new path."""
        path = self.folder / "rejected" / re.sub(r"[^\w.-]", "_", name)[:100]
        with _storage_errors(path.parent):
            files.make_folder(path.parent)
            files.replace(file, path)
        return path

    def prune(self, budget: int | None = None) -> Pruned:
        """Remove the least recently used files until at most ``budget`` bytes are left, None for the store's own.

        Whatever the budget, a file stays for an hour after its last use.
        Complete downloads that are not stored yet and rejected files count like the others. What is in ``incoming``
        for more than a day is always removed if it is an unfinished download or is stored as well.
        """
        budget = self.budget if budget is None else budget
        with _storage_errors(self.folder):
            now = time.time()
            removed = [file for file in self._leftovers(now) if _removed(file.path)]
            patterns = ("[0-9a-f][0-9a-f]/*", "incoming/*.whole", "rejected/*")
            files_by_use = sorted(self._files(*patterns), key=lambda file: file.used)
            left = sum(file.size for file in files_by_use)
            for file in files_by_use:
                if left <= budget:
                    break
                if not _recently_used(file.path, now) and _removed(file.path):
                    left -= file.size
                    removed.append(file)
        return Pruned(tuple(file.path for file in removed), sum(file.size for file in removed), left)

    def _path(self, sha256: str, extension: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}{extension}"

    def _files(self, *patterns: str) -> Iterator[_File]:
        for path in itertools.chain.from_iterable(map(self.folder.glob, patterns)):
            with contextlib.suppress(FileNotFoundError):  # Another process may prune too.
                stat = path.stat()
                # A second name takes no space.
                size = 0 if path.suffix == ".whole" and stat.st_nlink > 1 else stat.st_size
                yield _File(path, stat.st_mtime, size)

    def _leftovers(self, now: float) -> list[_File]:
        stored = {path.stem for path in self.folder.glob("[0-9a-f][0-9a-f]/*")}
        return [
            file
            for file in self._files("incoming/*")
            if now - file.used > LEFT_BEHIND_SECONDS
            and (file.path.suffix == ".part" or file.path.stem.rpartition("-")[2] in stored)
        ]

    def _reject_damaged(self, file: Path) -> None:
        try:
            kept = self.reject(file, file.name)
        except StorageError as error:  # The file is useless in either case.
            logger.warning("The stored file %s is damaged: %s", file, error)
        else:
            logger.warning("The stored file %s is damaged; it is kept as %s", file, kept)


class _File(NamedTuple):
    path: Path
    used: float
    size: int


@contextlib.contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"Media cannot be written to {folder}: {error.strerror}") from error


def budget_of(gigabytes: str | None) -> int:
    """The bytes that a stored setting allows; the default where there is none that can be read."""
    try:
        return int(float(gigabytes or "") * 1e9)
    except (ValueError, OverflowError):
        return BUDGET


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


def _is_intact(path: Path, sha256: str) -> bool:
    """Whether a file is there, can be read, and has that hash."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == sha256


def _recently_used(path: Path, now: float) -> bool:
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
