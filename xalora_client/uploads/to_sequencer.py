"""Images to a sequencer of ours: each an upload of its own, once for each content, not inside the create's JSON.

An upload that was cut goes on where it ended, in a later run, too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import Any

from ..errors import APIStatusError, BadRequestError, NetworkError, ResponseError
from ..protocol import answers
from ..protocol.requests import Credentials, Request, Response
from .web import OnSent, PassingError, Sleep, Web, with_retries

REQUEST_SECONDS = 30.0


class Uploads:
    """The uploads of one sequencer."""

    def __init__(self, url: str, web: Web, sleep: Sleep = asyncio.sleep) -> None:
        self._url = url
        self._web = web
        self._sleep = sleep

    async def offered(self) -> bool:
        """Whether the server is one of ours that takes uploads.

        Raises NetworkError when it cannot be reached, and APIStatusError when it, or a proxy before it, cannot answer
        now.
        """

        async def attempt() -> Response:
            url = f"{self._url}/"
            answer = await self._web.ask("GET", url, {"Accept": "application/json"})
            if _is_passing(answer.status):
                _check(answer, url)
            return answer

        answer = await with_retries(attempt, self._sleep)
        return answer.status == 200 and _json(answer).get("image_upload") is True

    async def put(
        self,
        content: bytes,
        media_type: str,
        credentials: Credentials,
        about: str = "The image",
        on_sent: OnSent | None = None,
    ) -> str:
        """Upload the bytes for the owner of the credentials, unless the server has them; returns their address.

        Raises APIStatusError when the server refuses them, ResponseError for an answer outside the protocol, and
        NetworkError when no complete answer comes back.
        """
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())

        async def attempt() -> str:
            # Asked again before each try: a token belongs to one upload, and some of the bytes may be there.
            asked = await self._ask_for(sha256, len(content), media_type, credentials)
            address, upload = asked.get("image"), asked.get("upload_url")
            if not isinstance(address, str) or not isinstance(upload, str | None):
                raise ResponseError("The sequencer gave no address for an image")
            if upload is not None:
                token = re.fullmatch(r"[^?#]*/image_upload/([A-Za-z0-9._~-]+)", upload)
                if token is None:
                    raise ResponseError("The sequencer gave an address for an upload that is not one of its own")
                # Under the address that is known to reach it, whatever it calls itself behind a proxy.
                url = f"{self._url}/image_upload/{token[1]}"
                here = asked.get("received")
                begun = here if isinstance(here, int) and 0 < here < len(content) else 0
                headers = {"Content-Type": media_type} | ({"Upload-Offset": str(begun)} if begun else {})

                def on_rest_sent(sent: int, _: int) -> None:
                    if on_sent is not None:
                        on_sent(begun + sent, len(content))

                _check(await self._web.ask("PUT", url, headers, content[begun:], on_rest_sent), url)
            return address

        try:
            return await with_retries(attempt, self._sleep)
        except (APIStatusError, NetworkError) as error:
            advice = error.own_advice
            if isinstance(error, BadRequestError):
                advice = "No task was created. Try again; if it stays, the image is changed on its way."
            raise error.derived(what=f"{about} was not uploaded: {error.what}", advice=advice) from error

    async def _ask_for(self, sha256: str, size: int, media_type: str, credentials: Credentials) -> dict[str, Any]:
        body = {
            "consumer_id": credentials.consumer_id,
            "api_key": credentials.api_key,
            "sha256": sha256,
            "size": size,
            "content_type": media_type,
        }
        request = Request(f"{self._url}/image_upload", body)
        answer = await self._web.send(request, REQUEST_SECONDS)
        _check(answer, request.url, request)
        return _json(answer)


def _check(answer: Response, url: str, request: Request | None = None) -> None:
    try:
        answers.check_status(answer, request or Request(url, {}))
    except APIStatusError as error:
        # An upload that is not known, whose bytes were damaged, or that another goes on with is announced again.
        if _is_passing(error.status_code) or (request is None and error.status_code in (404, 409, 422)):
            raise PassingError(error) from None
        raise


def _is_passing(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _json(answer: Response) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
