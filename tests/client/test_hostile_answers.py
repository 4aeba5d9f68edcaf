"""Answers without end, bombs, and what is no answer at all: each ends in one error, within its time and memory."""

from __future__ import annotations

import gzip
import itertools
import threading
import time
import tracemalloc
import zlib

import pytest

from tests.support.raw_server import RawServer, answer
from xalora_client import (
    AuthenticationError,
    NetworkError,
    RequestTimeoutError,
    ResponseError,
    ServerError,
    Text2VideoTask,
    XaloraError,
)
from xalora_client.client import session

MIB = 2**20
TASK = Text2VideoTask("a rabbit")
CREATED = b'{"task_id": "t1"}'


def bomb(size):
    """Zeros that fill this many bytes once unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()


BOMB = bomb(512 * MIB)


def endless(head):
    """An answer that never ends, in chunks."""
    yield f"HTTP/1.1 {head}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    yield from itertools.repeat(b"10000\r\n" + b" " * 65536 + b"\r\n")


def until_closed(head):
    yield f"HTTP/1.1 {head}\r\n\r\n".encode()
    yield from itertools.repeat(b" " * 65536)


def create(client):
    return client.execute_workflow(TASK)


def query(client):
    return client.query_task_result("t1")


@pytest.fixture
def ask(subject):
    """Do something with a server that serves this; returns the error, and the server."""

    def do(serve, action=create, **options):
        with RawServer(serve) as server, pytest.raises(XaloraError) as caught:
            subject.do(action, workflow_url=server.url, **options)
        return caught.value, server

    return do


class TestSize:
    @pytest.mark.parametrize(
        "serve",
        [
            lambda _: endless("200 OK"),
            lambda _: until_closed("200 OK"),
            lambda _: iter([answer(BOMB, content_encoding="gzip")]),
            lambda _: iter([answer(BOMB, content_encoding="deflate", content_length=str(2**40))]),
            lambda _: iter([answer(bytes(16 * MIB + 1))]),
        ],
        ids=["chunks", "until closed", "gzip", "gzip as deflate", "a byte too many"],
    )
    def test_an_answer_is_at_most_16_mib(self, ask, serve, figure):
        tracemalloc.start()
        try:
            error, server = ask(serve)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert isinstance(error, ResponseError | NetworkError)
        assert "may have been created" in str(error)  # It is in doubt.
        assert peak < 64 * MIB
        assert len(server.requests) == 1
        figure(f"peak memory against an answer that is too large: {peak / MIB:.0f} MiB")

    def test_a_query_names_its_task(self, ask):
        error, _ = ask(lambda _: iter([answer(bytes(17 * MIB))]), query)
        assert isinstance(error, ResponseError)
        assert error.task_id == "t1"
        assert "16 MiB" in str(error)

    def test_up_to_then_it_is_read(self, subject):
        body = b'{"status": "running"}'.ljust(16 * MIB)
        with RawServer(lambda _: iter([answer(body)])) as server:
            assert subject.do(query, workflow_url=server.url).status == "running"

    @pytest.mark.parametrize("body", [endless, until_closed])
    def test_of_an_error_only_the_beginning_is_read(self, ask, body):
        error, server = ask(lambda _: body("401 Unauthorized"))
        assert isinstance(error, AuthenticationError)
        assert server.sent < 16 * MIB

    def test_an_error_may_be_a_bomb(self, ask):
        error, _ = ask(lambda _: iter([answer(BOMB, "401 No", content_encoding="gzip")]))
        assert isinstance(error, AuthenticationError)


class TestCodings:
    @pytest.mark.parametrize(
        ("coding", "pack"),
        [
            ("gzip", gzip.compress),
            ("X-GZip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:]) + bytes(3)),
            ("deflate", zlib.compress),
            ("deflate", lambda data: zlib.compress(data)[2:-4]),
            ("identity", bytes),
        ],
    )
    def test_what_nobody_asked_for_is_undone(self, subject, coding, pack):
        with RawServer(lambda _: iter([answer(pack(CREATED), content_encoding=coding)])) as server:
            assert subject.do(create, workflow_url=server.url) == "t1"
        assert b"Accept-Encoding: identity\r\n" in server.requests[0]

    @pytest.mark.parametrize(
        ("coding", "data"),
        [("br", CREATED), ("gzip, gzip", CREATED), ("gzip", CREATED), ("gzip", gzip.compress(CREATED)[:-9])],
        ids=["unknown", "twice", "not packed", "broken off"],
    )
    def test_what_cannot_be_undone_leaves_a_create_in_doubt(self, ask, coding, data):
        error, server = ask(lambda _: iter([answer(data, content_encoding=coding)]))
        assert "coding" in str(error)
        assert error.sent == "maybe"
        assert len(server.requests) == 1


class TestTime:
    @pytest.fixture(autouse=True)
    def short(self, monkeypatch):
        monkeypatch.setattr(session, "REQUEST_TIMEOUT", 0.3)
        monkeypatch.setattr(session, "QUERY_TIMEOUT", 0.3)

    @pytest.mark.parametrize("action", [create, query, lambda c: c.cancel_task("t1"), lambda c: c.resource_request()])
    @pytest.mark.parametrize(
        ("head", "drop"),
        [
            (b"HTTP/1.1 200 ", b"O"),
            (b"HTTP/1.1 200 OK\r\n", b"X"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b" "),
            (b"", b"HTTP/1.1 103 Early\r\n\r\n"),
        ],
        ids=["status", "header", "body", "hints"],
    )
    def test_drips_do_not_hold_a_call(self, ask, head, drop, action):
        over = threading.Event()

        def drip(_):
            yield head
            while not over.wait(0.02):
                yield drop

        began = time.monotonic()
        error, server = ask(drip, action, retry_seconds=0.4)
        took = time.monotonic() - began
        over.set()
        assert isinstance(error, RequestTimeoutError)
        assert error.sent == "maybe" or not server.requests  # On a busy machine, the time ends before it is sent.
        assert took < 5


class TestNonsense:
    @pytest.mark.parametrize(
        "garbage",
        [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x01\x00\x02\x02\x16", b"HTTP/1.1 2OO OK\r\n\r\n", b"x" * MIB,
         b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"HTTP/1.1 200 OK\r\nA" + b"b" * 99_999,
         b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", b"HTTP/1.1 200 OK\r\n\x1b]0;\x07: x\r\n\r\n"],
        ids=["nothing", "ssh", "tls", "status", "a megabyte", "two lengths", "a long header", "chunk", "control"],
    )  # fmt: skip
    def test_what_is_no_http_leaves_a_create_in_doubt_and_is_not_shown(self, ask, garbage):
        error, server = ask(lambda _: iter([garbage]))
        assert isinstance(error, NetworkError)
        assert error.sent == "maybe"
        assert len(server.requests) == 1
        assert len(str(error)) < 500
        assert str(error).isprintable()
        assert not any(word in str(error) for word in ("OpenSSH", "xxxx", "bbbb", "ZZ"))

    def test_early_hints_are_no_answer(self, subject):
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        with RawServer(lambda _: iter([b"HTTP/1.1 102 Processing\r\n\r\n", hints, hints, answer(CREATED)])) as server:
            assert subject.do(create, workflow_url=server.url) == "t1"
        assert len(server.requests) == 1

    def test_hints_with_nothing_behind_them_leave_a_create_in_doubt(self, ask):
        error, _ = ask(lambda _: iter([b"HTTP/1.1 103 Early Hints\r\n\r\n"]))
        assert isinstance(error, NetworkError)
        assert error.sent == "maybe"

    def test_odd_words_are_shown_as_one_line(self, ask):
        said = b'{"message": "no\\u0007\\u202e\\nway"}'
        error, _ = ask(lambda _: iter([answer(said, "501 \x1b[31mNo")]))
        assert isinstance(error, ServerError)
        assert str(error).isprintable()
