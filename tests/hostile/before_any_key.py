"""What strangers without a good key try."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial

import requests

from tests.hostile.world import ALICE, Attack, World, answer_of, chunk, head

WRONG = b'"consumer_id": "eve", "api_key": "guessed"'
RIGHT = b'"consumer_id": "%s", "api_key": "%s"' % (ALICE[0].encode(), ALICE[1].encode())
ENDPOINTS = ("task_create", "task_result_query", "image_upload", "miner_register", "miner_heartbeat")

REFUSED = "400|401|411|413|415"


def compressed(world: World, coding: str, endpoint: str = "task_create") -> str:
    """A small body that would become 200 MB."""
    zeros = bytes(2**20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    body = b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()
    return world.raw(head(endpoint, f"Content-Encoding: {coding}", length=len(body)), body)


def with_body(world: World, body: bytes, endpoint: str = "task_create") -> str:
    return world.raw(head(endpoint, length=len(body)), body)


def nested(opening: bytes, count: int, who: bytes = WRONG) -> bytes:
    return b'{%s, "task_details": %s' % (who, opening * count)


def flat(value: bytes, count: int, who: bytes = WRONG) -> bytes:
    return b'{%s, "task_details": [%s]}' % (who, b",".join([value] * count))


def one_text(who: bytes, size: int) -> bytes:
    parameters = b'{"parameters": {"prompt": "%s"}}' % (b"A" * size)
    return b'{%s, "job_id": "j", "task_type": "txt2vid", "task_details": %s}' % (who, parameters)


def as_utf_16(count: int) -> bytes:
    """Empty lists, in which whoever reads bytes finds a good key and some texts."""
    seen = b'":0,%s,"xx":"%s' % (RIGHT, b"xx" * 10_000)
    lists = "[]," * 100_000 + '"\u2241\u2241",'  # Each of these two is a quote and a byte.
    shown = seen + b" " * (len(seen) % 2)
    return '\ufeff{"'.encode("utf-16-le") + shown + ('":["\u2241",' + lists * count + "0]}").encode("utf-16-le")


def later_keys(world: World, count: int) -> str:
    """Large bodies at once that name other keys after the one that was checked."""
    texts = b'","'.join([b"x" * 1_000_000] * 110)
    body = b'{%s, "pad": "%s", "api_key": "%%d", "texts": ["%s"]}' % (RIGHT, b"x" * 60_000, texts)
    with ThreadPoolExecutor(count) as pool:
        bodies = [body.replace(b"%d", b"%d" % number) for number in range(count)]
        return " ".join(sorted(set(pool.map(partial(with_body, world), bodies))))


def endless(world: World, beginning: bytes, piece: bytes, lines: int = 8) -> str:
    """Chunks without an end, on several connections."""
    answers: list[str] = []

    def one() -> None:
        pieces = itertools.chain([chunk(beginning)], itertools.repeat(chunk(piece), 200_000))
        answers.append(world.raw(head("task_create"), pieces))

    threads = [threading.Thread(target=one) for _ in range(lines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return " ".join(sorted(set(answers)))


def held(world: World, count: int, first: bytes, drip: bytes = b"") -> str:
    """Hold connections open that say little, and see whether an honest query is answered meanwhile."""
    answers = Counter[int]()
    with ExitStack() as stack:
        connections: list[socket.socket] = []
        for _ in range(count):
            connection = stack.enter_context(socket.socket())
            connection.settimeout(5)
            with suppress(OSError):
                connection.connect(world.address)
                connection.sendall(first)
            connections.append(connection)
        for _ in range(5):
            for connection in connections:
                with suppress(OSError):
                    connection.sendall(drip)
            begun = time.monotonic()
            answers[world.post("task_result_query", task_id=world.task_id).status_code] += 1
            assert time.monotonic() - begun < 5
    return " ".join(map(str, answers))


def dripped(world: World, first: bytes, seconds: float = 40.0) -> str:
    """One connection that sends a byte a second: it must be closed or answered in time."""
    with socket.create_connection(world.address, timeout=1) as connection:
        connection.sendall(first)
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            answer = answer_of(connection)
            if answer != "nothing":
                return answer
            with suppress(OSError):
                connection.sendall(b" ")
    return "still open"


def no_http(world: World, count: int = 1000) -> str:
    """Requests that are none: refused, and the log stays readable."""
    before = len(world.command.errors())
    lines = [b"\x16\x03\x01 hello", b"GET / HTTP/9.9", b"POST /task_create HTTP/1.1\r\nContent-Length: -1", b"\0" * 99]
    answers = {world.raw(line + b"\r\n\r\n") for line in itertools.islice(itertools.cycle(lines), count)}
    written = len(world.command.errors()) - before
    return " ".join(sorted(answers)) if written < 50_000 else f"{written} characters were logged"


def from_a_page(world: World, endpoint: str, kind: str, *fields: str) -> str:
    body = json.dumps({"consumer_id": "x", "api_key": "y", "erc20_address": "eve", "instance": "0e", "workflows": []})
    return world.raw(head(endpoint, *fields, length=len(body), kind=kind), body.encode())


def guesses(world: World, count: int = 300) -> str:
    """Many wrong keys, as fast as it goes, for some seconds."""
    answers = Counter[int]()
    end = time.monotonic() + 5

    def guess(numbers: Iterator[int]) -> None:
        for number in numbers:
            if time.monotonic() > end:
                return
            body = {"task_id": "x", "api_key": f"guess-{number}"}
            with suppress(requests.RequestException):
                answer = requests.post(f"{world.url}/task_result_query", json=body, timeout=30)
                answers[answer.status_code] += 1

    numbers = iter(range(count))
    threads = [threading.Thread(target=guess, args=(numbers,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "slowed" if answers[401] < 100 else f"{answers[401]} were tried in 5 s"


def attacks() -> list[Attack]:
    """All of them."""
    found = [
        Attack(
            f"{coding} of 200 MB to {endpoint}",
            "anybody",
            partial(compressed, coding=coding, endpoint=endpoint),
            REFUSED,
        )
        for coding, endpoint in [("gzip", "task_create"), ("deflate", "task_create"), ("gzip", "miner_heartbeat")]
    ]
    for coding in ("br", "zstd", "gzip, gzip", "compress"):
        run = partial(with_any_coding, coding=coding)
        found.append(Attack(f"Content-Encoding {coding}", "anybody", run, REFUSED))
    bodies = {
        "297 KB of nested lists": nested(b"[", 297_000),
        "18 MB of nested objects": nested(b'{"a":', 3_600_000),
        "50 MB of empty objects": flat(b"{}", 17_000_000),
        "a number of a million digits": flat(b"9" * 1_000_000, 1),
        "a million names": b"{%s, %s}" % (WRONG, b",".join(b'"n%d":0' % n for n in range(1_000_000))),
        "64 KB of escapes": flat(b'"' + b"\\u0041" * 10_000 + b'"', 1),
        "60 MB of one text": flat(b'"' + b"A" * 60_000_000 + b'"', 1),
        "60 MB before the key": b'{"task_details": "%s", %s}' % (b"A" * 60_000_000, RIGHT),
    }
    for name, body in bodies.items():
        found.append(Attack(name, "anybody", partial(with_body, body=body), REFUSED))
    for endpoint in ENDPOINTS[1:]:
        found.append(
            Attack(
                f"5 MB to {endpoint}",
                "anybody",
                partial(with_body, body=flat(b"[]", 1_700_000), endpoint=endpoint),
                REFUSED,
            )
        )
    for name, opening in {"lists": b"[", "objects": b'{"a":'}.items():
        body = nested(opening, 100_000, RIGHT)
        found.append(Attack(f"nested {name}, with a key", "a consumer", partial(with_body, body=body), "400|413"))
    texts = {
        "a prompt of 120 MB": one_text(RIGHT, 120_000_000),
        "a name of 60 MB": b'{%s, "task_details": {"parameters": {"data:%s": 1}}}' % (RIGHT, b"A" * 60_000_000),
        "a job_id of 60 MB": b'{%s, "job_id": "data:%s"}' % (RIGHT, b"A" * 60_000_000),
    }
    for name, body in texts.items():
        found.append(Attack(f"{name}, with a key", "a consumer", partial(with_body, body=body), "400|413"))
    hidden = partial(with_body, body=as_utf_16(100))
    found.append(Attack("10 million lists in UTF-16, with a key", "a consumer", hidden, "400|413"))
    found.append(Attack("eight of 110 MB, and other keys behind", "a consumer", partial(later_keys, count=8), "413"))
    objects = partial(with_body, body=flat(b"{}", 17_000_000, RIGHT))
    found.append(Attack("50 MB of objects, with a key", "a consumer", objects, "413"))
    streams = {
        "": (b"{", b" " * 65536, REFUSED),
        ", wrong key": (b'{%s, "x": "' % WRONG, b"A" * 65536, "411"),
        ", with a key": (b'{%s, "x": "' % RIGHT, b"A" * 65536, "411"),
        " of one byte": (b"{", b" ", REFUSED + "|408"),
    }
    for name, (beginning, piece, answer) in streams.items():
        run = partial(endless, beginning=beginning, piece=piece)
        found.append(Attack(f"chunks without end{name}", "anybody", run, f"{answer}|closed"))
    line, body = b"POST /task_create HTTP/1.1\r\n", head("task_create", length=1000)
    again = b"GET /none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTTP/1.1\r\nX-A: "
    found += [
        Attack("1,100 silent connections", "anybody", partial(held, count=1100, first=b""), "200"),
        Attack("1,100 dripping heads", "anybody", partial(held, count=1100, first=line, drip=b"X-A: b\r\n"), "200"),
        Attack("1,100 dripping bodies", "anybody", partial(held, count=1100, first=body, drip=b" "), "200"),
        Attack("a head a byte a second", "anybody", partial(dripped, first=line + b"X-A: "), "closed|408|400"),
        Attack("a body a byte a second", "anybody", partial(dripped, first=body), "closed|408"),
        Attack("a second head a byte a second", "anybody", partial(dripped, first=again), "404"),
        Attack("1,000 requests that are no HTTP", "anybody", no_http, "400|closed"),
        Attack("2,000 wrong keys", "anybody", partial(guesses, count=2000), "slowed"),
    ]
    pages = {
        "text/plain": (), "application/x-www-form-urlencoded": (), "multipart/form-data; boundary=x": (), "": (),
        "application/json": ("Origin: https://evil.example",),
        "application/json ": ("Origin: null",),
        "application/json; charset=utf-8": ("Sec-Fetch-Site: cross-site",),
        "Application/JSON": ("Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:1"),
    }  # fmt: skip
    for endpoint in ENDPOINTS:
        for kind, fields in pages.items():
            name = f"{endpoint} from a page: {kind} {' '.join(fields)}"
            found.append(Attack(name, "a page", partial(page, endpoint=endpoint, kind=kind, fields=fields), "403|415"))
    return found


def page(world: World, endpoint: str, kind: str, fields: tuple[str, ...]) -> str:
    return from_a_page(world, endpoint, kind, *fields)


def with_any_coding(world: World, coding: str) -> str:
    body = gzip.compress(b"{%s}" % RIGHT)
    return world.raw(head("task_create", f"Content-Encoding: {coding}", length=len(body)), body)
