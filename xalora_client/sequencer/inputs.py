"""The inputs of tasks: uploaded images, results of other tasks, and what is fetched right after the create."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections import Counter, deque
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from ..errors import XaloraError
from ..http.proxies import proxy_for, ssl_context
from ..http.ssrf import Resolver, is_forbidden, is_forbidden_name
from ..http.transport import FETCH_HEADERS, Exchange
from ..protocol.parameters import data_uri_bytes, is_data_uri
from ..protocol.urls import Link, NumberHostError
from .clock import Clock, first_ended
from .file_store import Images, Incoming, IncomingFile, TooLargeError, is_full, part_of
from .pictures import ImageError, check_picture_file
from .queue import TaskQueue
from .values import InputFetch, InputFile, StoreError

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
FETCH_SECONDS = 60

AT_ONCE, AT_ONCE_OF_OWNER = 32, 2
"""Tasks whose inputs are fetched at once, and how many of them may be of one owner: a silent server takes a minute."""

TRIES = 720
"""How often the inputs of a task are tried to be stored, in an hour, before it fails."""

_RETRY_SECONDS = 5.0
_FOREVER = 1e9
_UNUSED_SECONDS = 600.0
"""A file that nothing refers to is removed after this time: its task may not have noted it yet."""

_REDIRECTS = 10
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_RESULT = re.compile(r".*/media/([0-9a-f]{64}\.[a-z0-9]{1,5}(?:/[0-9]{1,2})?)")


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
    _slots: FairSlots = field(default_factory=lambda: FairSlots(AT_ONCE, AT_ONCE_OF_OWNER))
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
            fetch = await self.queue.next_fetch()
            # The next change of a task without inputs is its end.
            self._run(first_ended(self._fetch(fetch), self.queue.watch(fetch.task_id, fetch.revision, _FOREVER)))

    async def _fetch(self, fetch: InputFetch) -> None:
        msg, tries = None, 0
        while True:
            try:
                if msg is not None:
                    return await self.queue.fail_fetch(fetch.task_id, msg)
                async with self._slots.of(fetch.owner):
                    urls = await self.queue.input_urls(fetch.task_id)
                    files = {name: await self._file(url, fetch.owner) for name, url in urls.items()}
                return await self.queue.end_fetch(fetch.task_id, files)
            except ImageError as error:
                msg = str(error)
            except Exception as error:
                logger.exception("The inputs of task %s cannot be stored", fetch.task_id)
                if isinstance(error, StoreError) or (isinstance(error, OSError) and is_full(error)):
                    # A full disk is no fault of the task: it waits until there is room, but not forever.
                    await self.clock.sleep(_RETRY_SECONDS)
                    tries += 1
                    if tries >= TRIES:
                        msg = f"the sequencer could not store the image in {TRIES} tries: its disk is full"
                else:
                    # Whatever the error, the task must not wait forever.
                    msg = f"the sequencer could not store the image: {type(error).__name__}"

    async def store(self, uri: Iterable[bytes]) -> InputFile:
        """Store the image in a ``data:`` URI, which comes in pieces. Raises ImageError and OSError."""
        file = self.incoming.begin()
        try:
            await asyncio.to_thread(_write_data_uri, uri, file)
            return await self._checked(file)
        finally:
            file.discard()

    async def _file(self, address: str, owner: bytes) -> InputFile:
        if is_data_uri(address):
            return await self.store([address.encode()])
        image = await self.images.use(address, owner)
        if image is not None:
            return InputFile(image.sha256, image.content_type, image.size)
        result = await self._result_at(address, owner)
        file = self.incoming.begin()
        try:
            if result is not None:
                _check_bytes(result.stat().st_size)
                await asyncio.to_thread(file.write, await asyncio.to_thread(result.read_bytes))
            else:
                await fetch_image(address, file, local=self.local)
            return await self._checked(file)
        finally:
            file.discard()

    async def _checked(self, file: IncomingFile) -> InputFile:
        content_type = await asyncio.to_thread(check_picture_file, file.path)
        await file.store(self.images.folder / file.sha256)
        return InputFile(file.sha256, content_type, file.size)

    async def _result_at(self, address: str, owner: bytes) -> Path | None:
        """The file behind the address of a result of the owner's tasks; None for other addresses.

        The address may have any host: a result's name cannot be guessed.
        """
        name, _, number = (part_of(address, _RESULT) or "").partition("/")
        file = await self.queue.find_media(name, owner, number=int(number or 1)) if name else None
        path = None if file is None else self.results / file
        return path if path is not None and path.is_file() else None


class FairSlots:
    """Slots for what only so many may do at once, and only so many of one owner. Owners get them by turns."""

    def __init__(self, most: int, most_of_owner: int) -> None:
        self._free = most
        self._most_of_owner = most_of_owner
        self._used: Counter[bytes] = Counter()
        self._waiting: dict[bytes, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def of(self, owner: bytes) -> AsyncIterator[None]:
        """Wait for a slot, and keep it as long as the block runs."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(granted)
        self._give_next()
        try:
            await granted
            yield
        finally:
            if granted.cancelled():
                self._forget(owner, granted)
            else:
                self._free += 1
                self._used[owner] -= 1
                self._give_next()

    def _give_next(self) -> None:
        for owner, waiting in self._waiting.items():
            granted = next((slot for slot in waiting if not slot.cancelled()), None)
            if granted is not None and self._free and self._used[owner] < self._most_of_owner:
                self._free -= 1
                self._used[owner] += 1
                self._forget(owner, granted)
                if waiting:  # The others come first now.
                    self._waiting[owner] = self._waiting.pop(owner)
                granted.set_result(None)
                return

    def _forget(self, owner: bytes, granted: asyncio.Future[None]) -> None:
        self._waiting[owner].remove(granted)
        if not self._waiting[owner]:
            del self._waiting[owner]


async def fetch_image(address: str, file: IncomingFile, *, local: bool) -> None:
    """Write the bytes behind an http or https URL to a file.

    ``local`` is whether hosts in private networks may be contacted. Cloud metadata services never are.
    Raises ImageError when there are no bytes, when there are more than 64 MiB, or after 60 seconds; OSError.
    """
    try:
        await asyncio.wait_for(_fetch(Link.parse(address), file, local), FETCH_SECONDS)
    except asyncio.TimeoutError:
        raise ImageError(f"the image cannot be fetched: no answer within {FETCH_SECONDS} s") from None
    except XaloraError as error:
        raise ImageError(f"the image cannot be fetched: {error.what}") from error
    except TooLargeError:
        raise _too_large() from None
    except ValueError as error:
        raise _unusable(error) from None


def _write_data_uri(uri: Iterable[bytes], file: IncomingFile) -> None:
    """Write the bytes in a ``data:`` URI to a file. Blocks. Raises ImageError and OSError."""
    try:
        for piece in data_uri_bytes(uri):
            file.write(piece)
            _check_bytes(file.size)
    except ValueError as error:
        raise ImageError(f"the image's data: URI cannot be read: {error}") from error


def check_image_host(address: str, *, local: bool) -> None:
    """Raise ImageError for an address whose host, as it is written, may not be contacted."""
    try:
        if not is_data_uri(address):
            _check_named(Link.parse(address), local)
    except NumberHostError as error:
        raise _unusable(error) from None
    except ValueError:
        return  # An address that cannot be read is an error of the fetch.


def _unusable(error: ValueError) -> ImageError:
    return ImageError(f"the image cannot be fetched: its address is not http or https, or cannot be used ({error})")


async def _fetch(link: Link, file: IncomingFile, local: bool) -> None:
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
            async with aclosing(exchange.pieces()) as pieces:
                await file.receive(partial(anext, pieces, b""), MAX_BYTES)
            return
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
        raise _too_large()


def _too_large() -> ImageError:
    return ImageError(f"the image is too large: more than {MAX_BYTES} bytes")
