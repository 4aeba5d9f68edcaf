"""The endpoints for images that clients upload for their tasks."""

from __future__ import annotations

from typing import Any

from aiohttp import ClientError, web

from ..media.decoding.formats import describe, sniff
from ..protocol.miner import LARGEST_INPUT
from .clock import Clock
from .file_store import Incoming, Part, keep
from .http import Keys, Refusal, address, full_disk, read_body
from .images import Image, Images, is_sha256
from .store import Store

MOST_PARTS = 16
"""Uploads that were cut and are kept to go on with; the oldest go first. A restart forgets them."""


class ImageRoutes:
    """An image is announced, and then uploaded unless it is here already."""

    def __init__(self, store: Store, images: Images, incoming: Incoming, keys: Keys, clock: Clock) -> None:
        self._store = store
        self._images = images
        self._incoming = incoming
        self._keys = keys
        self._clock = clock
        self._parts: dict[str, Part] = {}

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [web.post("/image_upload", self.announce), web.put("/image_upload/{token}", self.upload)]

    async def announce(self, request: web.Request) -> web.StreamResponse:
        """Answer ``{"image"}``, the image's address, and ``"upload_url"`` unless it is here already.

        ``"received"`` says how many of its bytes are here: an upload with ``Upload-Offset`` goes on behind them.
        """
        body = await read_body(request)
        _, api_key = self._keys.consumer_and_key(body)
        sha256, size, content_type = body.get("sha256"), body.get("size"), body.get("content_type")
        if not is_sha256(sha256):
            raise Refusal(400, "sha256 is not 64 hexadecimal digits in lower case")
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise Refusal(400, "size is not a number of bytes")
        if size > LARGEST_INPUT:
            raise Refusal(413, f"the image is larger than {LARGEST_INPUT // 2**20} MiB")
        if not isinstance(content_type, str) or not content_type.startswith("image/") or len(content_type) > 100:
            raise Refusal(400, "content_type is not that of an image, such as image/png")
        owner = self._store.owner(api_key)
        image = self._images.announce(owner, str(sha256), size, content_type, self._clock.time())
        answer: dict[str, Any] = {"image": address(request, f"images/{image.token}")}
        if not image.complete:
            answer["upload_url"] = address(request, f"image_upload/{image.upload_token}")
            if (part := self._parts.get(image.token)) is not None:
                answer["received"] = part.size
        return web.json_response(answer)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take the raw bytes of an image that was announced, or those from ``Upload-Offset`` on: ``{"image"}``."""
        image = self._images.to_upload(request.match_info["token"])
        if image is None:
            raise Refusal(404, "no image was announced for this address, or it is a day old; announce it again")
        await self._receive(request, image)
        return web.json_response({"image": address(request, f"images/{image.token}")})

    async def _receive(self, request: web.Request, image: Image) -> None:
        offset = request.headers.get("Upload-Offset", "0")
        part = self._parts.pop(image.token, None)  # While one request goes on with it, no other does.
        if part is not None and offset == "0":
            part.discard()
            part = None
        part = part or self._incoming.begin()
        if offset != str(part.size):
            self._keep(image, part)
            raise Refusal(409, "the upload does not go on where the bytes end that are here; announce the image again")
        try:
            received = await self._incoming.receive(request.content, image.size, part)
        except (ConnectionError, ClientError):
            self._keep(image, part)
            raise
        try:
            if received.size != image.size or received.sha256 != image.sha256:
                raise Refusal(422, "these are not the bytes that were announced: their size or SHA-256 differs")
            found = sniff(received.head)
            if found is None or found.kind == "video":
                raise Refusal(415, f"this is not an image: {describe(received.head).partition(':')[0]}")
            await keep(received, self._images.folder / image.sha256)
        except OSError as error:
            raise full_disk(error) from error
        finally:
            received.discard()
        self._images.complete(image, self._clock.time())

    def _keep(self, image: Image, part: Part) -> None:
        if not part.size:
            part.discard()
            return
        if (other := self._parts.pop(image.token, None)) is not None:  # Two uploads of it were cut.
            other.discard()
        self._parts[image.token] = part
        while len(self._parts) > MOST_PARTS:
            self._parts.pop(next(iter(self._parts))).discard()
