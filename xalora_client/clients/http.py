"""The transport over aiohttp, which both clients use."""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property, partial

import aiohttp

from ..engine.effects import Fetch
from ..errors import DownloadError, NetworkError, ResponseError, XaloraError
from ..protocol.links import Link
from ..protocol.requests import Request, Response
from ..version import USER_AGENT
from . import addresses
from .addresses import Resolver
from .environment import proxy_for, ssl_context
from .exchange import CONNECT_TIMEOUT, Exchange
from .gate import gate_of
from .network_errors import explained

if sys.version_info >= (3, 11):
    from asyncio import timeout as time_limit
else:
    from async_timeout import timeout as time_limit  # Comes with aiohttp.

SEND_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
FETCH_HEADERS = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}

LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer of the sequencer, packed or unpacked."""

LONGEST_ERROR_PAGE = 64 * 1024
"""Bytes that are read of an answer that is an error: enough for its message."""

LEAST_PROGRESS = 16 * 1024
"""Bytes that must come in during a fetch's longest silence: a byte now and then is silence too."""


class HttpTransport:
    """Sends and fetches over HTTP/1.1, each over a connection of its own. May be used on any event loop."""

    def __init__(self) -> None:
        self._local: dict[str, bool] = {}

    async def send(self, request: Request, timeout: float) -> Response:
        """POST the request and return the answer, all within ``timeout`` seconds.

        Redirects are not followed: they would carry the key to another host. Raises NetworkError, and ResponseError
        for an answer of more than 16 MiB.
        """
        try:
            link = Link.parse(request.url)
        except ValueError as error:
            raise NetworkError(f"No request was sent: {error}", never_sent=True, lasting=True) from None
        proxy = proxy_for(link)
        exchange: Exchange | None = None
        try:
            # Cancels are let through first: they are short, and end what costs money.
            urgent = request.url.endswith("/task_cancel")
            async with time_limit(timeout), gate_of(link.origin).passed(urgent=urgent):
                exchange = Exchange(link, proxy, Resolver(), self._trusted_for(link, proxy))
                async with exchange:
                    head = _head(await exchange.ask("POST", SEND_HEADERS, request.content()))
                    return replace(head, body=await _body(exchange, head.status, request))
        except XaloraError:
            raise
        except asyncio.TimeoutError as error:
            raise explained(error, link, proxy, sent=exchange is not None and exchange.sent) from None

    async def fetch(self, fetch: Fetch) -> Response:
        """GET a file into its sink. What the sink raises goes through unchanged.

        Raises NetworkError, and DownloadError for an address that may not be contacted or never can be.
        """
        try:
            link = Link.parse(fetch.url)
        except ValueError as error:
            raise DownloadError(f"The result's address cannot be used: {error}") from None
        try:
            local = await self._is_local(fetch.sequencer)
            addresses.check_named(link, local)
            proxy = proxy_for(link)
            # A proxy looks names up by itself, and its own address is the user's choice.
            resolver = Resolver() if proxy else Resolver(partial(addresses.is_forbidden, local=local))
            async with Exchange(link, proxy, resolver, self._trusted_for(link, proxy)) as exchange:
                return await _fetched(exchange, fetch)
        except NetworkError as error:
            if error.lasting:
                raise DownloadError(error.what, advice=error.advice) from None
            raise

    async def close(self) -> None:
        """Nothing is held between requests."""

    def _trusted_for(self, link: Link, proxy: Link | None) -> ssl.SSLContext | bool:
        secure = link.scheme == "https" or (proxy is not None and proxy.scheme == "https")
        return self._trusted if secure else True

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """What servers' certificates are checked against; made at the first request that needs it."""
        return ssl_context()

    async def _is_local(self, sequencer: str) -> bool:
        """Whether the sequencer is on this machine or in a private network; found out once."""
        if sequencer not in self._local:
            try:
                self._local[sequencer] = await addresses.is_local(Link.parse(sequencer))
            except (OSError, ValueError):
                return False
        return self._local[sequencer]


async def _body(exchange: Exchange, status: int, request: Request) -> bytes:
    body = bytearray()
    async with aclosing(exchange.pieces()) as pieces:
        async for piece in pieces:
            body += piece
            if not 200 <= status < 300 and len(body) >= LONGEST_ERROR_PAGE:
                break
            if max(len(body), exchange.received) > LARGEST_ANSWER:
                raise ResponseError(
                    f"The answer of {exchange.link.shown} is larger than {LARGEST_ANSWER // 2**20} MiB",
                    task_id=request.task_id,
                )
    return bytes(body)


async def _fetched(exchange: Exchange, fetch: Fetch) -> Response:
    loop = asyncio.get_running_loop()
    try:
        async with time_limit(CONNECT_TIMEOUT + fetch.timeout):
            head = _head(await exchange.ask("GET", FETCH_HEADERS | dict(fetch.headers), silence=fetch.timeout))
    except XaloraError:
        raise
    except asyncio.TimeoutError as error:
        raise explained(error, exchange.link, exchange.proxy, sent=exchange.sent) from None
    take = fetch.sink(head.status, head.headers)
    waited, counted, since = 0.0, 0, loop.time()
    async with aclosing(exchange.pieces()) as pieces:
        async for piece in pieces:
            if take is None:
                return replace(head, body=piece)
            waited += loop.time() - since
            if exchange.received - counted >= LEAST_PROGRESS:
                waited, counted = 0.0, exchange.received
            elif waited > fetch.timeout:
                raise explained(asyncio.TimeoutError(), exchange.link, exchange.proxy, sent=True)
            take(piece)
            since = loop.time()  # What the sink takes its time for is no silence of the server's.
    return head


def _head(response: aiohttp.ClientResponse) -> Response:
    return Response(
        response.status, {name.lower(): value for name, value in response.headers.items()}, b"", time.time()
    )
