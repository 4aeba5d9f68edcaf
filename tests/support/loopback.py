"""What the tests' own HTTP servers have in common: loopback, a thread each, and silence about clients that go away."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def deaf_url() -> Iterator[str]:
    """An http:// address where nobody listens for as long as the context lasts."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


@contextmanager
def full_url() -> Iterator[str]:
    """An http:// address whose listener has a full queue: it lets nobody in, and turns nobody away."""
    with ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class HandlerBase:
    """To be mixed into the request handler of a ``LoopbackServer``, which is ``owner``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    headers: Message
    owner: Any

    def lower_headers(self) -> dict[str, str]:
        """The request's headers by their names in lower case."""
        return {name.lower(): value for name, value in self.headers.items()}

    def log_message(self, *_: object) -> None:
        """Write no access log."""


class LoopbackServer:
    """Serves on a free port of 127.0.0.1 from its construction until ``close``."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.server = _Server(("127.0.0.1", 0), type("BoundHandler", (handler,), {"owner": self}))
        self.port = int(self.server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop serving. A second call does nothing."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # Beyond, a client waits a second before it tries to connect again.

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors of the test's own; clients that go away in the middle are what is tested."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
