"""The transport over aiohttp, which both clients use: one request, one connection, one answer.

No connection is used twice: bytes that arrive on an idle one are not the answer to the next request, and a create must
never be sent into a connection that is being closed.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import sys
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol

import aiohttp
from yarl import URL

from ..errors import DownloadError, NetworkError, ResponseError, XaloraError
from ..protocol.requests import Request, Response
from ..protocol.urls import Link
from . import USER_AGENT
from .error_mapping import FAILURES, CodingError, map_error
from .limiter import limited
from .proxies import proxy_for, ssl_context
from .ssrf import FETCH_YOURSELF, Resolver, blocked_address, is_forbidden, is_forbidden_name, is_local, literal

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

CONNECT_TIMEOUT = 15.0
"""Seconds to connect. Well under a request's own timeout, so that "never connected" can be recognized."""

UNREACHED_SECONDS = 8.0
"""Seconds for a server in one's own network that was never reached: it rather is off than slow."""

_reached: set[tuple[str, int]] = set()
"""Hosts and ports that were reached before."""

LARGEST_ANSWER = 16 * 1024 * 1024
"""The most bytes of an answer of the sequencer, encoded or decoded."""

LONGEST_ERROR_PAGE = 64 * 1024
"""Bytes of an error answer that are read: enough for its message."""

PIECE = 64 * 1024
"""The most bytes that are decoded at once: a kilobyte may decode to a gigabyte."""

LEAST_PROGRESS = 16 * 1024
"""Bytes that must arrive during a fetch's longest silence. Single bytes now and then count as silence."""


@dataclass(frozen=True)
class Fetch:
    """A file to GET. Redirects are not followed.

    Attributes:
        url: The address.
        headers: More headers to send.
        sink: ``sink(status, headers)`` is called once, when the headers are there. It returns the function that takes
            the pieces of the body, or None to get the start of the body in the Response, as for an error page.
        timeout: The longest silence in seconds, not the time for the whole download.
        sequencer: The URL of the sequencer that gave the address. Unless it is on this machine or in a private network,
            addresses there are refused with a DownloadError.
    """

    url: str
    headers: Mapping[str, str]
    sink: Callable[[int, Mapping[str, str]], Callable[[bytes], object] | None]
    timeout: float
    sequencer: str = ""


class Transport(Protocol):
    """How a client reaches servers. Redirects are not followed. It may be used on any event loop."""

    async def send(self, request: Request, timeout: float) -> Response:
        """POST a request.

        Args:
            request: The request.
            timeout: Seconds for the whole exchange.

        Returns:
            The answer, whatever its status.

        Raises:
            NetworkError: No complete answer came back.
        """

    async def fetch(self, fetch: Fetch) -> Response:
        """GET a file into its sink.

        Args:
            fetch: What to get.

        Returns:
            The answer, with an empty body where the sink took it.

        Raises:
            NetworkError: No complete answer came back.
            DownloadError: The address may not be contacted, or never can be.
        """

    async def close(self) -> None:
        """Close the connections."""


class HttpTransport:
    """Sends and fetches over HTTP/1.1, each over a connection of its own. May be used on any event loop."""

    def __init__(self) -> None:
        self._local: dict[str, bool] = {}
        self._trusted: ssl.SSLContext | None = None

    async def send(self, request: Request, timeout: float) -> Response:
        """POST the request and return the answer, all within ``timeout`` seconds.

        Redirects are not followed: they would carry the key to another host. Raises NetworkError, and ResponseError
        for an answer of more than 16 MiB.
        """
        exchange = await self._exchange(request.url)
        # Cancels go first: they are short, and stop what costs money. Long polls are only idle connections.
        urgent = request.url.endswith("/task_cancel")
        slot = nullcontext() if request.wait_seconds else limited(exchange.link.origin, urgent=urgent)
        async with exchange, exchange.within(timeout), slot:
            head = await exchange.ask("POST", SEND_HEADERS, request.content)
            return await exchange.whole(head, LARGEST_ANSWER, request.task_id)

    async def fetch(self, fetch: Fetch) -> Response:
        """GET a file into its sink. What the sink raises is raised unchanged.

        Raises NetworkError, and DownloadError for an address that may not be contacted or never can be.
        """
        try:
            link = Link.parse(fetch.url)
        except ValueError as error:
            raise DownloadError(f"The result's address cannot be used: {error}", advice=FETCH_YOURSELF) from None
        try:
            local = await self._is_local(fetch.sequencer)
            if is_forbidden_name(link.host, local):
                raise blocked_address(link.host.rstrip("."))
            proxy = proxy_for(link)
            # A proxy resolves names itself, and the user chose its address.
            resolver = Resolver() if proxy else Resolver(partial(is_forbidden, local=local), blocked_address)
            async with Exchange(link, proxy, resolver, await self._trusted_for(link, proxy)) as exchange:
                return await _fetched(exchange, fetch)
        except NetworkError as error:
            if not error.transient:
                raise DownloadError(error.what, code=error.code, advice=error.own_advice) from None
            raise

    async def close(self) -> None:
        """Do nothing: no connection stays open between requests."""

    async def _exchange(self, url: str) -> Exchange:
        """What sends one request there. Raises NetworkError for an address or a proxy setting that cannot be used."""
        try:
            link = Link.parse(url)
        except ValueError as error:
            raise NetworkError(f"No request was sent: {error}", sent="no", transient=False) from None
        proxy = proxy_for(link)
        return Exchange(link, proxy, Resolver(), await self._trusted_for(link, proxy))

    async def _trusted_for(self, link: Link, proxy: Link | None) -> ssl.SSLContext | bool:
        """What servers' certificates are checked against; read at the first request that needs it."""
        if link.scheme != "https" and (proxy is None or proxy.scheme != "https"):
            return True
        if self._trusted is None:
            self._trusted = await asyncio.to_thread(ssl_context)  # Some hundred certificates take a while.
        return self._trusted

    async def _is_local(self, sequencer: str) -> bool:
        """Whether the sequencer is on this machine or in a private network; looked up once."""
        if sequencer not in self._local:
            try:
                self._local[sequencer] = await is_local(Link.parse(sequencer))
            except (OSError, ValueError):
                return False
        return self._local[sequencer]


async def _fetched(exchange: Exchange, fetch: Fetch) -> Response:
    loop = asyncio.get_running_loop()
    async with exchange.within(CONNECT_TIMEOUT + fetch.timeout):
        head = await exchange.ask("GET", FETCH_HEADERS | dict(fetch.headers), silence=fetch.timeout)
    write = fetch.sink(head.status, head.headers)
    waited, counted, since = 0.0, 0, loop.time()
    async with aclosing(exchange.pieces()) as pieces:
        async for piece in pieces:
            if write is None:
                return replace(head, body=piece)
            waited += loop.time() - since
            if exchange.received - counted >= LEAST_PROGRESS:
                waited, counted = 0.0, exchange.received
            elif waited > fetch.timeout:
                raise exchange.mapped(asyncio.TimeoutError())
            write(piece)
            since = loop.time()  # The time the sink takes is not silence of the server.
    return head


class Exchange:
    """One request and its answer over one connection. Use it with ``async with``.

    ``received`` counts the bytes of the answer's body before decoding.
    """

    def __init__(self, link: Link, proxy: Link | None, resolver: Resolver, trusted: ssl.SSLContext | bool) -> None:
        self.link = link
        self.proxy = proxy
        self.received: int = 0
        self._trusted = trusted
        self._resolver = resolver
        self.connector = _OneConnection(resolver)
        self._session = aiohttp.ClientSession(
            connector=self.connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        self._response: aiohttp.ClientResponse | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def sent(self) -> bool:
        """Whether a connection was made, through the proxy if there is one, so that the request may have arrived."""
        return self.connector.transport is not None

    async def __aenter__(self) -> Exchange:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.connector.transport is not None:
            # A clean TLS close needs the server's answer, which may never come. Python 3.11.2 cannot abort what the
            # answer's end has closed.
            with suppress(AttributeError):
                self.connector.transport.abort()
        if self._response is not None:
            self._response.close()
        if kind is not GeneratorExit:
            await self._session.close()
            return
        with suppress(RuntimeError):  # A dropped coroutine may not await anything, and its loop may be gone.
            loop = asyncio.get_running_loop()
            self._closing = loop.create_task(self._session.close())

    async def ask(
        self,
        method: str,
        headers: dict[str, str],
        body: Callable[[], Any] | None = None,
        silence: float | None = None,
    ) -> Response:
        """Send the request. Returns the answer's status and headers when they have arrived; redirects are not followed.

        ``body`` returns what is sent. It is no variable here: tools that report errors show those, and it has the key.
        ``silence`` is the longest time in seconds without a byte. Raises NetworkError.
        """
        link = self.link
        if self.proxy is None and literal(link.host) is not None:  # aiohttp does not ask the resolver about it.
            self._resolver.check(link.host, link.host)
        if link.authorization is not None:
            headers = headers | {"Authorization": link.authorization}
        to_proxy: dict[str, str] = {}
        if self.proxy is not None and self.proxy.authorization is not None:
            to_proxy = {"Proxy-Authorization": self.proxy.authorization}
            if link.scheme == "http":  # Such a request goes to the proxy itself, without a tunnel.
                headers = headers | to_proxy
        to = self.proxy or link
        # Servers of one's own seldom have a certificate, and whatever is on the internet has.
        is_near = link.scheme == "http" or is_forbidden_name(to.host, local=False)
        is_off = is_near and (to.host, to.port) not in _reached
        with self._mapped_errors():
            self._response = await self._session.request(
                method,
                _as_it_is(link),
                data=None if body is None else body(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=UNREACHED_SECONDS if is_off else CONNECT_TIMEOUT,
                    sock_read=silence,
                    ceil_threshold=math.inf,
                ),
                allow_redirects=False,
                proxy=None if self.proxy is None else URL(self.proxy.origin),
                proxy_headers=to_proxy,
                ssl=self._trusted,
            )
        names_and_values = {name.lower(): value for name, value in self._response.headers.items()}
        return Response(self._response.status, names_and_values, b"", time.time())

    async def whole(self, head: Response, largest: int | None, task_id: str | None = None) -> Response:
        """The answer with its body.

        More than ``largest`` bytes of an answer of 2xx are a ResponseError. Every other body, and with None every body,
        is cut at 64 KiB.
        """
        if not 200 <= head.status < 300:
            largest = None
        body = bytearray()
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                body += piece
                if largest is None and len(body) >= LONGEST_ERROR_PAGE:
                    del body[LONGEST_ERROR_PAGE:]
                    break
                if largest is not None and max(len(body), self.received) > largest:
                    body.clear()  # The error's traceback holds on to it.
                    what = f"The answer of {self.link.display_url} is larger than {largest // 2**20} MiB"
                    raise ResponseError(what, task_id=task_id)
        return replace(head, body=bytes(body))

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The answer's body, decoded, in pieces of at most 64 KiB. Raises NetworkError."""
        assert self._response is not None  # noqa: S101 - asked before
        with self._mapped_errors():
            decoder = Decoder(self._response.headers.get("Content-Encoding", ""))
            while data := await self._response.content.read(PIECE):
                self.received += len(data)
                for piece in decoder.feed(data):
                    yield piece
            decoder.end()

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Raise RequestTimeoutError when the block takes longer."""
        try:
            async with time_limit(seconds):
                yield
        except XaloraError:  # RequestTimeoutError is a TimeoutError, too.
            raise
        except asyncio.TimeoutError as error:
            raise self.mapped(error) from None

    def mapped(self, error: BaseException) -> NetworkError:
        """The error to raise for one of aiohttp's. It is not chained: aiohttp's texts have addresses with passwords."""
        to = self.proxy or self.link
        return map_error(error, self.link, self.proxy, sent=self.sent, reached=(to.host, to.port) in _reached)

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            raise self.mapped(error) from None


class _OneConnection(aiohttp.TCPConnector):
    """A connector for one request, which keeps a reference to its connection."""

    def __init__(self, resolver: Resolver) -> None:
        super().__init__(resolver=resolver, use_dns_cache=False, force_close=True)
        self.transport: asyncio.Transport | None = None

    async def connect(self, req: Any, *args: Any, **kwargs: Any) -> Any:
        """Connect, through a proxy's tunnel and TLS where needed. The request is sent right after."""
        connection = await super().connect(req, *args, **kwargs)
        self.transport = connection.transport
        to = req.proxy or req.url
        _reached.add((to.host, to.port))
        return connection


def _as_it_is(link: Link) -> URL:
    """The address for aiohttp. The whole target is the path, which is sent unchanged, even with an empty query."""
    port = None if link.port == URL.build(scheme=link.scheme, host="x").port else link.port
    return URL.build(scheme=link.scheme, host=link.url_host, port=port, path=link.target, encoded=True)


class Decoder:
    """Decodes what a Content-Encoding header names. An empty one and ``identity`` leave the bytes unchanged."""

    def __init__(self, coding: str) -> None:
        self._coding = coding.strip().lower()
        if self._coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise CodingError("it is in a content coding that was not asked for")
        self._inflate: zlib._Decompress | None = None
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode these bytes, in pieces of at most 64 KiB. Raises CodingError."""
        if self._coding in ("", "identity"):
            yield data
            return
        piece = b""
        try:
            while data or len(piece) == PIECE:  # After a full piece there may be more without further input.
                if self._inflate is None:
                    if not data or (self._started and data[0] != 0x1F):
                        return  # A gzip file may have several members; after the last comes padding.
                    self._inflate = zlib.decompressobj(self._window(data[0]))
                    self._started = True
                piece = self._inflate.decompress(data, PIECE)
                data = self._inflate.unconsumed_tail
                if self._inflate.eof:
                    data, self._inflate = self._inflate.unused_data, None
                if piece:
                    yield piece
        except zlib.error:
            raise CodingError("its content coding is broken") from None

    def end(self) -> None:
        """Raise CodingError if the coding is not complete."""
        if self._inflate is not None:
            raise CodingError("it broke off in the middle of its content coding")

    def _window(self, first: int) -> int:
        if self._coding != "deflate":
            return 16 + zlib.MAX_WBITS
        return zlib.MAX_WBITS if first & 0x0F == 8 else -zlib.MAX_WBITS  # Some servers send it without the zlib header.
