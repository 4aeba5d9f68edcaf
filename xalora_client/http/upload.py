"""HTTP for uploads: requests with progress, and the short requests around them."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace

from ..errors import NetworkError, XaloraError
from ..protocol.requests import Link, Response
from ..version import USER_AGENT
from .error_mapping import map_error
from .proxies import proxy_for
from .ssrf import Resolver
from .transport import LONGEST_ERROR_PAGE, Exchange, HttpTransport, head_of

SILENCE = 30.0
"""The longest time in seconds in which nothing is sent or received."""

CHUNK = 64 * 1024
"""At a time: a line that takes longer than SILENCE and a little for it counts as dead."""

BETWEEN_LOOKS = 0.1
"""Seconds between two looks at how much has been sent."""


class WebTransport(HttpTransport):
    """The transport, with other methods than POST."""

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        on_sent: Callable[[int, int], object] | None = None,
    ) -> Response:
        """Send a request and return the answer, whatever its status, with at most 64 KiB of its body.

        ``on_sent(sent, total)`` is called as the body goes out. Redirects are not followed. Raises NetworkError, also
        when nothing moves for half a minute.
        """
        try:
            link = Link.parse(url)
        except ValueError as error:
            raise NetworkError(f"No request was sent: {error}", sent="no", transient=False) from None
        proxy = proxy_for(link)
        sending = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
        progress = _Sent(body or b"")
        if body is not None:
            sending["Content-Length"] = str(len(body))
        async with Exchange(link, proxy, Resolver(), await self._trusted_for(link, proxy)) as exchange:

            async def exchanged() -> Response:
                data = progress.chunks() if body is not None else None
                head = head_of(await exchange.ask(method, sending, data, silence=SILENCE))
                start = bytearray()
                async with aclosing(exchange.pieces()) as pieces:
                    async for piece in pieces:
                        start += piece
                        if len(start) >= LONGEST_ERROR_PAGE:
                            break
                return replace(head, body=bytes(start))

            task = asyncio.ensure_future(exchanged())
            shown, since = 0, time.monotonic()
            try:
                while not task.done():
                    await asyncio.wait({task}, timeout=BETWEEN_LOOKS)
                    if progress.sent > shown:
                        shown, since = progress.sent, time.monotonic()
                        if on_sent is not None:  # From here, because what it raises must end the upload.
                            on_sent(shown, progress.total)
                    elif not task.done() and time.monotonic() - since > SILENCE + 15:
                        # The socket's own timeout counts what is received; a connection may also die while it sends.
                        raise map_error(asyncio.TimeoutError(), link, proxy, sent=exchange.sent)
                return task.result()
            finally:
                if not task.done():
                    _forget_unsent(exchange.connector.transport)
                    task.cancel()
                    with suppress(asyncio.CancelledError, XaloraError):
                        await task


def _forget_unsent(transport: asyncio.Transport | None) -> None:
    """Have the system forget what it has not sent yet: it would go on sending after the close."""
    plain = None if transport is None else transport.get_extra_info("socket")
    if plain is not None:
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        with suppress(OSError):  # The connection may just have been lost.
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class _Sent:
    """A body in chunks, and how much of it the connection has taken."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self.total = len(body)
        self.sent = 0

    async def chunks(self) -> AsyncIterator[memoryview]:
        for start in range(0, self.total, CHUNK):
            chunk = self._body[start : start + CHUNK]
            yield chunk
            self.sent = start + len(chunk)  # It is asked for more once the connection has room again.
