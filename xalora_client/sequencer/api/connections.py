"""The connections of a server that strangers can reach: how many there may be, and how long one may be silent.

aiohttp waits without end for the first request of a connection. Here a connection is expendable until its request has
arrived whole, again while its answer is not read, and once that was sent. Where there are too many, the oldest
expendable one is closed, so that those who only hold connections open hold up nobody.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

logger = logging.getLogger("xalora_client.sequencer")

REQUEST_SECONDS = 15.0
"""How long a new connection may take until the headers of its first request are there."""

IDLE_SECONDS = 30.0
"""How long a connection may be silent between two requests."""

BACKLOG = 1024
ACCEPTED_AT_ONCE = 32
READ_OF_STRANGERS, READ_OF_OTHERS = 8 * 2**10, 256 * 2**10
"""Bytes that are read in one go. Those of a stranger may be many tiny things, each of which takes its time."""


MOST = 20_000
FILES_OF_EACH, FILES_BESIDES = 2, 256
"""A connection may have a file that is sent beside its socket."""

MOST_OF_ADDRESS = 512
"""The most connections of one address. This machine itself may have all."""

READER_SECONDS = 60.0
"""How long some 48 KiB of an answer may take until its reader has taken them."""

SECONDS_BETWEEN_WARNINGS = 60.0


class Connections:
    """The open connections of a server. ``most`` is how many there may be."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()
        self._expendable: dict[str, dict[Connection, None]] = {}
        self._warned = -SECONDS_BETWEEN_WARNINGS

    def admit(self, connection: Connection) -> bool:
        """Count a new connection. False when there is no room for it."""
        address = connection.address
        if self._open[address] >= (self._most if _is_loopback(address) else MOST_OF_ADDRESS):
            self._warn(f"{address} has {self._open[address]} connections")
            crowd = address
        elif self._open.total() >= self._most:
            self._warn(f"{self._open.total()} connections are open")
            # Whoever has the most expendable ones gives one up.
            crowd = max(self._expendable, key=lambda other: len(self._expendable[other]), default=address)
        else:
            crowd = None
        if crowd is not None:
            expendable = self._expendable.get(crowd)
            if not expendable:
                return False
            next(iter(expendable)).abort()
        self._open[address] += 1
        self.set_expendable(connection, True)
        return True

    def set_expendable(self, connection: Connection, is_expendable: bool) -> None:
        """Say whether a connection may be closed to make room."""
        address = connection.address
        if is_expendable:
            self._expendable.setdefault(address, {})[connection] = None
        elif (others := self._expendable.get(address)) is not None:
            others.pop(connection, None)
            if not others:
                del self._expendable[address]

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.set_expendable(connection, False)
        self._open[connection.address] -= 1
        if not self._open[connection.address]:
            del self._open[connection.address]

    def _warn(self, what: str) -> None:
        if time.monotonic() - self._warned >= SECONDS_BETWEEN_WARNINGS:
            self._warned = time.monotonic()
            logger.warning("%s; the oldest that wait for nothing are closed, the others are refused", what)


class Connection(asyncio.Protocol):
    """One connection: from its first byte on, it passes everything on to what ``new_protocol`` makes, aiohttp's."""

    def __init__(self, connections: Connections, new_protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self.address: str = ""
        self._connections = connections
        self._new_protocol = new_protocol
        self._inner: Any = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_admitted = False
        self._is_refused = False
        self._is_answering = False
        self._stalled: asyncio.TimerHandle | None = None
        self.slot: asyncio.Semaphore | None = None
        """What its request keeps others from, until it was answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._is_admitted = self._connections.admit(self)
        if not self._is_admitted:
            self._transport.abort()
            return
        self._read_at_once(READ_OF_STRANGERS)
        self._timer = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self.abort)

    def connection_lost(self, error: BaseException | None) -> None:
        if not self._is_admitted:
            return
        self._stop_timer()
        self._end_stall()
        self._release_slot()
        self._connections.forget(self)
        self._is_admitted = False
        if self._inner is not None:
            self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if not self._is_admitted or self._is_refused:
            return
        if self._inner is None:
            self._inner = self._new_protocol()
            self._inner.connection_made(self._transport)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else cast("bool | None", self._inner.eof_received())

    def pause_writing(self) -> None:
        # Who does not read an answer must not be in the way of others, nor stay forever.
        self._connections.set_expendable(self, True)
        self._stalled = asyncio.get_running_loop().call_later(READER_SECONDS, self.abort)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._end_stall()
        self._connections.set_expendable(self, not self._is_answering)
        self._inner.resume_writing()

    def abort(self) -> None:
        """Close it at once."""
        self._connections.set_expendable(self, False)
        if self._transport is not None:
            self._transport.abort()

    def begin(self) -> None:
        """The headers of a request are there."""
        self._stop_timer()

    def trust(self) -> None:
        """Its sender has a key."""
        self._read_at_once(READ_OF_OTHERS)

    def answer(self) -> None:
        """The whole request is there, and is being answered."""
        self._is_answering = True
        self._connections.set_expendable(self, False)

    def refuse(self) -> None:
        """The rest of the request does not matter: it is not read, so that its sender gets the answer."""
        self._is_refused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def end(self) -> None:
        """The answer was sent."""
        self._is_answering = False
        self._release_slot()
        if self._is_admitted:
            self._connections.set_expendable(self, True)

    def _release_slot(self) -> None:
        if self.slot is not None:
            self.slot.release()
            self.slot = None

    def _read_at_once(self, size: int) -> None:
        transport: Any = self._transport
        if hasattr(transport, "max_size"):  # asyncio's own transports on Unix have it.
            transport.max_size = size

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def connection_of(request: web.BaseRequest) -> Connection | None:
    """The connection that a request came by; None where it has ended, or is not one of ours."""
    protocol = None if request.transport is None else request.transport.get_protocol()
    return protocol if isinstance(protocol, Connection) else None


def trust(request: web.BaseRequest) -> None:
    """The sender of this request has shown a key or a token."""
    if (connection := connection_of(request)) is not None:
        connection.trust()


class AnswersSent(AbstractAccessLogger):
    """Logs nothing: aiohttp calls an access logger when an answer was sent, which it tells in no other way."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        connection = connection_of(request)
        if connection is not None:
            connection.end()


class Site(web.BaseSite):
    """Listens at an address, with ``Connections`` before aiohttp's server."""

    def __init__(self, runner: web.BaseRunner, host: str, port: int, connections: Connections) -> None:
        super().__init__(runner)
        self._host = host
        self._port = port
        self._connections = connections

    @property
    def name(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        assert server is not None  # noqa: S101 - the runner is set up
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._connections, server), self._host, self._port, backlog=ACCEPTED_AT_ONCE
        )
        for listening in self._server.sockets:
            # To asyncio, that number is also how many are accepted in one go, which must not be many.
            with socket.socket(fileno=os.dup(listening.fileno())) as same:
                same.listen(BACKLOG)


def most_connections() -> int:
    """How many connections there may be: some of the files that this process may open are for other things."""
    if sys.platform == "win32":
        return MOST
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if limit == resource.RLIM_INFINITY else max(64, min(MOST, (limit - FILES_BESIDES) // FILES_OF_EACH))


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it, up to what ``MOST`` connections need."""
    if sys.platform != "win32":
        import resource

        limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST * FILES_OF_EACH + FILES_BESIDES
        wanted = wanted if most == resource.RLIM_INFINITY else min(most, wanted)
        if limit != resource.RLIM_INFINITY and limit < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
