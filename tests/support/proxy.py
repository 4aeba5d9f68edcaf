"""A forward proxy for tests: plain requests in absolute form and CONNECT tunnels, over loopback."""

from __future__ import annotations

import http.client
import socket
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.support.loopback import HandlerBase, LoopbackServer
from tests.support.processes import readable

PATIENCE = 20.0
_OF_THE_CONNECTION = {"connection", "proxy-connection", "proxy-authorization", "keep-alive", "te", "host"}


class Proxy(LoopbackServer):
    """``seen`` holds (method, target, headers) of each request; ``refusal`` answers all with that status."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.refusal: int | None = None
        super().__init__(_Handler)
        self.address = f"127.0.0.1:{self.port}"

    def targets(self) -> list[tuple[str, str]]:
        return [(method, target) for method, target, _ in self.seen]


class _Handler(HandlerBase, BaseHTTPRequestHandler):
    owner: Proxy

    def note(self) -> bool:
        """Remember the request; answer it here where the proxy refuses everything."""
        self.owner.seen.append((self.command, self.path, self.lower_headers()))
        if self.owner.refusal is None:
            return True
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(self.owner.refusal)
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
            while ready := readable(list(ends), PATIENCE):
                for each in ready:
                    data = each.recv(65536)
                    if not data:
                        return
                    ends[each].sendall(data)
