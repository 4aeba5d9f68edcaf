"""The endpoints for bytes: results, inputs and uploads of miners, and the images that clients upload."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, web

from ...media.decoding.formats import APNG, FORMATS, describe, sniff
from ...protocol.miner import LARGEST_INPUT, LARGEST_RESULT
from ..file_store import Image, Images, Incoming, IncomingFile
from ..queue import TaskQueue
from .bodies import address
from .connections import trust
from .errors import HTTPError
from .json_body import read_json
from .keys import ConsumerKeys

MOST_CUT = 16
"""Uploads that were cut and are kept to be continued; the oldest go first. A restart forgets them."""

_IMAGE_TYPE = re.compile(r"image/[A-Za-z0-9.+-]{1,90}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
_CONTENT_TYPES = {known.extension: known.mime_type for known in FORMATS if known is not APNG}


@dataclass(frozen=True)
class MediaRoutes:
    """The media of results, in the folder ``results``. Whoever has an address may have them."""

    queue: TaskQueue
    results: Path

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [web.get("/media/{name}", self.media)]

    async def media(self, request: web.Request) -> web.StreamResponse:
        """Send a result, whole or the requested range."""
        name = request.match_info["name"]
        # The name is only looked up. What is opened is the name that this server chose.
        file = await self.queue.find_media(name) if name.isprintable() else None
        if file is None:
            raise HTTPError(404, "there is no such media")
        path = self.results / file
        content_type = _CONTENT_TYPES.get(path.suffix)
        if content_type is None or not path.is_file():
            raise HTTPError(410, "this media was removed to make room for newer results")
        return web.FileResponse(path, headers={"Content-Type": content_type} | _NO_SNIFFING)


@dataclass(frozen=True)
class MinerFiles:
    """A task's inputs, and its result. Each address has a token that belongs to one attempt, so it needs no key."""

    queue: TaskQueue
    inputs: Path
    results: Path
    incoming: Incoming

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [
            web.get(r"/miner_input/{token:[0-9a-f]{96}}-{number:[0-9]{1,3}}", self.input),
            web.put("/miner_upload/{token}", self.upload),
        ]

    async def input(self, request: web.Request) -> web.StreamResponse:
        """Send the bytes of an input."""
        files = await self.queue.inputs_at(request.match_info["token"])
        if files is None:
            raise HTTPError(404, "this attempt is over, or there never was one with this address")
        number = int(request.match_info["number"])
        if number >= len(files):
            raise HTTPError(404, "the task has no such input")
        headers = {"Content-Type": files[number].content_type} | _NO_SNIFFING
        return web.FileResponse(self.inputs / files[number].file, headers=headers)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take the raw bytes of a result: ``{"result"}`` is what to submit."""
        token = request.match_info["token"]
        await self.queue.renew_upload(token)
        trust(request)
        received = self.incoming.begin()
        try:
            await received.receive(request.content, LARGEST_RESULT)
            lease, before = await self.queue.renew_upload(token)  # The lease may have ended meanwhile.
            found = sniff(received.head)
            if found is None:
                raise HTTPError(415, f"this is not a picture or video: {describe(received.head).partition(':')[0]}")
            file = received.sha256 + found.extension
            if before not in (None, file):
                raise HTTPError(409, "other bytes were uploaded for this attempt before")
            await received.store(self.results / file)
            await self.queue.attach_result(lease, file, received.size)
        finally:
            received.discard()
        return web.json_response({"result": file})


@dataclass(frozen=True)
class ImageUploads:
    """An image is announced, and then uploaded unless it is here already.

    ``cut`` are the uploads that were cut and can be continued, by the image's token.
    """

    queue: TaskQueue
    images: Images
    incoming: Incoming
    keys: ConsumerKeys
    cut: dict[str, IncomingFile] = field(default_factory=dict)

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
            if (file := self.cut.get(image.token)) is not None:
                answer["received"] = file.size
        return web.json_response(answer)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take the raw bytes of an image that was announced, or those from ``Upload-Offset`` on: ``{"image"}``."""
        image = await self.images.find(request.match_info["token"])
        if image is None:
            raise HTTPError(404, "no image was announced for this address, or it is a day old; announce it again")
        trust(request)
        await self.images.mark_complete(image, await self._receive(request, image))
        return web.json_response({"image": address(request, f"images/{image.token}")})

    async def _receive(self, request: web.Request, image: Image) -> str:
        """Store the bytes; returns their media type, which they say themselves: what was announced may be anything."""
        offset = request.headers.get("Upload-Offset", "0")
        file = self.cut.pop(image.token, None)  # While one request continues it, no other does.
        if file is not None and offset == "0":
            file.discard()
            file = None
        file = file or self.incoming.begin()
        if offset != str(file.size):
            self._note_cut(image, file)
            raise HTTPError(409, "the upload does not continue after the bytes that are here; announce the image again")
        try:
            await file.receive(request.content, image.size)
        except (ConnectionError, ClientError):
            self._note_cut(image, file)
            raise
        try:
            if file.size != image.size or file.sha256 != image.sha256:
                raise HTTPError(422, "these are not the bytes that were announced: their size or SHA-256 differs")
            found = sniff(file.head)
            if found is None or found.kind == "video":
                raise HTTPError(415, f"this is not an image: {describe(file.head).partition(':')[0]}")
            await file.store(self.images.folder / image.sha256)
            return found.mime_type
        finally:
            file.discard()

    def _note_cut(self, image: Image, file: IncomingFile) -> None:
        if not file.size:
            file.discard()
            return
        if (other := self.cut.pop(image.token, None)) is not None:  # Two uploads of it were cut.
            other.discard()
        self.cut[image.token] = file
        while len(self.cut) > MOST_CUT:
            self.cut.pop(next(iter(self.cut))).discard()
