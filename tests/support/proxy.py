"""A forward proxy for tests: plain requests in absolute form and CONNECT tunnels, over loopback."""

from __future__ import annotations

import http.client
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 20.0
_OF_THE_CONNECTION = {"connection", "proxy-connection", "proxy-authorization", "keep-alive", "te", "host"}


class Proxy:
    """``seen`` holds (method, target, headers) of each request; ``refusal`` answers all with that status."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.refusal: int | None = None
        outer = self

        class Handler(_Handler):
            proxy = outer

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.address}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def targets(self) -> list[tuple[str, str]]:
        return [(method, target) for method, target, _ in self.seen]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client goes away in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def note(self) -> bool:
        """Remember the request; answer it here where the proxy refuses everything."""
        self.proxy.seen.append((self.command, self.path, {n.lower(): v for n, v in self.headers.items()}))
        if self.proxy.refusal is None:
            return True
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(self.proxy.refusal)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_GET(self) -> None:
        self.pass_on()

    def do_POST(self) -> None:
        self.pass_on()

    def pass_on(self) -> None:
        if not self.note():
            return
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        connection = http.client.HTTPConnection(target.netloc, timeout=PATIENCE)
        try:
            connection.request(self.command, target.path or "/", body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_CONNECT(self) -> None:
        if not self.note():
            return
        host, _, port = self.path.rpartition(":")
        self.close_connection = True
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as server:
            self.send_response(200, "Connection established")
            self.end_headers()
            ends = {self.connection: server, server: self.connection}
            while ready := select.select(list(ends), [], [], PATIENCE)[0]:
                for each in ready:
                    data = each.recv(65536)
                    if not data:
                        return
                    ends[each].sendall(data)

    def log_message(self, *_: object) -> None:
        pass
