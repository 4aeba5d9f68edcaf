"""Files named by the hash of their content, and uploads on their way to become some."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientError, StreamReader

from ..storage.files import move

_PIECE = 2**20
_HEAD = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT)


class TooLargeError(Exception):
    """More bytes came than are taken."""


def is_full(error: OSError) -> bool:
    """Whether it says that the disk has no room left."""
    return error.errno in _FULL


@dataclass(frozen=True)
class Received:
    """An upload that is complete: where it is, what it holds, and its first bytes."""

    path: Path
    sha256: str
    size: int
    head: bytes

    def discard(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)


class Part:
    """An upload that is not complete: what has come of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = hashlib.sha256()
        self.size = 0
        self.head = b""

    def write(self, handle: int, piece: bytes) -> None:
        """Append a piece to the open file. Blocks. Raises OSError."""
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(handle, rest) :]
        self.digest.update(piece)
        self.size += len(piece)
        if len(self.head) < _HEAD:
            self.head += piece[: _HEAD - len(self.head)]

    def discard(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)


class Incoming:
    """The folder of uploads that are not complete. What a dead process left there is removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self) -> Part:
        """A new upload."""
        return Part(self._folder / uuid.uuid4().hex)

    async def receive(self, content: StreamReader, most: int, part: Part | None = None) -> Received:
        """Write a body to a file as it comes in, behind what the part has already.

        When the line is cut, the part keeps what came if one was given, for another request to go on with. Otherwise
        nothing is left. Raises TooLargeError above ``most`` bytes, ConnectionError or ClientError for a line that is
        cut, and other OSErrors for a disk that cannot be written.
        """
        resumable = part is not None
        part = part or self.begin()
        piece = bytearray()
        try:
            with part.path.open("ab", buffering=0) as file:
                try:
                    async for chunk in content.iter_any():
                        piece += chunk
                        if part.size + len(piece) > most:
                            raise TooLargeError(f"this is larger than {most // 2**20} MiB")
                        if len(piece) >= _PIECE:
                            await asyncio.to_thread(part.write, file.fileno(), bytes(piece))
                            piece.clear()
                except (ConnectionError, ClientError):
                    if resumable:
                        await asyncio.to_thread(part.write, file.fileno(), bytes(piece))
                    raise
                await asyncio.to_thread(part.write, file.fileno(), bytes(piece))
        except BaseException as error:
            if not (resumable and isinstance(error, ConnectionError | ClientError)):
                part.discard()
            raise
        return Received(part.path, part.digest.hexdigest(), part.size, part.head)

    async def write(self, content: bytes) -> Received:
        """The same for bytes that are here already. Raises OSError."""
        return await asyncio.to_thread(self._write_now, content)

    def _write_now(self, content: bytes) -> Received:
        path = self._folder / uuid.uuid4().hex
        try:
            path.write_bytes(content)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return Received(path, hashlib.sha256(content).hexdigest(), len(content), content[:_HEAD])


async def store(received: Received, path: Path) -> None:
    """Move a complete file to its place, and flush it to the disk. Raises OSError."""
    try:
        await asyncio.to_thread(move, received.path, path)
        # A file that was there already counts as new: it is not removed as unused right now.
        await asyncio.to_thread(os.utime, path)
    finally:
        with suppress(OSError):
            received.discard()
