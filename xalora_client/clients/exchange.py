"""One request and its answer, over a connection of its own.

No connection is used twice: what lies on an idle one is no answer to the next request, and a create must never be
sent into a connection that is just being closed.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from ..protocol.links import Link
from .addresses import Resolver
from .content_coding import PIECE, Decoder
from .network_errors import FAILURES, explained, reached

CONNECT_TIMEOUT = 15.0
"""Seconds to make a connection. Well under a request's own timeout, so that "never connected" can be told apart."""


class Exchange:
    """Use it with ``async with``. ``sent`` says that a connection was made, so that the request may have arrived.

    ``received`` counts the bytes of the answer's body as they came in.
    """

    def __init__(self, link: Link, proxy: Link | None, resolver: Resolver, trusted: ssl.SSLContext | bool) -> None:
        self.link = link
        self.proxy = proxy
        self.received = 0
        self._trusted = trusted
        self._connector = _OneConnection(resolver)
        self._session = aiohttp.ClientSession(
            connector=self._connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        self._response: aiohttp.ClientResponse | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def sent(self) -> bool:
        """Whether a connection was made, through the proxy if there is one, so that the request may have arrived."""
        return self._connector.transport is not None

    async def __aenter__(self) -> Exchange:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._response is not None:
            self._response.close()
        if self._connector.transport is not None:
            # Saying goodbye in TLS takes two; nobody waits for a server that does not.
            self._connector.transport.abort()
        if kind is not GeneratorExit:
            await self._session.close()
            return
        with suppress(RuntimeError):  # A coroutine that is dropped may wait for nothing; and the loop may be gone.
            loop = asyncio.get_running_loop()
            self._closing = loop.create_task(self._session.close())

    async def ask(
        self, method: str, headers: dict[str, str], data: bytes | None = None, silence: float | None = None
    ) -> aiohttp.ClientResponse:
        """Send the request; returns when the answer's headers are there. Redirects are not followed.

        ``silence`` is the longest time in seconds without a byte. Raises NetworkError.
        """
        link = self.link
        if link.authorization is not None:
            headers = headers | {"Authorization": link.authorization}
        to_proxy: dict[str, str] = {}
        if self.proxy is not None and self.proxy.authorization is not None:
            to_proxy = {"Proxy-Authorization": self.proxy.authorization}
            if link.scheme == "http":  # Such a request goes to the proxy itself, not through a tunnel.
                headers = headers | to_proxy
        with self._explained():
            self._response = await self._session.request(
                method,
                _as_it_is(link),
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=CONNECT_TIMEOUT, sock_read=silence, ceil_threshold=math.inf
                ),
                allow_redirects=False,
                proxy=None if self.proxy is None else URL(self.proxy.origin),
                proxy_headers=to_proxy,
                ssl=self._trusted,
            )
        return self._response

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The answer's body, unpacked, in pieces of at most 64 KiB. Raises NetworkError."""
        assert self._response is not None  # noqa: S101 - asked before
        with self._explained():
            decoder = Decoder(self._response.headers.get("Content-Encoding", ""))
            while data := await self._response.content.read(PIECE):
                self.received += len(data)
                for piece in decoder.feed(data):
                    yield piece
            decoder.end()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            # Not chained: aiohttp's words show whole addresses, proxy passwords and whatever came back.
            raise explained(error, self.link, self.proxy, sent=self.sent) from None


class _OneConnection(aiohttp.TCPConnector):
    """A connector for one request, which keeps hold of the connection it made."""

    def __init__(self, resolver: Resolver) -> None:
        super().__init__(resolver=resolver, use_dns_cache=False, force_close=True)
        self.transport: asyncio.Transport | None = None

    async def connect(self, req: Any, *args: Any, **kwargs: Any) -> Any:
        """Connect, through a proxy's tunnel and TLS where they are needed: then the request is sent at once."""
        connection = await super().connect(req, *args, **kwargs)
        self.transport = connection.transport
        reached((req.proxy or req.url).host)
        return connection


def _as_it_is(link: Link) -> URL:
    """The address for aiohttp. Its whole target goes as the path, for that is sent as it is: an empty query as well."""
    port = None if link.port == URL.build(scheme=link.scheme, host="x").port else link.port
    return URL.build(scheme=link.scheme, host=link.host, port=port, path=link.target, encoded=True)
