"""Real servers of the storage protocols, and a gate before them that counts requests and breaks what a test wants."""

from __future__ import annotations

import http.client
import io
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

from tests.support.loopback import HandlerBase, LoopbackServer
from tests.support.processes import poll

ACCESS_KEY, SECRET_KEY = "AKIATESTACCESSKEY", "bucket-secret-of-tests"
BUCKET = "images-of-tests"


class Process:
    """A server in a process of its own, and its address."""

    def __init__(self, command: Callable[[int], list[str]], folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            command(port), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, "the server did not start"
                time.sleep(0.05)
        raise AssertionError("the server did not start in time")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def moto(folder: Path) -> Process:
    """An S3 server that holds everything in memory."""
    return Process(lambda port: [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], folder)


@dataclass
class Asked:
    """One request that came to the gate: what it is about, and how much of its body arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    received: int = 0
    status: int = 0


@dataclass
class Fault:
    """What to do in place of passing a request on, as often as ``times`` says; perhaps only unsigned ones.

    With ``hold``, it is passed on once that is set; ``held_out`` says that it never was.
    """

    method: str
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    times: int = 10**9
    unsigned: bool = False
    hold: threading.Event | None = None
    held_out: bool = False


class Gate(LoopbackServer):
    """Passes requests on to the server behind it."""

    def __init__(self, behind: str) -> None:
        self.behind = urlsplit(behind)
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.skew = 0.0
        self.bytes_per_second: float | None = None
        self.inside = 0
        self.lock = threading.Lock()
        super().__init__(_GateHandler)

    def methods(self) -> list[str]:
        """The methods of the requests about objects, in order."""
        return [each.method for each in self.asked if each.path.count("/") > 1]

    def puts(self) -> list[str]:
        """The paths of the objects that were stored."""
        return [each.path for each in self.asked if each.method == "PUT" and 200 <= each.status < 300]

    def quiet(self) -> None:
        """Wait until every request has been answered, or cut."""
        poll(lambda: not self.inside, what="the gate is empty")

    def take_fault(self, method: str, *, signed: bool) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == method and fault.times > 0 and not (signed and fault.unsigned):
                    fault.times -= 1
                    return fault
        return None


class _GateHandler(HandlerBase, BaseHTTPRequestHandler):
    owner: Gate

    def handle_any(self) -> None:
        with self.owner.lock:
            self.owner.inside += 1
        try:
            self._pass_on()
        finally:
            with self.owner.lock:
                self.owner.inside -= 1

    def _pass_on(self) -> None:
        target = urlsplit(self.path)
        asked = Asked(self.command, target.path, parse_qs(target.query), self.lower_headers())
        self.owner.asked.append(asked)
        fault = self.owner.take_fault(self.command, signed="X-Amz-Signature" in asked.query)
        if fault is not None and fault.hold is not None:
            fault.held_out = not fault.hold.wait(10)
            fault = None
        body = self._body(asked, None if fault is None else fault.cut_after)
        if fault is not None and fault.cut_after is not None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            return
        if fault is not None:
            self._answer(asked, fault.status, fault.headers, fault.body)
            return
        behind = http.client.HTTPConnection(self.owner.behind.netloc, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        behind.request(self.command, self.path, body=body, headers=headers)
        answer = behind.getresponse()
        self._answer(asked, answer.status, dict(answer.getheaders()), answer.read())
        behind.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the names that the library asks for

    def _body(self, asked: Asked, cut_after: int | None) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        body = bytearray()
        while len(body) < (length if cut_after is None else min(cut_after, length)):
            piece = self.rfile.read1(min(65536, length - len(body)))
            if not piece:
                raise ConnectionAbortedError("the client went away in the middle")
            body += piece
            asked.received = len(body)
            if self.owner.bytes_per_second:
                time.sleep(len(piece) / self.owner.bytes_per_second)
        return bytes(body)

    def _answer(self, asked: Asked, status: int, headers: dict[str, str], body: bytes) -> None:
        asked.status = status
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Date", self.date_time_string(int(time.time() + self.owner.skew)))
        has_body = self.command != "HEAD" and status not in (204, 304)
        self.send_header("Content-Length", str(len(body)) if has_body else "0")
        self.end_headers()
        if has_body:
            self.wfile.write(body)


def fetch(url: str) -> tuple[int, bytes]:
    """What anybody gets from an address: status and body."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def error_body(code: str, message: str = "", **more: str) -> bytes:
    """An error as S3 writes it."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in {"Message": message, **more}.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>{inner}</Error>'.encode()


def s3_client(url: str) -> Any:
    """boto3's client, to look into a bucket from outside."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=url, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name="us-east-1"
    )


def images_of(sequencer: Any) -> list[str]:
    """The address of the image in each create, in order."""
    return [each.body["task_details"]["parameters"]["image"] for each in sequencer.seen if each.path == "/task_create"]


def picture(seed: int = 0, side: int = 16) -> bytes:
    """A PNG of noise, the same for the same seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class Bucket(Gate):
    """The bucket, and the gate before it."""

    def __init__(self, server: Process) -> None:
        super().__init__(server.url)
        self.s3 = s3_client(server.url)
        self.s3.create_bucket(Bucket=BUCKET)
        self.settings = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.url,
            "XALORA_BUCKET": f"s3://{BUCKET}/prefix",
        }

    def names(self) -> list[str]:
        """What is in it."""
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def close(self) -> None:
        for name in self.names():
            self.s3.delete_object(Bucket=BUCKET, Key=name)
        self.s3.close()
        super().close()
