"""The transport over aiohttp."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import aiohttp

from ..engine.effects import Fetch
from ..errors import NetworkError, RequestTimeoutError
from ..protocol.requests import Request, Response
from .environment import (
    CERTIFICATE_ADVICE,
    CHUNK,
    CONNECT_TIMEOUT,
    FETCH_HEADERS,
    LONGEST_ERROR_PAGE,
    SEND_HEADERS,
    answer,
    proxy_for,
    ssl_context,
    unsigned,
)


class AiohttpTransport:
    """Keeps one session, made at the first request because it belongs to the loop that is running then."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._ssl: ssl.SSLContext | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    def _authorities(self, url: str) -> ssl.SSLContext | bool:
        """What a server's certificate is checked against; made once, at the first request that needs it."""
        if self._ssl is None and url.lower().startswith("https:"):
            self._ssl = ssl_context()
        return self._ssl or True

    async def send(self, request: Request, timeout: float) -> Response:
        """POST the request, without following redirects: they would carry the key to another host."""
        authorities = self._authorities(request.url)
        with _network_errors(request.url):
            async with self._open().post(
                request.url,
                data=request.content(),
                headers=SEND_HEADERS,
                timeout=aiohttp.ClientTimeout(total=timeout, connect=min(timeout, CONNECT_TIMEOUT)),
                allow_redirects=False,
                proxy=proxy_for(request.url),
                ssl=authorities,
            ) as response:
                return answer(response.status, response.headers.items(), await response.read())

    async def fetch(self, fetch: Fetch) -> Response:
        """GET a file into its sink. What the sink raises goes through unchanged."""
        authorities = self._authorities(fetch.url)
        with _network_errors(fetch.url):
            response = await self._open().get(
                fetch.url,
                headers=FETCH_HEADERS | dict(fetch.headers),
                timeout=aiohttp.ClientTimeout(connect=CONNECT_TIMEOUT, sock_read=fetch.timeout),
                allow_redirects=False,
                proxy=proxy_for(fetch.url),
                ssl=authorities,
            )
        async with response:
            head = answer(response.status, response.headers.items(), b"")
            take = fetch.sink(head.status, head.headers)
            while chunk := await _next_chunk(response, CHUNK if take else LONGEST_ERROR_PAGE, fetch.url):
                if take is None:
                    return replace(head, body=chunk)
                take(chunk)
            return head

    async def close(self) -> None:
        """Let the connections go."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


async def _next_chunk(response: aiohttp.ClientResponse, size: int, url: str) -> bytes:
    with _network_errors(url):
        return await response.content.read(size)


@contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Turn what aiohttp raises into our errors, telling whether the request can have reached the server."""
    shown = unsigned(url, url)
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise RequestTimeoutError(f"No connection to {shown} in time", never_sent=True) from error
    except asyncio.TimeoutError as error:
        raise RequestTimeoutError(f"No answer from {shown} in time") from error
    except aiohttp.ClientSSLError as error:
        raise NetworkError(
            f"No secure connection to {shown}: {error}",
            never_sent=True,
            lasting=isinstance(error, aiohttp.ClientConnectorCertificateError),
            advice=CERTIFICATE_ADVICE,
        ) from error
    except aiohttp.ClientHttpProxyError as error:  # Its text holds the proxy's address, with its password.
        refusal = f"the proxy answered {error.status} {error.message}"
        raise NetworkError(f"No answer from {shown}: {refusal}", never_sent=True) from None
    except aiohttp.ClientConnectorError as error:
        raise NetworkError(f"No answer from {shown}: {error}", never_sent=True) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NetworkError(f"No answer from {shown}: {unsigned(error, url)}") from error
