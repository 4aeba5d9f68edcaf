"""Requests with any method: bodies from memory and from files, and answers that are bounded."""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
import time
from pathlib import Path

import pytest

from tests.support.raw_server import RawServer, answer
from xalora_client import RequestTimeoutError, ResponseError
from xalora_client.http.upload import WebTransport


def ask(*arguments, **options):
    return asyncio.run(WebTransport().ask(*arguments, **options))


class FailingFile(io.FileIO):
    """A file that can be read once."""

    reads = 0

    def readinto(self, buffer):
        self.reads += 1
        if self.reads > 1:
            raise OSError(errno.EIO, "Input/output error")
        return super().readinto(buffer)


class FailingPath(type(Path())):
    """Opens such a file."""

    def open(self, *_, **__):
        return io.BufferedReader(FailingFile(self), 64 * 1024)


@pytest.mark.parametrize("size", [0, 1, 200_000])
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_body_arrives_whole_and_its_progress_is_told(tmp_path, size, on_disk):
    content = bytes(itertools.islice(itertools.cycle(range(251)), size))
    file = tmp_path / "body"
    file.write_bytes(content)
    progress = []
    with RawServer(lambda _: iter([answer(b"ok")])) as server:
        response = ask(
            "PUT", server.url, body=file if on_disk else content, on_sent=lambda *sent: progress.append(sent)
        )
        (request,) = server.requests
    assert response.body == b"ok"
    assert request.partition(b"\r\n\r\n")[2] == content
    assert f"Content-Length: {size}\r\n".encode() in request
    assert progress == sorted(progress)
    assert progress[-1:] == ([(size, size)] if size else [])


def test_a_file_that_is_not_there_or_cannot_be_read_is_no_fault_of_the_network(tmp_path):
    file = tmp_path / "body"
    with RawServer(lambda _: iter([answer()])) as server:
        with pytest.raises(FileNotFoundError):
            ask("PUT", server.url, body=file)
        file.write_bytes(bytes(200_000))
        with pytest.raises(OSError, match="Input/output error") as raised:
            ask("PUT", server.url, body=FailingPath(file))
        assert raised.value.errno == errno.EIO


def test_an_answer_may_have_so_many_bytes():
    content = bytes(100_000)
    with RawServer(lambda _: iter([answer(content)])) as server:
        assert ask("GET", server.url, largest=100_000).body == content
        assert len(ask("GET", server.url).body) < 100_000  # Cut, where nothing else is asked for.
        with pytest.raises(ResponseError, match="larger than"):
            ask("GET", server.url, largest=99_999)


def test_of_a_refusal_the_start_is_enough():
    with RawServer(lambda _: iter([answer(bytes(10**6), status="404 Not Found")])) as server:
        response = ask("GET", server.url, largest=10)
    assert response.status == 404
    assert 2**16 <= len(response.body) < 2**18


def test_an_answer_that_trickles_ends_in_time():
    def trickle():
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        while True:
            time.sleep(0.02)
            yield b"x"

    with RawServer(lambda _: trickle()) as server, pytest.raises(RequestTimeoutError):
        ask("GET", server.url, largest=1000, seconds=0.3)
