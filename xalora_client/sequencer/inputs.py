"""The images that tasks work on: uploaded by clients, or fetched right after the create; kept while they are needed."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as Picture
from yarl import URL

from .clock import Clock, first_ended
from .database import Database
from .fetching import ImageError, fetch_image, read_image
from .file_store import Incoming, Received, is_full, store
from .queue import TaskQueue
from .values import InputFetch, InputFile, StoreError

logger = logging.getLogger(__name__)

KEPT_SECONDS = 86_400.0
"""An uploaded image is kept for so long after its last use."""

BUDGET = 10 * 2**30
"""Bytes of all uploaded images; the least recently used go first."""

_AT_ONCE = 8
_RETRY_SECONDS = 5.0
_FOREVER = 1e9
_UNUSED_SECONDS = 600.0
"""A file that nothing refers to is removed after this time: its task may just be about to."""

_RESULT = re.compile(r"/media/([0-9a-f]{64}\.[a-z0-9]{1,5})")
_IMAGE = re.compile(r"/images/([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Image:
    """An image that its owner uploaded, or announced. ``token`` is the last part of its address, ``size`` in bytes."""

    token: str
    sha256: str
    size: int
    content_type: str
    complete: bool


class Images:
    """The table of uploaded images, each owner's apart. Their bytes are in ``folder``, named by their hash."""

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
            (secrets.token_urlsafe(32), owner, sha256, size, content_type, self._clock.time()),
        )
        (image,) = self._select("owner = ? AND sha256 = ?", owner, sha256)
        if image.complete and not (self.folder / sha256).is_file():
            self._database.run("UPDATE images SET complete = 0 WHERE token = ?", (image.token,))
            (image,) = self._select("token = ?", image.token)
        return image

    async def find(self, token: str) -> Image | None:
        """The image with this token."""
        return next(iter(self._select("token = ?", token)), None)

    async def mark_complete(self, image: Image) -> None:
        """Its bytes are here."""
        self._database.run(
            "UPDATE images SET complete = 1, used = ? WHERE token = ?", (self._clock.time(), image.token)
        )
        await self._database.flush()

    async def use(self, address: str, owner: bytes) -> Image | None:
        """The owner's image at an address of this server; None if it is none, or not here."""
        found = self._select("token = ? AND owner = ? AND complete", image_token_in(address), owner)
        if not found or not (self.folder / found[0].sha256).is_file():
            return None
        self._database.run("UPDATE images SET used = ? WHERE token = ?", (self._clock.time(), found[0].token))
        return found[0]

    async def forget_old(self) -> None:
        """Forget those that were not used for a day, and the least recently used above the budget."""
        self._database.run("DELETE FROM images WHERE used < ?", (self._clock.time() - KEPT_SECONDS,))
        complete = self._select("complete ORDER BY used")
        total = sum(image.size for image in complete)
        for image in complete:
            if total <= BUDGET:
                break
            self._database.run("DELETE FROM images WHERE token = ?", (image.token,))
            total -= image.size

    async def files(self) -> set[str]:
        """The names of the files that are needed."""
        return {image.sha256 for image in self._select("complete")}

    def _select(self, where: str, *values: Any) -> list[Image]:
        rows = self._database.run(f"SELECT * FROM images WHERE {where}", values)  # noqa: S608 - no values in it
        return [
            Image(row["token"], row["sha256"], row["size"], row["content_type"], bool(row["complete"])) for row in rows
        ]


class Inputs:
    """Fetches the inputs of tasks, which begin then.

    ``results`` is the folder of results, which may be inputs as well; ``local``: see ``fetch_image``.
    """

    def __init__(
        self, queue: TaskQueue, images: Images, results: Path, incoming: Incoming, clock: Clock, *, local: bool
    ) -> None:
        self.folder = images.folder
        self._queue = queue
        self._images = images
        self._results = results
        self._incoming = incoming
        self._clock = clock
        self._local = local
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to fetch."""
        self._run(self._fetch_all())

    async def close(self) -> None:
        """Stop fetching. It begins again at the next start."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def has(self, address: str, owner: bytes) -> bool:
        """Whether this is the address of an image that its owner uploaded here, or of a result of its tasks."""
        return await self._result_at(address, owner) is not None or await self._images.use(address, owner) is not None

    async def prune(self) -> None:
        """Remove the files that neither an open task nor an uploaded image needs."""
        await self._images.forget_old()
        needed = await self._images.files() | await self._queue.input_files()
        for path in self.folder.iterdir():
            if path.name not in needed and path.stat().st_mtime < time.time() - _UNUSED_SECONDS:
                path.unlink(missing_ok=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _fetch_all(self) -> None:
        while True:
            try:
                fetch = await self._queue.next_fetch()
            except StoreError:
                logger.exception("The database cannot be read")
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                # The next change of a task without inputs is its end.
                self._run(first_ended(self._fetch(fetch), self._queue.watch(fetch.task_id, fetch.revision, _FOREVER)))

    async def _fetch(self, fetch: InputFetch) -> None:
        while True:
            try:
                await self._fetch_now(fetch)
                return
            except (OSError, StoreError):
                # A full disk is no fault of the task: it waits until there is room.
                logger.exception("The inputs of task %s cannot be stored now", fetch.task_id)
            await self._clock.sleep(_RETRY_SECONDS)

    async def _fetch_now(self, fetch: InputFetch) -> None:
        """Raises OSError and StoreError when the disk is full."""
        try:
            async with self._slots:
                files = {name: await self._file(address, fetch.owner) for name, address in fetch.addresses.items()}
            await self._queue.end_fetch(fetch.task_id, files)
        except ImageError as error:
            await self._queue.fail_fetch(fetch.task_id, str(error))
        except Exception as error:
            if isinstance(error, StoreError) or (isinstance(error, OSError) and is_full(error)):
                raise
            # Whatever the error, the task must not wait forever.
            logger.exception("The inputs of task %s cannot be had", fetch.task_id)
            await self._queue.fail_fetch(
                fetch.task_id, f"the sequencer could not store the image: {type(error).__name__}"
            )

    async def _file(self, address: str, owner: bytes) -> InputFile:
        image = await self._images.use(address, owner)
        if image is not None:
            return InputFile(image.sha256, image.content_type, image.size)
        result = await self._result_at(address, owner)
        content = fetch_image(address, local=self._local) if result is None else asyncio.to_thread(read_image, result)
        received = await self._incoming.write(await content)
        try:
            content_type = await asyncio.to_thread(picture_type, received)
        except BaseException:
            received.discard()
            raise
        await store(received, self.folder / received.sha256)
        return InputFile(received.sha256, content_type, received.size)

    async def _result_at(self, address: str, owner: bytes) -> Path | None:
        """The file behind the address of a result of the owner's tasks; None for other addresses.

        Whatever its host is: a result's name cannot be guessed.
        """
        name = _part(address, _RESULT)
        file = None if name is None else await self._queue.find_media(name, owner)
        path = None if file is None else self._results / file
        return path if path is not None and path.is_file() else None


def picture_type(received: Received) -> str:
    """The media type of a picture's file, told from its content. Raises ImageError when it is no picture."""
    try:
        with Picture.open(received.path) as picture:
            return picture.get_format_mimetype() or "application/octet-stream"
    except (Picture.DecompressionBombError, Picture.DecompressionBombWarning):
        raise ImageError("the image is too large: it has too many pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image cannot be decoded: {type(error).__name__}") from error


def image_token_in(address: str) -> str | None:
    """The token of an uploaded image; None for other addresses than this server gives to them."""
    return _part(address, _IMAGE)


def _part(address: str, pattern: re.Pattern[str]) -> str | None:
    try:
        path = URL(address).path if address[:4].lower() == "http" else ""
    except ValueError:
        return None
    match = pattern.fullmatch(path)
    return match[1] if match else None
