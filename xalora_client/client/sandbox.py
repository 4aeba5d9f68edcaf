"""Requests to the local sandbox. It ends with the program that started it; the next request starts it again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from ..errors import NetworkError
from ..http.transport import Fetch, Transport
from ..protocol.requests import Request, Response
from ..sequencer import local_sandbox


class SandboxTransport:
    """Another transport, with a sandbox for this folder behind it."""

    def __init__(self, transport: Transport, folder: Path) -> None:
        self._transport = transport
        self._folder = folder

    async def start(self) -> str:
        """Start the sandbox where none runs. Returns its address, which is that of the last one if it is free."""
        return await asyncio.to_thread(local_sandbox, self._folder)

    async def send(self, request: Request, timeout: float) -> Response:
        """POST a request, as Transport does."""
        return await self._again(lambda: self._transport.send(request, timeout))

    async def fetch(self, fetch: Fetch) -> Response:
        """GET a file, as Transport does."""
        return await self._again(lambda: self._transport.fetch(fetch))

    async def close(self) -> None:
        """Close the connections. The sandbox goes on."""
        await self._transport.close()

    async def _again(self, attempt: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await attempt()
        except NetworkError as error:
            if error.sent != "no":
                raise
        await self.start()
        return await attempt()
