"""The endpoints for bytes: results, inputs and uploads of miners, and the images that clients upload."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, web

from ...media.decoding.formats import APNG, FORMATS, describe, sniff
from ...protocol.miner import LARGEST_INPUT, LARGEST_RESULT, MOST_RESULTS
from ..file_store import Image, Images, Incoming, IncomingFile, TooLargeError
from ..pictures import ImageError, TooManyPixelsError, check_picture_file
from ..queue import TaskQueue
from ..values import LeaseLost
from .bodies import address
from .connections import trust
from .errors import HTTPError
from .json_body import read_json
from .keys import ConsumerKeys

MOST_CUT, MOST_CUT_OF_OWNER = 16, 4
"""Uploads that were cut and are kept to be continued, in all and of one owner. Who has the most gives up the oldest."""

UPLOADS_OF_OWNER = 8
"""Uploads of one owner that may run at once."""

_IMAGE_TYPE = re.compile(r"image/[A-Za-z0-9.+-]{1,90}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = 64 * 2**10
_CONTENT_TYPES = {known.extension: known.mime_type for known in FORMATS if known is not APNG}


class RunningUploads:
    """The uploads that run: one at a time for each address, and so many of one owner."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[bytes, web.Request, asyncio.Event]] = {}

    @asynccontextmanager
    async def alone(self, request: web.Request, owner: bytes = b"") -> AsyncIterator[None]:
        """End an earlier upload to this address, whose sender may be gone, and be the only one meanwhile.

        Raises HTTPError 429 when too many of the owner run; without one there may be any number.
        """
        token, ended = request.match_info["token"], asyncio.Event()
        while (other := self._running.get(token)) is not None:
            if other[1].transport is not None:
                other[1].transport.abort()
            await other[2].wait()
        if owner and sum(other[0] == owner for other in self._running.values()) >= UPLOADS_OF_OWNER:
            raise HTTPError(429, f"{UPLOADS_OF_OWNER} of your uploads run already; try again when one has ended")
        self._running[token] = owner, request, ended
        try:
            yield
        finally:
            del self._running[token]
            ended.set()


class _FileAnswer(web.FileResponse):
    """A file, sent in small pieces: those who share a ``pace`` send one of them in each turn of the event loop.

    Their handlers begin in such turns, too.

    aiohttp would have the system send it, which fills the whole buffer of a connection in one go. Hundreds of readers
    would hold up everything else for half a second.
    """

    def __init__(self, path: Path, content_type: str, pace: asyncio.Lock) -> None:
        super().__init__(path, headers={"Content-Type": content_type, "X-Content-Type-Options": "nosniff"})
        self._pace = pace

    async def _sendfile(self, request: web.BaseRequest, fobj: Any, offset: int, count: int) -> Any:
        async with self._pace:
            writer: Any = await web.StreamResponse.prepare(self, request)
            await asyncio.sleep(0)
        await asyncio.to_thread(fobj.seek, offset)
        while count > 0 and (piece := await asyncio.to_thread(fobj.read, min(count, _PIECE))):
            async with self._pace:
                await writer.write(piece, drain=False)
                await asyncio.sleep(0)
            await writer.drain()
            count -= len(piece)
        return writer


@dataclass(frozen=True)
class MediaRoutes:
    """The media of results, in the folder ``results``. Whoever has an address may have them."""

    queue: TaskQueue
    results: Path
    pace: asyncio.Lock = field(default_factory=asyncio.Lock)

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [web.get("/media/{name}", self.media), web.get("/media/{name}/{number:[0-9]{1,2}}", self.media)]

    async def media(self, request: web.Request) -> web.StreamResponse:
        """Send a result, whole or the requested range."""
        name = request.match_info["name"]
        # The name is only looked up. What is opened is the name that this server chose.
        number = int(request.match_info.get("number", "1"))
        async with self.pace:
            await asyncio.sleep(0)
            file = await self.queue.find_media(name, number=number) if name.isprintable() else None
        if file is None:
            raise HTTPError(404, "there is no such media")
        path = self.results / file
        content_type = _CONTENT_TYPES.get(path.suffix)
        if content_type is None or not path.is_file():
            raise HTTPError(410, "this media was removed to make room for newer results")
        return _FileAnswer(path, content_type, self.pace)


@dataclass(frozen=True)
class MinerFiles:
    """A task's inputs, and its result. Each address has a token that belongs to one attempt, so it needs no key."""

    queue: TaskQueue
    inputs: Path
    results: Path
    incoming: Incoming
    uploads: RunningUploads = field(default_factory=RunningUploads)
    pace: asyncio.Lock = field(default_factory=asyncio.Lock)

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [
            web.get(r"/miner_input/{token:[0-9a-f]{96}}-{number:[0-9]{1,3}}", self.input),
            web.put("/miner_upload/{token}", self.upload),
        ]

    async def input(self, request: web.Request) -> web.StreamResponse:
        """Send the bytes of an input."""
        async with self.pace:
            await asyncio.sleep(0)
            files = await self.queue.inputs_at(request.match_info["token"])
        if files is None:
            raise HTTPError(404, "this attempt is over, or there never was one with this address")
        number = int(request.match_info["number"])
        if number >= len(files):
            raise HTTPError(404, "the task has no such input")
        return _FileAnswer(self.inputs / files[number].file, files[number].content_type, self.pace)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take the raw bytes of a result, or of one of several: ``{"result"}`` is what to submit."""
        token = request.match_info["token"]
        await self.queue.renew_upload(token)
        trust(request)

        async def read() -> bytes:
            if not await self.queue.expects_upload(token):
                raise LeaseLost("lost")
            return await request.content.readany()

        async with self.uploads.alone(request):
            received = self.incoming.begin(request.content_length or 0)
            try:
                await received.receive(read, LARGEST_RESULT)
                lease, before = await self.queue.renew_upload(token)  # The lease may have ended meanwhile.
                found = sniff(received.head)
                if found is None:
                    what = describe(received.head).partition(":")[0]
                    raise HTTPError(415, f"this is not a picture or video: {what}")
                file = received.sha256 + found.extension
                if len(before.keys() | {file}) > MOST_RESULTS:
                    raise HTTPError(409, f"{MOST_RESULTS} other files were uploaded for this attempt before")
                if sum((before | {file: received.size}).values()) > LARGEST_RESULT:
                    raise TooLargeError(f"all results of the attempt are larger than {LARGEST_RESULT:,} bytes")
                await received.store(self.results / file)
                await self.queue.attach_result(lease, file, received.size)
            finally:
                received.discard()
        return web.json_response({"result": file})


@dataclass(frozen=True)
class ImageUploads:
    """An image is announced, and then uploaded unless it is here already.

    ``cut`` are the uploads that were cut and can be continued, with their owners, by the image's token.
    """

    queue: TaskQueue
    images: Images
    incoming: Incoming
    keys: ConsumerKeys
    cut: dict[str, tuple[bytes, IncomingFile]] = field(default_factory=dict)
    uploads: RunningUploads = field(default_factory=RunningUploads)

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [web.post("/image_upload", self.announce), web.put("/image_upload/{token}", self.upload)]

    async def announce(self, request: web.Request) -> web.StreamResponse:
        """Answer ``{"image"}``, the image's address, and ``"upload_url"`` unless it is here already.

        ``"received"`` says how many of its bytes are here: an upload with ``Upload-Offset`` continues after them.
        """
        body = await read_json(request, self.keys.consumer_and_key)
        sha256, size, content_type = body.get("sha256"), body.get("size"), body.get("content_type")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise HTTPError(400, "sha256 is not 64 hexadecimal digits in lower case")
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise HTTPError(400, "size is not a number of bytes")
        if size > LARGEST_INPUT:
            raise HTTPError(413, f"the image is larger than {LARGEST_INPUT // 2**20} MiB")
        if not isinstance(content_type, str) or not _IMAGE_TYPE.fullmatch(content_type):
            raise HTTPError(400, "content_type is not that of an image, such as image/png")
        image = await self.images.announce(self.queue.owner(body["api_key"]), sha256, size, content_type)
        answer: dict[str, Any] = {"image": address(request, f"images/{image.token}")}
        if not image.is_complete:
            answer["upload_url"] = address(request, f"image_upload/{image.token}")
            if image.token in self.cut:
                answer["received"] = self.cut[image.token][1].size
        return web.json_response(answer)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take the raw bytes of an image that was announced, or those from ``Upload-Offset`` on: ``{"image"}``."""
        image = await self.images.find(request.match_info["token"])
        if image is None:
            raise HTTPError(404, "no image was announced for this address, or it is a day old; announce it again")
        trust(request)
        async with self.uploads.alone(request, image.owner):
            await self.images.begin(image)
            await self.images.mark_complete(image, await self._receive(request, image))
        return web.json_response({"image": address(request, f"images/{image.token}")})

    async def _receive(self, request: web.Request, image: Image) -> str:
        """Store the bytes; returns their media type, which they say themselves: what was announced may be anything."""
        offset = request.headers.get("Upload-Offset", "0")
        _, file = self.cut.pop(image.token, (b"", None))
        if file is not None and offset == "0":
            file.discard()
            file = None
        file = file or self.incoming.begin(image.size)
        if offset != str(file.size):
            self._note_cut(image, file)
            raise HTTPError(409, "the upload does not continue after the bytes that are here; announce the image again")
        try:
            await file.receive(request.content.readany, image.size)
        except (ConnectionError, ClientError):
            self._note_cut(image, file)
            raise
        try:
            if file.size != image.size or file.sha256 != image.sha256:
                raise HTTPError(422, "these are not the bytes that were announced: their size or SHA-256 differs")
            content_type = await asyncio.to_thread(check_picture_file, file.path)
            await file.store(self.images.folder / image.sha256)
            return content_type
        except ImageError as error:
            raise HTTPError(413 if isinstance(error, TooManyPixelsError) else 415, str(error)) from None
        finally:
            file.discard()

    def _note_cut(self, image: Image, file: IncomingFile) -> None:
        if not file.size:
            file.discard()
            return
        self.cut[image.token] = image.owner, file
        ((crowd, count),) = Counter(owner for owner, _ in self.cut.values()).most_common(1)
        if count > MOST_CUT_OF_OWNER or len(self.cut) > MOST_CUT:
            oldest = next(token for token, (owner, _) in self.cut.items() if owner == crowd)
            self.cut.pop(oldest)[1].discard()
