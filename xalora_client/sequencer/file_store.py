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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientError
from yarl import URL

from ..storage.files import move, touch
from .clock import Clock
from .database import Database, first_values
from .database_file import waits_for_others

KEPT_SECONDS = 86_400.0
"""An uploaded image is kept for so long after its last use."""

BUDGET = 10 * 2**30
"""Bytes of all uploaded images; the least recently used go first."""

QUOTA = BUDGET // 4
"""The same for one owner; and the most that he may announce, upload or use within LATELY_SECONDS."""

MOST_ANNOUNCED = 1000
"""Images that an owner may have announced lately and not uploaded."""

LATELY_SECONDS = 600.0
ANNOUNCED_SECONDS = 6 * 3600.0
"""An image that was announced is expected for so long: longer than the slowest upload takes."""

PATIENCE_SECONDS = 60.0
LEAST_PROGRESS = 512 * 2**10
"""Bytes of an upload that must come in each PATIENCE_SECONDS, until its end."""

RESERVE = 2**30
RESERVE_SHARE = 20
"""So many bytes of the disk stay free for the database, or one part in 20 where that is less."""

_AT_ONCE = 50
_PIECE = 2**20
_HEAD = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT)
_IMAGE = re.compile(r".*/images/([A-Za-z0-9_-]{43})")


class TooLargeError(Exception):
    """More bytes came than are allowed."""


class TooSlowError(ConnectionError):
    """Bytes came, but too few to wait for the rest."""


class QuotaError(Exception):
    """An owner has too much here at the moment."""


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
        self.size: int = 0
        self.head: bytes = b""
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hash of what has come, in hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, content: bytes) -> None:
        """Append bytes. Blocks. Raises OSError."""
        _require_room(self.path.parent, len(content))
        with self.path.open("r+b") as file:  # It is not made again where it was discarded meanwhile.
            file.seek(self.size)
            file.write(content)
        self._digest.update(content)
        self.size += len(content)
        self.head += content[: _HEAD - len(self.head)]

    async def receive(self, read: Callable[[], Awaitable[bytes]], most: int) -> None:
        """Append what ``read`` returns until it returns nothing.

        When the connection breaks, what came is kept, for another request to continue. After any other error the file
        is removed. Raises TooLargeError above ``most`` bytes, ConnectionError or ClientError for a connection that
        breaks, TooSlowError for one that is slow, and other OSErrors for a disk that cannot be written.
        """
        loop, piece = asyncio.get_running_loop(), bytearray()
        counted, since = self.size, loop.time()
        try:
            try:
                while chunk := await asyncio.wait_for(read(), since + PATIENCE_SECONDS - loop.time()):
                    piece += chunk
                    received = self.size + len(piece)
                    if received > most:
                        raise TooLargeError(f"this is larger than {most:,} bytes")
                    if received >= counted + LEAST_PROGRESS:
                        counted, since = received, loop.time()
                    if len(piece) >= _PIECE:
                        await asyncio.to_thread(self.write, bytes(piece))
                        piece.clear()
            except asyncio.TimeoutError:
                raise TooSlowError("it came too slowly") from None
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
        await asyncio.to_thread(touch, path)

    def discard(self) -> None:
        """Remove it, unless it is stored."""
        self.path.unlink(missing_ok=True)


class Incoming:
    """The folder of files on their way. What a dead process left there is removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, expected: int = 0) -> IncomingFile:
        """A new file, with nothing in it. Raises OSError, also where so many bytes have no room."""
        self._folder.mkdir(exist_ok=True)  # Somebody may have deleted it.
        _require_room(self._folder, expected)
        path = self._folder / uuid.uuid4().hex
        path.touch()
        return IncomingFile(path)


@dataclass(frozen=True)
class Image:
    """An image that its owner uploaded, or announced. ``token`` is the last part of its address, ``size`` in bytes."""

    token: str
    owner: bytes
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
        """The owner's image with this content, new or old. Raises QuotaError."""
        self._check_quota(owner, sha256, size)
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

    async def begin(self, image: Image) -> None:
        """Its bytes begin to come. Raises QuotaError."""
        self._check_quota(image.owner, image.sha256, image.size)
        self._database.run("UPDATE images SET used = ? WHERE token = ?", (self._time(), image.token))

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
        """Forget those that were not used for long, and the least recently used above the quota and the budget."""
        now = self._time()
        old = await self._database.slow(
            list,
            "SELECT token, used FROM (SELECT token, used, complete,"
            " sum(size * complete) OVER (PARTITION BY owner ORDER BY used DESC, token) AS of_owner,"
            " sum(size * complete) OVER (ORDER BY used DESC, token) AS total FROM images)"
            " WHERE used < CASE WHEN complete THEN ? ELSE ? END OR (complete AND (of_owner > ? OR total > ?))",
            (now - KEPT_SECONDS, now - ANNOUNCED_SECONDS, QUOTA, BUDGET),
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

    def _check_quota(self, owner: bytes, sha256: str, size: int) -> None:
        """Raise QuotaError where there is too much of the owner's beside this image."""
        count, total = self._database.run(
            "SELECT coalesce(sum(NOT complete), 0), coalesce(sum(size), 0) FROM images"
            " WHERE owner = ? AND sha256 != ? AND used > ?",
            (owner, sha256, self._time() - LATELY_SECONDS),
        ).fetchone()
        if count >= MOST_ANNOUNCED or total + size > QUOTA:
            raise QuotaError(
                f"in the last {LATELY_SECONDS / 60:.0f} minutes you have announced or used {total // 2**20:,} MiB of"
                f" images, of which {count:,} are not here yet; the most are {QUOTA // 2**20:,} MiB, and"
                f" {MOST_ANNOUNCED:,} that are not here yet"
            )

    def _select(self, where: str, *values: Any) -> list[Image]:
        sql = f"SELECT token, owner, sha256, size, content_type, complete FROM images WHERE {where}"  # noqa: S608
        return [Image(*row) for row in self._database.rows(sql, values)]


def _require_room(folder: Path, size: int) -> None:
    """Raise OSError where so many bytes more would take the reserve of the disk."""
    disk = shutil.disk_usage(folder)
    if disk.free - size < min(RESERVE, disk.total // RESERVE_SHARE):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
