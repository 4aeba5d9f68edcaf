"""``python -m tests.support.reverse_proxy UPSTREAM --path /gpu``: a proxy before a server, as nginx is one.

It prints its address, ends TLS with ``--tls CERTIFICATE KEY``, removes ``--path`` from each address, and refuses bodies
of more bytes than ``--largest`` with nginx's page, or the status and body after ``--refusal``. Unless ``--keep-host``
is given, the server sees its own name.
"""

from __future__ import annotations

import argparse
import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.loopback import HandlerBase, LoopbackServer

PATIENCE = 60.0
PAGE = b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>nginx/1.18.0</body>\r\n</html>\r\n"
_OF_THE_CONNECTION = {"connection", "keep-alive", "te", "transfer-encoding", "host"}


class ReverseProxy(LoopbackServer):
    """``largest`` may be a file that holds the number, so that it can change."""

    def __init__(self, upstream: str, path: str, largest: Path | None, *, keep_host: bool) -> None:
        self.upstream, self.path, self.keep_host = urlsplit(upstream).netloc, path, keep_host
        self._largest = largest
        self.refusal: tuple[int, bytes] = (413, PAGE)
        super().__init__(_Handler)

    def largest(self) -> int:
        return 2**40 if self._largest is None else int(self._largest.read_text())


class _Handler(HandlerBase, BaseHTTPRequestHandler):
    owner: ReverseProxy

    def pass_on(self) -> None:
        self.close_connection = True
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        is_too_large = length > self.owner.largest()
        if not self.path.startswith(self.owner.path) or is_too_large:
            status, page = self.owner.refusal if is_too_large else (404, PAGE)
            self.send(status, [("Content-Type", "text/html" if page == PAGE else "application/json")], page)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        if self.owner.keep_host:
            headers["Host"] = self.headers["Host"]
        server = http.client.HTTPConnection(self.owner.upstream, timeout=PATIENCE)
        try:
            server.request(self.command, self.path.removeprefix(self.owner.path), body, headers)
            answer = server.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OF_THE_CONNECTION]
            self.send(answer.status, kept, answer.read())
        finally:
            server.close()

    def do_GET(self) -> None:
        self.pass_on()

    def do_POST(self) -> None:
        self.pass_on()

    def do_PUT(self) -> None:
        self.pass_on()

    def send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("upstream")
    parser.add_argument("--path", default="")
    parser.add_argument("--largest", type=Path)
    parser.add_argument("--refusal", nargs=2)
    parser.add_argument("--keep-host", action="store_true")
    parser.add_argument("--tls", nargs=2)
    given = parser.parse_args()
    proxy = ReverseProxy(given.upstream, given.path, given.largest, keep_host=given.keep_host)
    if given.refusal:
        proxy.refusal = (int(given.refusal[0]), given.refusal[1].encode())
    scheme = "http"
    if given.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*given.tls)
        proxy.server.socket = context.wrap_socket(proxy.server.socket, server_side=True)
        scheme = "https"
    print(f"{scheme}://127.0.0.1:{proxy.port}{given.path}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
