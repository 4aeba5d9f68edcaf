"""What all endpoints share: values of bodies, addresses, and answering errors in JSON."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from traceback import clear_frames
from typing import Any

from aiohttp import ClientError, web

from ...errors import InvalidParameterError
from ...protocol.parameters import Text
from ...protocol.urls import Link
from ..file_store import QuotaError, TooLargeError, TooSlowError, is_full
from ..values import LeaseLost, NameTakenError, NoSuchTaskError, NotUploadedError, StoreError, TooManyError
from .connections import connection_of
from .errors import HTTPError
from .keys import WrongKeys
from .same_origin import check_host, check_origin

logger = logging.getLogger(__name__)
LONG_POLL_SECONDS = 25

PUBLIC_URL = web.AppKey("public_url", str)
"""The key under which an application has its address for others, if one is configured."""

TRUSTED_PROXIES = web.AppKey("trusted_proxies", Sequence[IPv4Network | IPv6Network])
"""The key under which an application has the networks of the proxies whose ``X-Forwarded-*`` are believed."""

_TEXT = Text("")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answering_in_json(service: str) -> Any:
    """Middleware that answers every error with its status and ``{"message": ...}``."""

    @web.middleware
    async def answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            answer = _http_error(error, service)
            # Not the path itself: it may hold a token, and anything else.
            resource = request.match_info.route.resource
            path = resource and resource.canonical
            if answer is None:
                logger.error("%s could not be answered", path, exc_info=error)
            elif answer.status >= 500:  # Not the fault of this program, so one line will do.
                logger.error(f"{answer}: %s (%s)", path, error)
            clear_frames(error.__traceback__)  # Their variables hold the body, and may hold the error itself.
            answer = answer or HTTPError(500, f"the {service} failed")
            if not request.content.is_eof() and (connection := connection_of(request)) is not None:
                connection.refuse()
            is_certain = answer.status == 429 or (isinstance(error, StoreError) and error.is_busy)
            headers = {"Retry-After": "5"} if is_certain else None  # Clients send even a create again then.
            body: dict[str, Any] = {"message": str(answer)}
            if isinstance(error, HTTPError) and (answer.status >= 500 or answer.status == 408):
                body["processed"] = False  # What its status does not say: a create was refused, and is not in doubt.
            return web.json_response(body, status=answer.status, headers=headers)

    return answer_in_json


def checking_callers(*, is_open: bool, any_address: bool) -> Any:
    """Middleware for a server that strangers can reach.

    Args:
        is_open: Whether it has no keys, so that only names of this machine are served.
        any_address: Whether it listens on more than loopback.
    """
    wrong_keys = WrongKeys()

    @web.middleware
    async def check_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
        if (connection := connection_of(request)) is not None:
            connection.begin()
            if request.method != "POST":
                connection.answer()
        if is_open:
            check_host(request.headers.get("Host", ""), any_address=any_address)
        check_origin(request.method, request.headers)
        caller = caller_address(request, request.app.get(TRUSTED_PROXIES, ()))
        try:
            return await handler(request)
        except HTTPError as error:
            if error.status == 401:
                if connection is not None:
                    connection.end()  # Whoever waits for this must not be in the way of others.
                await wrong_keys.slow(caller)
            raise

    return check_caller


def caller_address(request: web.Request, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """The IP address that a request comes from: the last in ``X-Forwarded-For`` that is no trusted proxy's."""
    address = request.remote or ""
    hops = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    for hop in reversed(hops):
        if not any(_is_in(address, network) for network in trusted) or not hop.strip():
            break
        address = hop.strip()
    return address


def _is_in(address: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:
        return False


def _http_error(error: Exception, service: str) -> HTTPError | None:
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
        case TooManyError():
            return HTTPError(429, str(error))
        case NoSuchTaskError():
            return HTTPError(404, "there is no such task")
        case LeaseLost():
            return HTTPError(409, f"this attempt is over: {error}")
        case NotUploadedError():
            return HTTPError(409, "the result is not what was uploaded for this attempt; upload it first")
        case NameTakenError():
            return HTTPError(409, f"another miner is called {error}; choose another name")
        case QuotaError():
            return HTTPError(429, str(error))
        case TooSlowError():
            return HTTPError(408, f"the upload was ended: {error}")
        case ConnectionError() | ClientError():
            return HTTPError(400, "the connection was cut")  # Nobody reads this.
        case StoreError(is_full=True) | OSError() if isinstance(error, StoreError) or is_full(error):
            return HTTPError(507, f"the {service}'s disk is full; free some space there, and send this again")
        case StoreError(is_busy=True):
            return HTTPError(503, f"another program keeps the {service}'s database locked; send this again")
        case StoreError():
            return HTTPError(503, f"the {service} cannot use its database")
        case OSError():
            return HTTPError(503, f"the {service} cannot use its disk")
    return None


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


def address(request: web.Request, path: str) -> str:
    """The full address of a path of this server: as configured, as a trusted proxy says, or as the caller wrote it."""
    if public := request.app.get(PUBLIC_URL):
        return f"{public}/{path}"
    base = f"{request.scheme}://{request.host}"
    if any(_is_in(request.remote or "", network) for network in request.app.get(TRUSTED_PROXIES, ())):
        usual = {"Proto": request.scheme, "Host": request.host, "Prefix": ""}
        said = {name: request.headers.get(f"X-Forwarded-{name}", text) for name, text in usual.items()}
        proto, host, prefix = (text.partition(",")[0].strip() for text in said.values())
        with suppress(ValueError):
            base = Link.parse(f"{proto}://{host}/{prefix.strip('/')}").text.rstrip("/")
    return f"{base}/{path}"
