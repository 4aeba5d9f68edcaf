"""A file server for tests: real HTTP over loopback, with each way to fail that a download has to survive."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Literal

from tests.support.loopback import HandlerBase, LoopbackServer

PATIENCE = 20.0
"""Seconds after which a stalled answer ends even if the test forgot it."""


@dataclass
class File:
    """One answer.

    * ``etag``: sent as it is, quotes included.
    * ``ranges``: answer ``Range`` with 206, unless ``If-Range`` (looked at with ``if_range``) names another etag.
    * ``framing``: how the body's end is told: its length, chunks, or the end of the connection.
    * ``length``: the Content-Length to announce where it is not the true one.
    * ``break_after``, ``stall_after``: bytes of this answer's body after which the connection is cut, or silent.
    * ``drop``: cut the connection instead of answering.
    """

    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = None
    ranges: bool = True
    if_range: bool = True
    framing: Literal["length", "chunked", "close"] = "length"
    length: int | None = None
    break_after: int | None = None
    stall_after: int | None = None
    drop: bool = False


def redirect(location: str, status: int = 302) -> File:
    """An answer that sends the client elsewhere."""
    return File(b"moved", status, {"Location": location})


@dataclass
class Asked:
    """One request as it came in."""

    path: str
    headers: dict[str, str]


class FakeFileServer(LoopbackServer):
    """Answers each path from its own list, the last answer again and again; 404 where there is none."""

    def __init__(self) -> None:
        self.seen: list[Asked] = []
        self.answers: dict[str, list[File]] = {}
        self.released = threading.Event()
        self.stalled = threading.Event()
        self.lock = threading.Lock()
        super().__init__(_Handler)

    def serve(self, path: str, *answers: File) -> str:
        """Answer the path like this from now on; returns its URL."""
        self.answers[path] = list(answers)
        return self.url + path

    def take(self, asked: Asked) -> File:
        with self.lock:
            self.seen.append(asked)
            answers = self.answers.get(asked.path.partition("?")[0], [File(b"no such file", 404)])
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def asked(self, header: str) -> list[str | None]:
        """What each request so far said in this header."""
        return [each.headers.get(header) for each in self.seen]

    def close(self) -> None:
        self.released.set()
        super().close()


class _Handler(HandlerBase, BaseHTTPRequestHandler):
    owner: FakeFileServer

    def do_GET(self) -> None:
        headers = self.lower_headers()
        file = self.owner.take(Asked(self.path, headers))
        if file.drop:
            self.close_connection = True
            return
        body, status, fields = file.content, file.status, dict(file.headers)
        start = _start_of_range(headers, file)
        if start is not None:
            body, status = file.content[start:], 206
            fields["Content-Range"] = f"bytes {start}-{len(file.content) - 1}/{len(file.content)}"
        if file.etag is not None:
            fields["ETag"] = file.etag
        if file.framing == "length":
            fields["Content-Length"] = str(len(body) if file.length is None else file.length)
        elif file.framing == "chunked":
            fields["Transfer-Encoding"] = "chunked"
        else:
            fields["Connection"] = "close"
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(body, file)

    def _send(self, body: bytes, file: File) -> None:
        write = self._write_chunk if file.framing == "chunked" else self.wfile.write
        limit = file.break_after if file.stall_after is None else file.stall_after
        write(body if limit is None else body[:limit])
        if file.stall_after is not None:
            self.owner.stalled.set()
            self.owner.released.wait(PATIENCE)
        if limit is not None or file.framing == "close" or file.length is not None:
            self.close_connection = True
        elif file.framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def _write_chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _start_of_range(headers: dict[str, str], file: File) -> int | None:
    wanted = headers.get("range", "")
    if not file.ranges or file.status != 200 or not wanted.startswith("bytes=") or not wanted.endswith("-"):
        return None
    if file.if_range and headers.get("if-range") not in (None, file.etag):
        return None
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    return start if start < len(file.content) else None
