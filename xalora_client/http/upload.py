"""Requests of any method: uploads with progress, from memory or a file, and answers of any size."""

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
from pathlib import Path
from typing import BinaryIO

from ..errors import NetworkError, XaloraError
from ..protocol.requests import Response
from . import USER_AGENT
from .transport import LEAST_PROGRESS, HttpTransport

SILENCE = 30.0
"""The longest time in seconds in which nothing is sent or received."""

CHUNK = 64 * 1024
"""Bytes that are sent at once. A connection that takes longer than SILENCE and a little for them counts as dead."""

CHECK_SECONDS = 0.1
"""How often it is checked how much has been sent."""


class WebTransport(HttpTransport):
    """The transport, with requests of any method, whose bodies may be files."""

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
            silence: The longest time in seconds in which nothing moves, 30 if None. Less than 16 KiB is nothing.
            seconds: The longest time for the whole request.

        Raises:
            NetworkError: No complete answer came back in that time.
            OSError: The file cannot be read.
        """
        silence = SILENCE if silence is None else silence
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
        async with await self._exchange(url) as exchange, _opened(body or b"") as upload:
            if body is not None:
                headers["Content-Length"] = str(upload.total)

            async def answer() -> Response:
                head = await exchange.ask(method, headers, None if body is None else upload.chunks, silence=silence)
                return await exchange.whole(head, largest)

            task = asyncio.ensure_future(answer())
            reported, moved = 0, 0
            started = since = time.monotonic()
            try:
                while not task.done():
                    await asyncio.wait({task}, timeout=CHECK_SECONDS)
                    now = time.monotonic()
                    if upload.sent > reported:
                        reported = upload.sent
                        if on_sent is not None:  # From here, because what it raises must end the upload.
                            on_sent(reported, upload.total)
                    if upload.sent + exchange.received >= moved + LEAST_PROGRESS:
                        moved, since = upload.sent + exchange.received, now
                    # The socket's own timeout counts what is received; a connection may also die while it sends.
                    if not task.done() and (now - since > silence + 15 or now - started > seconds):
                        raise exchange.mapped(asyncio.TimeoutError())
                return task.result()
            except NetworkError:
                if upload.read_error is not None:  # To aiohttp, it is one of the connection.
                    raise upload.read_error from None
                raise
            finally:
                if not task.done():
                    _forget_unsent(exchange.connector.transport)
                    task.cancel()
                    with suppress(asyncio.CancelledError, XaloraError):
                        await task


def _forget_unsent(transport: asyncio.Transport | None) -> None:
    """Have the system drop what it has not sent yet. It would still send it after the close."""
    plain = None if transport is None else transport.get_extra_info("socket")
    if plain is not None:
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        with suppress(OSError):  # The connection may just have been lost.
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


@asynccontextmanager
async def _opened(body: bytes | Path) -> AsyncIterator[_Upload]:
    if isinstance(body, bytes):
        yield _Upload(io.BytesIO(body), len(body))
        return
    with await asyncio.to_thread(body.open, "rb") as file:
        yield _Upload(file, os.fstat(file.fileno()).st_size)


class _Upload:
    """A body in chunks, and how much of it the connection has accepted. ``read_error`` is that of reading its file."""

    def __init__(self, file: BinaryIO, total: int) -> None:
        self._file = file
        self.total = total
        self.sent = 0
        self.read_error: OSError | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        in_memory = isinstance(self._file, io.BytesIO)
        try:
            while chunk := self._file.read(CHUNK) if in_memory else await asyncio.to_thread(self._file.read, CHUNK):
                yield chunk
                self.sent += len(chunk)  # The next chunk is asked for once the connection has room again.
        except OSError as error:
            self.read_error = error
            raise
