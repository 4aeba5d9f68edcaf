"""What all routes share: reading bodies, checking keys, and answering refusals in JSON."""

from __future__ import annotations

import errno
import hmac
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from ..errors import InvalidParameterError
from ..protocol.miner import read_name
from ..protocol.parameters import Text
from ..protocol.requests import Credentials

logger = logging.getLogger(__name__)
LONG_POLL_SECONDS = 25
PUBLIC_URL = web.AppKey("public_url", str)
"""The key under which an application has its address for others, where it was told one."""

_TEXT = Text("")
_FULL = (errno.ENOSPC, errno.EDQUOT)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(Exception):  # noqa: N818 - an answer, not a failure of this program
    """Answer with this status and ``{"message": ...}``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def is_full(error: OSError) -> bool:
    """Whether it says that the disk has no room left."""
    return error.errno in _FULL


def full_disk(error: OSError | None = None) -> Refusal:
    """The refusal when the sequencer cannot store something."""
    why = "is full" if error is None or is_full(error) else f"cannot be written ({type(error).__name__})"
    return Refusal(507, f"the sequencer's disk {why}; free some space there, and send this again")


def answering_in_json(service: str) -> Any:
    """Middleware that turns every refusal into its status with ``{"message": ...}``."""

    @web.middleware
    async def answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            status, message = refusal.status, str(refusal)
        except InvalidParameterError as error:
            status, message = 400, str(error)
        except web.HTTPException as error:
            status, message = error.status, error.reason
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                status, message = 507, str(full_disk())
            else:
                logger.exception("%s could not be answered", request.path)
                status, message = 500, f"the {service} failed"
        except ConnectionError:
            status, message = 400, "the request broke off"  # Nobody hears this, and it is no fault of this program.
        except Exception:
            logger.exception("%s could not be answered", request.path)
            status, message = 500, f"the {service} failed"
        return web.json_response({"message": message}, status=status)

    return answer_in_json


async def read_body(request: web.Request) -> dict[str, Any]:
    """The JSON object that was posted."""
    try:
        body = json.loads(await request.read(), parse_constant=_no_number)
    except (ValueError, LookupError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the body is not a JSON object")
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


class Keys:
    """The consumers that are let in. None of them means that every key is accepted."""

    def __init__(self, accepted: tuple[Credentials, ...]) -> None:
        self._accepted = accepted

    def consumer_and_key(self, body: Mapping[str, Any]) -> tuple[str, str]:
        """The consumer and the key of a request, which must belong together."""
        consumer_id, api_key = body.get("consumer_id"), self.key(body)
        if not isinstance(consumer_id, str) or not _TEXT.accepts(consumer_id):
            raise Refusal(401, "consumer_id is missing")
        known = [same(consumer_id, each.consumer_id) & same(api_key, each.api_key) for each in self._accepted]
        if known and not any(known):
            raise Refusal(401, "this consumer_id and api_key are not known here")
        return consumer_id, api_key

    def key(self, body: Mapping[str, Any]) -> str:
        """The key of a request."""
        api_key = body.get("api_key")
        if not isinstance(api_key, str) or not _TEXT.accepts(api_key):
            raise Refusal(401, "api_key is missing")
        known = [same(api_key, each.api_key) for each in self._accepted]
        if known and not any(known):
            raise Refusal(401, "this api_key is not known here")
        return api_key


def read_miner(body: Mapping[str, Any], miner_key: str | None, field: str = "erc20_address") -> str:
    """The miner's name, once its key was checked."""
    given = body.get("miner_key")
    if miner_key is not None and not (isinstance(given, str) and _TEXT.accepts(given) and same(given, miner_key)):
        raise Refusal(401, "the miner_key is missing or not the one that this sequencer expects; set XALORA_MINER_KEY")
    return read_name(body, field)


def same(given: str, required: str) -> bool:
    """Compare without telling by the time it takes how much was right."""
    return hmac.compare_digest(given.encode(), required.encode())


def address(request: web.Request, path: str) -> str:
    """The full address of a path of this server: that of the proxy before it, else with the host the caller used."""
    base = request.app.get(PUBLIC_URL, f"{request.scheme}://{request.host}")
    return f"{base}/{path}"
