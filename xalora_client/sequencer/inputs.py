"""The inputs of tasks: uploaded images, results of other tasks, and what is fetched right after the create."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from ..errors import XaloraError
from ..http.proxies import proxy_for, ssl_context
from ..http.ssrf import Resolver, is_forbidden, is_forbidden_name
from ..http.transport import FETCH_HEADERS, Exchange
from ..protocol.parameters import decode_data_uri, is_data_uri
from ..protocol.urls import Link
from .clock import Clock, first_ended
from .file_store import Images, Incoming, is_full, part_of
from .queue import TaskQueue
from .values import InputFetch, InputFile, StoreError

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
FETCH_SECONDS = 60

_AT_ONCE = 8
_RETRY_SECONDS = 5.0
_FOREVER = 1e9
_UNUSED_SECONDS = 600.0
"""A file that nothing refers to is removed after this time: its task may not have noted it yet."""

_REDIRECTS = 10
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_RESULT = re.compile(r"/media/([0-9a-f]{64}\.[a-z0-9]{1,5})")


class ImageError(Exception):
    """A task's image cannot be used; the text becomes the task's ``msg``."""


@dataclass(frozen=True)
class Inputs:
    """Fetches the inputs of tasks, which can run then.

    ``results`` is the folder of results, which may be inputs as well; ``local``: see ``fetch_image``.
    """

    queue: TaskQueue
    images: Images
    results: Path
    incoming: Incoming
    clock: Clock
    local: bool
    _slots: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, _AT_ONCE))
    _unused: dict[tuple[str, int], float] = field(default_factory=dict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self) -> None:
        """Begin to fetch."""
        self._run(self._fetch_all())

    async def close(self) -> None:
        """Stop fetching. The next start begins again."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def has(self, address: str, owner: bytes) -> bool:
        """Whether this is the address of an image that its owner uploaded here, or of a result of its tasks."""
        return await self._result_at(address, owner) is not None or await self.images.use(address, owner) is not None

    async def prune(self) -> None:
        """Remove the files that neither an open task nor an uploaded image needs."""
        await self.images.forget_old()
        await asyncio.to_thread(self._remove_unused, await self.images.files(), await self.queue.input_files())

    def _remove_unused(self, *needed: set[str]) -> None:
        now, since = self.clock.monotonic(), dict(self._unused)
        self._unused.clear()
        for path in self.images.folder.iterdir():
            if not any(path.name in names for names in needed):
                # Its time tells whether it came anew. How old it is does not count: the clock may be wrong.
                seen = path.name, path.stat().st_mtime_ns
                if since.get(seen, now) < now - _UNUSED_SECONDS:
                    path.unlink()
                else:
                    self._unused[seen] = since.get(seen, now)

    def _run(self, fetching: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(fetching)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _fetch_all(self) -> None:
        while True:
            try:
                fetch = await self.queue.next_fetch()
            except StoreError:
                logger.exception("The database cannot be read")
                await self.clock.sleep(_RETRY_SECONDS)
            else:
                # The next change of a task without inputs is its end.
                self._run(first_ended(self._fetch(fetch), self.queue.watch(fetch.task_id, fetch.revision, _FOREVER)))

    async def _fetch(self, fetch: InputFetch) -> None:
        msg: str | None = None
        while True:
            try:
                if msg is not None:
                    return await self.queue.fail_fetch(fetch.task_id, msg)
                async with self._slots:
                    files = {name: await self._file(url, fetch.owner) for name, url in fetch.urls.items()}
                return await self.queue.end_fetch(fetch.task_id, files)
            except ImageError as error:
                msg = str(error)
            except Exception as error:
                logger.exception("The inputs of task %s cannot be stored", fetch.task_id)
                if isinstance(error, StoreError) or (isinstance(error, OSError) and is_full(error)):
                    # A full disk is no fault of the task: it waits until there is room.
                    await self.clock.sleep(_RETRY_SECONDS)
                else:
                    # Whatever the error, the task must not wait forever.
                    msg = f"the sequencer could not store the image: {type(error).__name__}"

    async def _file(self, address: str, owner: bytes) -> InputFile:
        image = await self.images.use(address, owner)
        if image is not None:
            return InputFile(image.sha256, image.content_type, image.size)
        result = await self._result_at(address, owner)
        if result is None:
            content = await fetch_image(address, local=self.local)
        else:
            _check_bytes(result.stat().st_size)
            content = await asyncio.to_thread(result.read_bytes)
        file = self.incoming.begin()
        try:
            await asyncio.to_thread(file.write, content)
            content_type = await asyncio.to_thread(picture_type, file.path)
            await file.store(self.images.folder / file.sha256)
        finally:
            file.discard()
        return InputFile(file.sha256, content_type, file.size)

    async def _result_at(self, address: str, owner: bytes) -> Path | None:
        """The file behind the address of a result of the owner's tasks; None for other addresses.

        The address may have any host: a result's name cannot be guessed.
        """
        name = part_of(address, _RESULT)
        file = None if name is None else await self.queue.find_media(name, owner)
        path = None if file is None else self.results / file
        return path if path is not None and path.is_file() else None


def picture_type(path: Path) -> str:
    """The media type of a picture's file, by its content. Raises ImageError when it is not a picture."""
    try:
        with Picture.open(path) as picture:
            return picture.get_format_mimetype() or "application/octet-stream"
    except (Picture.DecompressionBombError, Picture.DecompressionBombWarning):
        raise ImageError("the image is too large: it has too many pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image cannot be decoded: {type(error).__name__}") from error


async def fetch_image(address: str, *, local: bool) -> bytes:
    """Return the bytes behind an http or https URL or in a ``data:`` URI.

    ``local`` is whether hosts in private networks may be contacted. Cloud metadata services never are.
    Raises ImageError when there are no bytes, when there are more than 64 MiB, or after 60 seconds.
    """
    if is_data_uri(address):
        try:
            # Decoding a large one is slow, and the loop must stay free.
            _, content = await asyncio.to_thread(decode_data_uri, address)
        except ValueError as error:
            raise ImageError(f"the image's data: URI cannot be read: {error}") from error
        _check_bytes(len(content))
        return content
    try:
        return await asyncio.wait_for(_fetch(Link.parse(address), local), FETCH_SECONDS)
    except asyncio.TimeoutError:
        raise ImageError(f"the image cannot be fetched: no answer within {FETCH_SECONDS} s") from None
    except XaloraError as error:
        raise ImageError(f"the image cannot be fetched: {error.what}") from error
    except ValueError:
        raise ImageError("the image cannot be fetched: its address is not http or https") from None


def check_image_host(address: str, *, local: bool) -> None:
    """Raise ImageError for an address whose host, as it is written, may not be contacted."""
    with suppress(ValueError):  # An address that cannot be read is an error of the fetch.
        if not is_data_uri(address):
            _check_named(Link.parse(address), local)


async def _fetch(link: Link, local: bool) -> bytes:
    resolver = Resolver(partial(is_forbidden, local=local), _blocked)
    trusted = await asyncio.to_thread(_certificates)
    for _ in range(_REDIRECTS):
        # Each redirect is checked as the first address was: it could lead into a private network.
        _check_named(link, local)
        proxy = None if link.host in _THIS_MACHINE else proxy_for(link)
        if proxy is not None:
            with suppress(OSError):  # A name that only the proxy can look up.
                await resolver.resolve(link.host)
        async with Exchange(link, proxy, resolver if proxy is None else Resolver(), trusted) as exchange:
            answer = await exchange.ask("GET", FETCH_HEADERS)
            location = answer.headers.get("location")
            if answer.status in (301, 302, 303, 307, 308) and location:
                link = link.join(location)
                continue
            if answer.status != 200:
                raise ImageError(f"the image cannot be fetched: its server answered {answer.status}")
            body = bytearray()
            async with aclosing(exchange.pieces()) as pieces:
                async for piece in pieces:
                    body += piece
                    _check_bytes(len(body))
            return bytes(body)
    raise ImageError("the image cannot be fetched: its address redirects too often")


@cache
def _certificates() -> ssl.SSLContext:
    """What servers' certificates are checked against. Reading some hundred is slow."""
    return ssl_context()


def _check_named(link: Link, local: bool) -> None:
    if is_forbidden_name(link.host, local):
        raise _blocked(link.host)


def _blocked(host: str) -> ImageError:
    return ImageError(
        f"the image is not fetched, because its address leads into a private network ({host}). "
        "Start the sequencer with --allow-private-images to allow that"
    )


def _check_bytes(count: int) -> None:
    if count > MAX_BYTES:
        raise ImageError(f"the image is too large: more than {MAX_BYTES} bytes")
