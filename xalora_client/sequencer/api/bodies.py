"""What all endpoints share: reading bodies, checking keys, and answering errors in JSON."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, web

from ...errors import InvalidParameterError
from ...protocol.miner import read_name
from ...protocol.parameters import Text
from ...protocol.requests import Credentials
from ..file_store import TooLargeError, is_full
from ..values import StoreError

logger = logging.getLogger(__name__)
LONG_POLL_SECONDS = 25
LARGEST_BODY = 128 * 2**20
"""Bytes of a JSON body: a 4K image fits in a ``data:`` URI. Uploads are streamed, and have limits of their own."""

PUBLIC_URL = web.AppKey("public_url", str)
"""The key under which an application has its address for others, where it was told one."""

_TEXT = Text("")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HTTPError(Exception):
    """Answer with this status and ``{"message": ...}``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _full_disk(why: str) -> HTTPError:
    return HTTPError(507, f"the sequencer's disk {why}; free some space there, and send this again")


def answering_in_json(service: str) -> Any:
    """Middleware that answers every error with its status and ``{"message": ...}``."""

    @web.middleware
    async def answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            answer = _http_error(error)
            if answer is None:
                logger.exception("%s could not be answered", request.path)
                answer = HTTPError(500, f"the {service} failed")
            return web.json_response({"message": str(answer)}, status=answer.status)

    return answer_in_json


def _http_error(error: Exception) -> HTTPError | None:
    """How an error is answered; None for a fault of this program."""
    match error:
        case HTTPError():
            return error
        case InvalidParameterError():
            return HTTPError(400, str(error))
        case TooLargeError():
            return HTTPError(413, str(error))
        case web.HTTPException():
            return HTTPError(error.status, error.reason)
        case ConnectionError() | ClientError():
            return HTTPError(400, "the connection was cut")  # Nobody reads this.
        case StoreError(is_full=True):
            return _full_disk("is full")
        case OSError():
            return _full_disk("is full" if is_full(error) else f"cannot be written ({type(error).__name__})")
    return None


async def read_body(request: web.Request) -> dict[str, Any]:
    """The JSON object that was posted."""
    try:
        body = json.loads(await request.read(), parse_constant=_no_number)
    except (ValueError, LookupError, RecursionError):
        raise HTTPError(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise HTTPError(400, "the body is not a JSON object")
    return body


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number that JSON has")


def read_text(body: Mapping[str, Any], name: str) -> str:
    """A text that must not be empty. Raises InvalidParameterError."""
    _TEXT.check(name, body.get(name))
    return str(body[name])


def read_wait(body: Mapping[str, Any]) -> float:
    """``wait_seconds``: from 0 to the longest that is allowed."""
    seconds = body.get("wait_seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        return 0.0
    return float(min(seconds, LONG_POLL_SECONDS))


@dataclass(frozen=True)
class Keys:
    """The consumers that are let in. Without any, every key is accepted."""

    accepted: tuple[Credentials, ...]

    def consumer_and_key(self, body: Mapping[str, Any]) -> tuple[str, str]:
        """The consumer and the key of a request, which must belong together."""
        consumer_id, api_key = body.get("consumer_id"), self.key(body)
        if not isinstance(consumer_id, str) or not _TEXT.accepts(consumer_id):
            raise HTTPError(401, "consumer_id is missing")
        known = [_same(consumer_id, other.consumer_id) & _same(api_key, other.api_key) for other in self.accepted]
        if known and not any(known):
            raise HTTPError(401, "this consumer_id and api_key are not known here")
        return consumer_id, api_key

    def key(self, body: Mapping[str, Any]) -> str:
        """The key of a request."""
        api_key = body.get("api_key")
        if not isinstance(api_key, str) or not _TEXT.accepts(api_key):
            raise HTTPError(401, "api_key is missing")
        known = [_same(api_key, other.api_key) for other in self.accepted]
        if known and not any(known):
            raise HTTPError(401, "this api_key is not known here")
        return api_key


def read_miner(body: Mapping[str, Any], miner_key: str | None, field: str = "erc20_address") -> str:
    """The miner's name, once its key was checked."""
    given = body.get("miner_key")
    if miner_key is not None and not (isinstance(given, str) and _TEXT.accepts(given) and _same(given, miner_key)):
        raise HTTPError(
            401, "the miner_key is missing or not the one that this sequencer expects; set XALORA_MINER_KEY"
        )
    return read_name(body, field)


def _same(given: str, required: str) -> bool:
    """Compare in a time that does not depend on how much is right."""
    return hmac.compare_digest(given.encode(), required.encode())


def address(request: web.Request, path: str) -> str:
    """The full address of a path of this server: that of the proxy before it, else with the host the caller used."""
    base = request.app.get(PUBLIC_URL, f"{request.scheme}://{request.host}")
    return f"{base}/{path}"
