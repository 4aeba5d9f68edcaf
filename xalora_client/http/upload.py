"""Uploads with progress, from memory or a file, and other requests whose answers are files or short."""

from __future__ import annotations

import asyncio
import io
import math
import os
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ..errors import NetworkError, XaloraError
from ..protocol.requests import Response
from ..protocol.urls import Link
from .error_mapping import map_error
from .proxies import proxy_for
from .ssrf import Resolver
from .transport import Exchange, HttpTransport, head_of, read_body
from .version import USER_AGENT

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
        body: bytes | Path | None = None,
        on_sent: Callable[[int, int], object] | None = None,
        *,
        largest: int | None = None,
        silence: float | None = None,
        seconds: float = math.inf,
    ) -> Response:
        """Send a request and return the answer, whatever its status. Redirects are not followed.

        Args:
            method: The HTTP method.
            url: The address.
            headers: More headers to send.
            body: What to send, or the file that has it.
            on_sent: ``on_sent(sent, total)`` is called as the body goes out.
            largest: The most bytes that an answer of 2xx may have; a larger one is a ResponseError. Every other body,
                and with None every body, is cut at 64 KiB.
            silence: The longest time in seconds in which nothing moves, 30 if None.
            seconds: The longest time for the whole request.

        Raises:
            NetworkError: No complete answer came back in that time.
            OSError: The file cannot be read.
        """
        silence = SILENCE if silence is None else silence
        try:
            link = Link.parse(url)
        except ValueError as error:
            raise NetworkError(f"No request was sent: {error}", sent="no", transient=False) from None
        proxy = proxy_for(link)
        sending = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
        trusted = await self._trusted_for(link, proxy)
        async with _opened(body or b"") as progress, Exchange(link, proxy, Resolver(), trusted) as exchange:
            if body is not None:
                sending["Content-Length"] = str(progress.total)

            async def exchanged() -> Response:
                data = progress.chunks() if body is not None else None
                head = head_of(await exchange.ask(method, sending, data, silence=silence))
                return replace(head, body=await read_body(exchange, largest if 200 <= head.status < 300 else None))

            task = asyncio.ensure_future(exchanged())
            display_url, moved = 0, 0
            begun = since = time.monotonic()
            try:
                while not task.done():
                    await asyncio.wait({task}, timeout=BETWEEN_LOOKS)
                    now = time.monotonic()
                    if progress.sent > display_url:
                        display_url = progress.sent
                        if on_sent is not None:  # From here, because what it raises must end the upload.
                            on_sent(display_url, progress.total)
                    if progress.sent + exchange.received > moved:
                        moved, since = progress.sent + exchange.received, now
                    # The socket's own timeout counts what is received; a connection may also die while it sends.
                    if not task.done() and (now - since > silence + 15 or now - begun > seconds):
                        raise map_error(asyncio.TimeoutError(), link, proxy, sent=exchange.sent)
                return task.result()
            except NetworkError:
                if progress.failure is not None:  # To aiohttp, it is one of the connection.
                    raise progress.failure from None
                raise
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


@asynccontextmanager
async def _opened(body: bytes | Path) -> AsyncIterator[_Sent]:
    if isinstance(body, bytes):
        yield _Sent(io.BytesIO(body), len(body))
        return
    with await asyncio.to_thread(body.open, "rb") as file:
        yield _Sent(file, os.fstat(file.fileno()).st_size)


class _Sent:
    """A body in chunks, and how much of it the connection has taken. ``failure`` is that of reading its file."""

    def __init__(self, file: BinaryIO, total: int) -> None:
        self._file = file
        self.total = total
        self.sent = 0
        self.failure: OSError | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        in_memory = isinstance(self._file, io.BytesIO)
        try:
            while chunk := self._file.read(CHUNK) if in_memory else await asyncio.to_thread(self._file.read, CHUNK):
                yield chunk
                self.sent += len(chunk)  # It is asked for more once the connection has room again.
        except OSError as error:
            self.failure = error
            raise
