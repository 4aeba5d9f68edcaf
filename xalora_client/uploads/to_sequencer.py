"""Uploads of inputs to a sequencer of ours: one for each content, not inside the create's JSON.

An upload that was interrupted continues where it ended, also in a later run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..errors import APIStatusError, BadRequestError, ResponseError
from ..http.retry import retry
from ..http.transport import UNREACHED_SECONDS
from ..http.upload import WebTransport
from ..protocol import answers
from ..protocol.requests import Credentials, Request, Response

REQUEST_SECONDS = 30.0
TRIES = 5


class SequencerUploads:
    """The uploads to one sequencer."""

    def __init__(
        self, url: str, web: WebTransport, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._url = url
        self._web = web
        self._sleep = sleep
        self._about: dict[str, Any] | None = None

    async def about(self, tries: int = TRIES) -> dict[str, Any]:
        """What a server of ours says of itself, asked once; empty for others.

        Raises NetworkError when it cannot be reached, and APIStatusError when it, or a proxy before it, cannot answer
        now.
        """
        if self._about is not None:
            return self._about

        async def attempt() -> Response:
            answer = await ask_about(self._url, self._web)
            if answer.status in (408, 425, 429) or answer.status >= 500:
                answers.check_status(answer, Request(self._url, {}))
            return answer

        give_up = time.monotonic() + UNREACHED_SECONDS
        answer = await retry(attempt, tries=tries, remaining=lambda: give_up - time.monotonic(), sleep=self._sleep)
        self._about = json_object(answer) if answer.status == 200 else {}
        return self._about

    async def put(
        self,
        content: bytes,
        media_type: str,
        credentials: Credentials,
        on_sent: Callable[[int, int], object],
    ) -> str:
        """Upload the bytes for the owner of the credentials, unless the server has them; returns their address.

        ``on_sent(sent, total)`` is called as the bytes go out. Raises APIStatusError when the server refuses them,
        ResponseError for an answer outside the protocol, and NetworkError when no complete answer comes back.
        """
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())

        async def attempt() -> str:
            # Announced again before each try: a token belongs to one upload, and some of the bytes may be there.
            announced = await self._announce(sha256, len(content), media_type, credentials)
            address, upload = announced.get("image"), announced.get("upload_url")
            if not isinstance(address, str) or not isinstance(upload, str | None):
                raise ResponseError("The sequencer gave no address for an image")
            if upload is not None:
                token = re.fullmatch(r"[^?#]*/image_upload/([A-Za-z0-9._~-]+)", upload)
                if token is None:
                    raise ResponseError("The sequencer gave an address for an upload that is not one of its own")
                # Under the address that is known to reach it, whatever it calls itself behind a proxy.
                url = f"{self._url}/image_upload/{token[1]}"
                received = announced.get("received")
                begun = received if isinstance(received, int) and 0 < received < len(content) else 0
                await self._send_rest(url, content, begun, media_type, on_sent)
            return address

        try:
            return await retry(attempt, tries=TRIES, sleep=self._sleep)
        except BadRequestError as error:
            if error.code == "proxy_limit":
                raise
            raise error.derived(code="upload_damaged") from error

    async def _send_rest(
        self, url: str, content: bytes, begun: int, media_type: str, on_sent: Callable[[int, int], object]
    ) -> None:
        headers = {"Content-Type": media_type} | ({"Upload-Offset": str(begun)} if begun else {})
        answer = await self._web.ask(
            "PUT", url, headers, content[begun:], lambda sent, _: on_sent(begun + sent, len(content))
        )
        try:
            answers.check_status(answer, Request(url, {}))
        except APIStatusError as error:
            # One that is not known, whose bytes were damaged, or that another run continues is announced again.
            raise error.derived(transient=error.transient or error.status_code in (404, 409, 422)) from error

    async def _announce(self, sha256: str, size: int, media_type: str, credentials: Credentials) -> dict[str, Any]:
        body = {
            "consumer_id": credentials.consumer_id,
            "api_key": credentials.api_key,
            "sha256": sha256,
            "size": size,
            "content_type": media_type,
        }
        request = Request(f"{self._url}/image_upload", body)
        answer = await self._web.send(request, REQUEST_SECONDS)
        answers.check_status(answer, request)
        return json_object(answer)


async def ask_about(url: str, web: WebTransport) -> Response:
    """Ask a server to describe itself. A sequencer of ours answers with a JSON object. Raises NetworkError."""
    return await web.ask("GET", f"{url}/", {"Accept": "application/json"})


def takes_uploads(about: Mapping[str, Any]) -> bool:
    """Whether a server that describes itself so takes uploads."""
    return about.get("image_upload") is True


def json_object(answer: Response) -> dict[str, Any]:
    """The answer's JSON object; an empty one for anything else."""
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
