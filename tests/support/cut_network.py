"""A network between two programs that a test can cut: a TCP forwarder on loopback."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class CutNetwork:
    """Forwards connections to the server at ``target`` until it is cut; ``url`` is its own address.

    ``freeze`` is a cut in the line: bytes stop, connections stay open and continue after ``mend``. ``tear`` also
    resets what is connected, and new connections end at once. ``freeze_within`` and ``drop_answer`` wait for a request,
    and set ``caught`` when it has come. ``passed`` counts the requests by method and path.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._whole.set()
        self._torn = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._freezes_within = self._drops_answer_of = b""
        self.caught = threading.Event()
        self.passed: Counter[str] = Counter()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def freeze(self) -> None:
        self._do(self._whole.clear)

    def tear(self) -> None:
        def tear() -> None:
            self._torn = True
            for writer in self._writers:
                writer.transport.abort()

        self._do(tear)

    def mend(self) -> None:
        def mend() -> None:
            self._torn = False
            self._whole.set()

        self._do(mend)

    def freeze_within(self, request: str) -> None:
        """Freeze in the middle of the body of the next request that begins so, such as "PUT /upload"."""
        self.caught.clear()
        self._freezes_within = request.encode()

    def drop_answer(self, request: str) -> None:
        """Pass on the next request that begins so, and end its connection in the place of the answer."""
        self.caught.clear()
        self._drops_answer_of = request.encode()

    def point_at(self, target: str) -> None:
        """Forward new connections to another address from now on."""
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)

    def close(self) -> None:
        async def close() -> None:
            self._server.close()
            await asyncio.sleep(0)  # What was just accepted has a transport then, which closes its socket.
            everything = asyncio.all_tasks() - {asyncio.current_task()}
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, change: object) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (change(), done.set()))  # type: ignore[operator]
        done.wait(10)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._torn:
            writer.transport.abort()
            return
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, onward_writer}
        self._writers |= ends
        dropping = asyncio.Event()
        try:
            await asyncio.gather(
                self._pump(self._requests(reader, dropping), onward_writer),
                self._pump(self._answers(onward_reader, dropping), writer),
            )
        except asyncio.CancelledError:
            pass  # By ``close``. Python 3.11 complains about connections whose task ends as canceled.
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, dropping: asyncio.Event) -> AsyncIterator[bytes]:
        is_within = False
        while data := await reader.read(65536):
            if head := re.match(rb"[A-Z]+ /[^ ?]*", data):
                self.passed[head[0].decode("latin-1")] += 1
            if self._drops_answer_of and data.startswith(self._drops_answer_of):
                self._drops_answer_of = b""
                dropping.set()
            body = 0
            if self._freezes_within and data.startswith(self._freezes_within):
                self._freezes_within, is_within = b"", True
                body = data.index(b"\r\n\r\n") + 4
            if is_within and body < len(data):
                is_within = False
                middle = body + (len(data) - body) // 2
                yield data[:middle]
                data = data[middle:]
                self._whole.clear()
                self.caught.set()
            yield data

    async def _answers(self, reader: asyncio.StreamReader, dropping: asyncio.Event) -> AsyncIterator[bytes]:
        while data := await reader.read(65536):
            if dropping.is_set():
                self.caught.set()
                raise ConnectionResetError
            yield data

    async def _pump(self, source: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
        try:
            async for data in source:
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
            await self._whole.wait()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:  # The other end hears of it too, once the line is whole.
            await self._whole.wait()
            writer.transport.abort()
