"""A download that gets nowhere ends, and one that got everything but the end of the answer starts over."""

from __future__ import annotations

import threading

import pytest

from tests.support.downloads import BIG, HALF, PNG, left_over
from tests.support.raw_server import RawServer, answer, header
from xalora_client import DownloadError


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("xalora_client.client.download.LONGEST_SILENCE", 0.1)
    monkeypatch.setattr("xalora_client.http.transport.CONNECT_TIMEOUT", 0.1)


@pytest.fixture
def drip():
    """Serve something a byte at a time, for ever."""
    over = threading.Event()

    def drops(head, drop):
        yield head
        while not over.wait(0.02):
            yield drop

    yield drops
    over.set()


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 ", b"O"),
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 999999\r\n\r\n', b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
    ids=["status", "header", "length", "chunks", "hints"],
)
def test_a_byte_now_and_then_is_silence(fetch, home, impatient, drip, head, drop):
    with RawServer(lambda _: drip(head, drop)) as server, pytest.raises(DownloadError, match="broke off 6 times"):
        fetch(f"{server.url}/x.png")
    assert left_over(home) == []


def test_a_few_bytes_at_each_try_are_no_progress(fetch):
    """A server that knows ranges, and sends ten bytes of them."""

    def serve(request):
        start = int((header(request, "range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        yield (
            f'HTTP/1.1 206 Partial Content\r\nETag: "v1"\r\nContent-Length: {len(BIG) - start}\r\n'
            f"Content-Range: bytes {start}-{len(BIG) - 1}/{len(BIG)}\r\n\r\n"
        ).encode()
        yield BIG[start : start + 10]

    with RawServer(serve) as server, pytest.raises(DownloadError, match="broke off 6 times"):
        fetch(f"{server.url}/x.png")
    assert [header(each, "range") for each in server.requests] == [None, *(f"bytes={n}0-" for n in range(1, 6))]


def test_a_slow_sink_is_no_silence(fetch, impatient):
    """What takes the bytes may take its time; the server is not to blame."""
    pause = threading.Event()
    with RawServer(lambda _: iter([answer(BIG)])) as server:
        file = fetch(f"{server.url}/x.png", on_progress=lambda now: now.received < 200_000 and pause.wait(0.25))
    assert file.path.read_bytes() == BIG
    assert len(server.requests) == 1


class TestALostEnd:
    def lost(self, then):
        """All bytes in chunks, but not the last chunk, which says that these are all; ``then`` is what comes next."""

        def serve(request):
            asked = header(request, "range")
            if asked is None and len(server.requests) == 1:
                yield b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nTransfer-Encoding: chunked\r\n\r\n'
                yield f"{len(PNG):x}\r\n".encode() + PNG + b"\r\n"
            elif asked is not None:
                yield then
            else:
                yield answer(PNG)

        server = RawServer(serve)
        return server

    def test_starts_from_zero_where_there_is_nothing_more(self, fetch):
        beyond = answer(b"", "416 Range Not Satisfiable", content_range=f"bytes */{len(PNG)}")
        with self.lost(beyond) as server:
            assert fetch(f"{server.url}/x.png").path.read_bytes() == PNG
        assert [header(each, "range") for each in server.requests] == [None, f"bytes={len(PNG)}-", None]

    def test_not_for_ever(self, fetch):
        broken = answer(PNG[:HALF], etag='"v1"', content_length=str(len(PNG)))
        nothing = answer(b"", "416 Range Not Satisfiable")
        with (
            RawServer(lambda request: iter([nothing if header(request, "range") else broken])) as server,
            pytest.raises(DownloadError, match="broke off 6 times"),
        ):
            fetch(f"{server.url}/x.png")
        assert len(server.requests) < 15
