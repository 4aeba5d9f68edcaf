"""Files on their way into the data folder, and the images that clients uploaded."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import secrets
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientError, StreamReader
from yarl import URL

from ..storage.files import move
from .clock import Clock
from .database import Database, first_values, waits_for_others

KEPT_SECONDS = 86_400.0
"""An uploaded image is kept for so long after its last use."""

BUDGET = 10 * 2**30
"""Bytes of all uploaded images; the least recently used go first."""

_AT_ONCE = 50
_PIECE = 2**20
_HEAD = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT)
_IMAGE = re.compile(r"/images/([A-Za-z0-9_-]{43})")


class TooLargeError(Exception):
    """More bytes came than are allowed."""


def is_full(error: OSError) -> bool:
    """Whether the disk has no room left."""
    return error.errno in _FULL


class IncomingFile:
    """A file on its way into the data folder.

    Attributes:
        path: Where it is until it is stored.
        size: How many bytes have come.
        head: The first of them, at most 4 KiB.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.head = b""
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hash of what has come, in hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, content: bytes) -> None:
        """Append bytes. Blocks. Raises OSError."""
        with self.path.open("ab") as file:
            file.write(content)
        self._digest.update(content)
        self.size += len(content)
        self.head += content[: _HEAD - len(self.head)]

    async def receive(self, content: StreamReader, most: int) -> None:
        """Append a request's body as it comes in.

        When the connection breaks, what came is kept, for another request to continue. After any other error the file
        is removed. Raises TooLargeError above ``most`` bytes, ConnectionError or ClientError for a connection that
        breaks, and other OSErrors for a disk that cannot be written.
        """
        piece = bytearray()
        try:
            try:
                async for chunk in content.iter_any():
                    piece += chunk
                    if self.size + len(piece) > most:
                        raise TooLargeError(f"this is larger than {most // 2**20} MiB")
                    if len(piece) >= _PIECE:
                        await asyncio.to_thread(self.write, bytes(piece))
                        piece.clear()
            finally:
                await asyncio.to_thread(self.write, bytes(piece))
        except (ConnectionError, ClientError):
            raise
        except BaseException:
            self.discard()
            raise

    async def store(self, path: Path) -> None:
        """Move it to ``path``, and flush it to the disk. Raises OSError."""
        await asyncio.to_thread(move, self.path, path)
        # A file that was there already counts as new: it is not removed as unused right now.
        await asyncio.to_thread(os.utime, path)

    def discard(self) -> None:
        """Remove it, unless it is stored."""
        self.path.unlink(missing_ok=True)


class Incoming:
    """The folder of files on their way. What a dead process left there is removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self) -> IncomingFile:
        """A new file, with nothing in it. Raises OSError."""
        path = self._folder / uuid.uuid4().hex
        path.touch()
        return IncomingFile(path)


@dataclass(frozen=True)
class Image:
    """An image that its owner uploaded, or announced. ``token`` is the last part of its address, ``size`` in bytes."""

    token: str
    sha256: str
    size: int
    content_type: str
    is_complete: bool


@waits_for_others
class Images:
    """The table of uploaded images, separate for each owner. Their bytes are in ``folder``, named by their hash."""

    def __init__(self, database: Database, folder: Path, clock: Clock) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._database = database
        self._clock = clock

    async def announce(self, owner: bytes, sha256: str, size: int, content_type: str) -> Image:
        """The owner's image with this content, new or old."""
        self._database.run(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?, 0, ?)"
            " ON CONFLICT (owner, sha256) DO UPDATE SET used = excluded.used",
            (secrets.token_urlsafe(32), owner, sha256, size, content_type, self._time()),
        )
        (image,) = self._select("owner = ? AND sha256 = ?", owner, sha256)
        if image.is_complete and not (self.folder / sha256).is_file():
            self._database.run("UPDATE images SET complete = 0 WHERE token = ?", (image.token,))
            (image,) = self._select("token = ?", image.token)
        return image

    async def find(self, token: str) -> Image | None:
        """The image with this token."""
        return next(iter(self._select("token = ?", token)), None)

    async def mark_complete(self, image: Image, content_type: str) -> None:
        """Its bytes are here, and are of this type."""
        self._database.run(
            "UPDATE images SET complete = 1, content_type = ?, used = ? WHERE token = ?",
            (content_type, self._time(), image.token),
        )
        await self._database.flush()

    async def use(self, address: str, owner: bytes) -> Image | None:
        """The owner's image at an address of this server; None if it is none, or not here."""
        oldest = self._time() - KEPT_SECONDS
        found = self._select(
            "token = ? AND owner = ? AND complete AND used >= ?", image_token_in(address), owner, oldest
        )
        if not found or not (self.folder / found[0].sha256).is_file():
            return None
        self._database.run("UPDATE images SET used = ? WHERE token = ?", (self._time(), found[0].token))
        return found[0]

    async def forget_old(self) -> None:
        """Forget those that were not used for a day, and the least recently used above the budget."""
        old = await self._database.slow(
            list,
            "SELECT token, used FROM (SELECT token, used, complete, sum(size * complete) OVER"
            " (ORDER BY used DESC, token) AS total FROM images) WHERE used < ? OR (complete AND total > ?)",
            (self._time() - KEPT_SECONDS, BUDGET),
        )
        for number, (token, used) in enumerate(old):
            self._database.run("DELETE FROM images WHERE token = ? AND used = ?", (token, used))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def files(self) -> set[str]:
        """The names of the files that are needed."""
        return await self._database.slow(first_values, "SELECT sha256 FROM images WHERE complete")

    def _time(self) -> float:
        return self._database.steady_time(self._clock)

    def _select(self, where: str, *values: Any) -> list[Image]:
        sql = f"SELECT token, sha256, size, content_type, complete FROM images WHERE {where}"  # noqa: S608
        return [Image(*row) for row in self._database.rows(sql, values)]


def image_token_in(address: str) -> str | None:
    """The token of an uploaded image; None for other addresses than this server gives to them."""
    return part_of(address, _IMAGE)


def part_of(address: str, path: re.Pattern[str]) -> str | None:
    """The group in the path of an address; None for one with another path."""
    try:
        match = path.fullmatch(URL(address).path) if address[:4].lower() == "http" else None
    except ValueError:
        return None
    return match[1] if match else None
