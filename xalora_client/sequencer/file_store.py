"""Files named by the hash of their content, and uploads on their way to become some."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import StreamReader

from ..files import move
from .http import Refusal, full_disk

_PIECE = 2**20
_HEAD = 4096


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


class Incoming:
    """The folder of uploads that are not complete. What a dead process left there is removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)

    async def receive(self, content: StreamReader, most: int) -> Received:
        """Write a body to a file as it comes in. Raises Refusal: 413 above ``most`` bytes, 507 on a full disk."""
        path = self._folder / uuid.uuid4().hex
        digest, size, head = hashlib.sha256(), 0, b""
        try:
            with path.open("wb", buffering=0) as file:
                piece = bytearray()
                async for part in content.iter_any():
                    piece += part
                    if size + len(piece) > most:
                        raise Refusal(413, f"this is larger than {most // 2**20} MiB")
                    if len(piece) >= _PIECE:
                        size, head = size + len(piece), head or bytes(piece[:_HEAD])
                        await asyncio.to_thread(_write, file.fileno(), digest, bytes(piece))
                        piece.clear()
                size, head = size + len(piece), head or bytes(piece[:_HEAD])
                await asyncio.to_thread(_write, file.fileno(), digest, bytes(piece))
        except ConnectionError:
            path.unlink(missing_ok=True)
            raise
        except OSError as error:
            path.unlink(missing_ok=True)
            raise full_disk(error) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Received(path, digest.hexdigest(), size, head)

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


async def keep(received: Received, place: Path) -> None:
    """Move a complete file to its place, and flush it to the disk. Raises OSError."""
    try:
        await asyncio.to_thread(move, received.path, place)
        # A file that was there already counts as new: it is not removed as unused right now.
        await asyncio.to_thread(os.utime, place)
    finally:
        with suppress(OSError):
            received.discard()


def _write(handle: int, digest: hashlib._Hash, piece: bytes) -> None:
    digest.update(piece)
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(handle, rest) :]
