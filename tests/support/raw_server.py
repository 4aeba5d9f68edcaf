"""A server without manners: what a test says goes over the socket, byte for byte, in both directions."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

PATIENCE = 20.0


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """A whole answer; ``content_length="5"`` is that header."""
    fields = {"Content-Length": str(len(body))} | {name.replace("_", "-").title(): v for name, v in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


class RawServer:
    """Hands each connection to ``serve``, which sends what it yields. ``requests`` holds what came in, as it came.

    ``serve`` gets the request, or None before one was read where ``eager`` says so.
    """

    def __init__(self, serve: Callable[[bytes], Iterator[bytes]], *, eager: bytes = b"") -> None:
        self.serve = serve
        self.eager = eager
        self.requests: list[bytes] = []
        self.connections = 0
        self.sent = 0
        self.closed = threading.Event()
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            connection.sendall(self.eager)
            request = _read(connection)
            if not request:
                return
            self.requests.append(request)
            for piece in self.serve(request):
                connection.sendall(piece)
                self.sent += len(piece)

    def targets(self) -> list[bytes]:
        """What was asked for: the middle of each first line."""
        return [each.split(b"\r\n")[0].removeprefix(b"GET ").removesuffix(b" HTTP/1.1") for each in self.requests]

    def close(self) -> None:
        self.closed.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def header(request: bytes, name: str) -> str | None:
    """A header of a request as it came in, or None."""
    found = re.search(rb"(?im)^" + name.encode() + rb":[ \t]*(.*?)\r$", request)
    return found[1].decode() if found else None


def _read(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(header(head + b"\r\n", "content-length") or 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
