"""A server made of raw sockets: on each connection it does what a case says, and notes what it was sent."""

from __future__ import annotations

import functools
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.faults.steps import (
    Answer,
    Bomb,
    Close,
    Drip,
    Endless,
    HalfClose,
    Honest,
    Raw,
    Read,
    Reply,
    Reset,
    Silence,
    Step,
    Take,
    WhenIdle,
)

PATIENCE = 4.0
"""Real seconds after which a server ends what a client should have ended."""


@dataclass
class Request:
    """One request as it came in: its line to the byte, its headers by their names in lower case, its body."""

    line: bytes
    headers: dict[str, str]
    body: bytes
    json: Any = field(default=None)

    @property
    def method(self) -> str:
        """Such as POST."""
        return self.line.split(b" ")[0].decode("latin-1")

    @property
    def target(self) -> str:
        """What was asked for, as it was sent."""
        return b" ".join(self.line.split(b" ")[1:-1]).decode("latin-1")

    @property
    def is_strangers(self) -> bool:
        """Whether another program sent it, which knows this port from whoever had it before."""
        return self.method != "CONNECT" and not self.headers.get("user-agent", "xalora").startswith("xalora")


class Script(Protocol):
    """What a server asks about what it should do."""

    def greeting(self, server: Server) -> Answer:
        """What to do on a new connection before anything is read."""

    def answer(self, server: Server, request: Request) -> Answer:
        """What to do about a request."""

    def honest(self, server: Server, request: Request) -> Reply:
        """What a server without faults answers."""

    def take(self, request: Request) -> None:
        """Create the task that the request is about."""

    def passes(self, seconds: float) -> None:
        """Let time pass on the client's clock."""

    def idle(self) -> AbstractContextManager[None]:
        """Wait until the client is idle, and afterwards let it go on."""

    def filled(self, data: bytes) -> bytes:
        """The bytes with the servers' addresses in place of their names."""


class Server:
    """Listens on a free port of 127.0.0.1 from its construction until ``close``; speaks TLS with ``context``."""

    def __init__(self, name: str, script: Script, context: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.script = script
        self.context = context
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self.listener.getsockname()[1])
        self.lock = threading.Lock()
        self.connections: set[socket.socket] = set()
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def close(self) -> None:
        """Stop listening and end every connection."""
        self.closing.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for each in self.connections:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections.add(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self.threads = [each for each in self.threads if each.is_alive()] + [thread]
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        current = connection
        try:
            with suppress(OSError, EOFError):
                greeting = self.script.greeting(self)
                if self.context is not None and not greeting:
                    with self.lock:
                        current = self.context.wrap_socket(
                            connection, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
                        )
                        self.connections.discard(connection)
                        self.connections.add(current)
                    current.settimeout(PATIENCE)
                    current.do_handshake()
                _Conversation(self, current).hold(greeting)
        finally:
            with self.lock:
                self.connections.discard(current)
            current.close()


class _Conversation:
    """What goes on over one connection."""

    def __init__(self, server: Server, connection: socket.socket) -> None:
        self.server = server
        self.script = server.script
        self.connection = connection
        self.connection.settimeout(PATIENCE)
        self.unread = b""
        self.ended = False
        self.until = time.monotonic() + PATIENCE

    def hold(self, greeting: Answer) -> None:
        """Do the greeting, then answer request after request."""
        self._do(greeting, None)
        while not self.ended:
            request = self._read_request()
            if request.is_strangers:
                return
            self.until = time.monotonic() + PATIENCE
            self.server.requests.append(request)
            self._do(self.script.answer(self.server, request), request)
            if request.headers.get("connection", "").lower() == "close":
                return

    def _do(self, answer: Answer, request: Request | None) -> None:
        for step in answer if isinstance(answer, tuple) else (answer,):
            if not self.ended:
                self._step(step, request)

    def _step(self, step: Step, request: Request | None) -> None:
        match step:
            case Raw(data):
                self._send(self.script.filled(data))
            case Reply():
                self._send(rendered(step, self.script.filled))
            case Honest() if request is not None:
                self._send(rendered(self.script.honest(self.server, request), self.script.filled))
            case Take() if request is not None:
                self.script.take(request)
            case Drip(data, pause, passes):
                self._drip(self.script.filled(data), pause, passes)
            case Endless(head, piece, most):
                self._send(head)
                for _ in range(most // len(piece)):
                    self._send(piece)
                self.ended = True
            case Bomb(status, coding, size):
                headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
                self._send(rendered(Reply(status, packed(coding, size), headers), bytes))
            case Silence(passes):
                self.script.passes(passes)
                self._wait_for_the_end()
            case WhenIdle(data):
                with self.script.idle():
                    self._send(data) if data else self.connection.close()
            case Read():
                if not self.connection.recv(65536):
                    raise EOFError
            case HalfClose():
                self.connection.shutdown(socket.SHUT_WR)
            case Close():
                self.ended = True
            case Reset():
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.ended = True

    def _send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def _drip(self, data: bytes, pause: float, passes: float) -> None:
        for index in range(len(data)):
            self._send(data[index : index + 1])
            self.script.passes(passes)
            if self._is_over(pause):
                raise EOFError

    def _wait_for_the_end(self) -> None:
        while not self._is_over(0.5):
            pass
        raise EOFError

    def _is_over(self, seconds: float) -> bool:
        """Whether the client went, or patience ended, within so many seconds."""
        self.connection.settimeout(seconds)
        try:
            if not self.connection.recv(65536):
                return True
        except TimeoutError:
            self.connection.settimeout(PATIENCE)
        return self.server.closing.is_set() or time.monotonic() > self.until

    def _read_request(self) -> Request:
        while b"\r\n\r\n" not in self.unread:
            self._read()
        head, _, self.unread = self.unread.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        pairs = (each.decode("latin-1").partition(":") for each in fields)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = self._chunks() if "chunked" in headers.get("transfer-encoding", "") else b""
        length = int(headers.get("content-length", "0"))
        while len(self.unread) < length:
            self._read()
        body, self.unread = body or self.unread[:length], self.unread[length:]
        request = Request(line, headers, body)
        with suppress(ValueError):
            request.json = json.loads(body)
        return request

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self.unread:
                self._read()
            size, _, self.unread = self.unread.partition(b"\r\n")
            length = int(size, 16)
            while len(self.unread) < length + 2:
                self._read()
            body, self.unread = body + self.unread[:length], self.unread[length + 2 :]
            if not length:
                return body

    def _read(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        self.unread += data


def rendered(reply: Reply, filled: Callable[[bytes], bytes]) -> bytes:
    """The answer's bytes."""
    body = filled(reply.content())
    headers = {"Content-Length": str(len(body)), **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} {reply.reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return filled("\r\n".join(lines).encode("utf-8", "surrogateescape")) + b"\r\n\r\n" + body


@functools.lru_cache(maxsize=8)
def packed(coding: str, size: int) -> bytes:
    """So many zeros, packed as "gzip" or "deflate": one block that stands for a MiB, again and again."""
    block = b"\0" * 2**20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    body = piece * (size // len(block)) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    if coding == "deflate":
        return b"\x78\x9c" + body + b"\0\0\0\0"  # Whoever got as far as the checksum took it all.
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + struct.pack("<II", 0, size % 2**32)
