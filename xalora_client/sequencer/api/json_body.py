"""Reads a JSON body of anybody: bounded in bytes, time, depth and count, and checked for its key early."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from weakref import WeakValueDictionary

from aiohttp import web

from ...errors import one_line
from ...protocol.parameters import refuse_constant
from .connections import connection_of, trust
from .errors import HTTPError

SMALL_BODY = 2**20
"""The most bytes of a body in which no picture travels."""

LARGE_BODY = 128 * 2**20
"""The most bytes of a create: a 4K image fits in a ``data:`` URI. Uploads are streamed; their limits are elsewhere."""

KEY_WITHIN = 16 * 2**10
"""The key must be in so many bytes from the start. No more is read before it was checked."""

DEEPEST = 64
MOST_VALUES = 100_000

LONG_TEXT = 2**20
"""The most bytes of a text, unless it is a ``data:`` URI among the parameters of a task."""

BESIDE_LONG = 8 * 2**20
"""The most bytes beside those: they are parsed in one go."""

DATA_URI, PARAMETERS_DEPTH = b"data:", 3
PIECE, PIECE_OF_TEXT = 8 * 2**10, 64 * 2**10
"""Bytes that are read in one go: each takes a millisecond or two at most."""

_COPIED = 256 * 2**10

BODY_SECONDS = 20.0
SLOWEST = 32 * 2**10
"""Bytes a second. A body may take BODY_SECONDS, and a second more for each of these that has arrived."""

_TOKEN = re.compile(rb'["{}\[\],:]')
_WHOLE = re.compile(rb"[^\\]*(?:\\(?:u.{4}|[^u])[^\\]*)*", re.DOTALL)
_INSIDE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_LONGEST_FIELD = 2000

LARGE_BODIES = web.AppKey("large_bodies", WeakValueDictionary[str, asyncio.Semaphore])
"""The key under which an application has the slots of API keys: one body of more than 1 MiB at once for each."""

Check = Callable[[Mapping[str, Any]], object]


async def read_json(request: web.Request, check: Check | None = None, largest: int = SMALL_BODY) -> dict[str, Any]:
    """Return the JSON object that was posted.

    Args:
        request: The request.
        check: Raises HTTPError when the key in these fields does not open this route. It is called with the texts at
            the top of the first 16 KiB, before more is read, and with the whole body.
        largest: The most bytes.

    Raises:
        HTTPError: 401 by ``check``; 411 for a body in chunks; 413 for too many bytes, values or levels; 408 for one
            that comes too slowly; 415 for one that is compressed; 400 for what is not a JSON object.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise HTTPError(415, "send the body as it is, without a Content-Encoding")
    if "Transfer-Encoding" in request.headers:
        raise HTTPError(411, "send the body in one piece, with its Content-Length")
    if request.content_length is not None and request.content_length > largest:
        raise too_large(largest)
    outline = Outline()
    body = await _read(request, outline, check, largest)
    if (connection := connection_of(request)) is not None:
        connection.answer()
    found = await asyncio.to_thread(_parsed, body, outline) if outline.long else _parsed(body, outline)
    if check is not None:
        check(found)
    return found


async def _read(request: web.Request, outline: Outline, check: Check | None, largest: int) -> bytearray:
    """The body's bytes. A large one waits for its key's slot, which it keeps until the request ends."""
    body, is_checked, connection = bytearray(), check is None, connection_of(request)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BODY_SECONDS
    while True:
        size = PIECE_OF_TEXT if outline.is_in_text else PIECE
        left = max(0.0, deadline + len(body) / SLOWEST - loop.time())
        try:
            piece = await asyncio.wait_for(request.content.read(size), left)
        except asyncio.TimeoutError:
            raise HTTPError(408, "the body came too slowly") from None
        if not piece:
            return body
        await asyncio.sleep(0)  # A piece that is here already is read without a turn for the others.
        body += piece
        if len(body) > largest:
            body.clear()  # The error's traceback holds on to it.
            raise too_large(largest)
        outline.feed(piece)
        if not is_checked and check is not None and len(body) > KEY_WITHIN:
            try:
                check(outline.fields)
            except HTTPError as error:
                where = f"; it must be in the first {KEY_WITHIN // 2**10} KiB of the body"
                raise HTTPError(error.status, f"{error}{where}") from None
            is_checked = True
            trust(request)
        if connection is not None and connection.slot is None and len(body) > SMALL_BODY:
            begun = loop.time()
            slot = request.app[LARGE_BODIES].setdefault(outline.fields.get("api_key", ""), asyncio.Semaphore(1))
            await slot.acquire()
            connection.slot = slot
            deadline += loop.time() - begun


def too_large(largest: int) -> HTTPError:
    """The error for a body of too many bytes."""
    return HTTPError(413, f"the body is larger than {largest // 2**20} MiB")


def _parsed(body: bytearray, outline: Outline) -> dict[str, Any]:
    """Parse the body. Its long texts are put in afterwards: the parser would hold up all else for each of them."""
    try:
        long, rest, at = {}, bytearray(), 0
        for number, (begin, end) in enumerate(outline.long):
            name = f"\0{number}"
            long[name] = LongText(body, begin, end)
            rest += body[at:begin] + json.dumps(name)[1:-1].encode()
            at = end
        # As the outline read it: in UTF-16, the parser would see another shape.
        found = json.loads((rest + body[at:]).decode("utf-8-sig"), parse_constant=refuse_constant)
    except (ValueError, LookupError, RecursionError):
        raise HTTPError(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise HTTPError(400, "the body is not a JSON object")
    return dict(_filled(found, long)) if long else found


class LongText:
    """A long ``data:`` URI in a body. It is never in one piece: making that would hold up all else."""

    def __init__(self, body: bytearray, begin: int, end: int) -> None:
        self._body, self._begin, self._end = body, begin, end

    def __str__(self) -> str:
        """Its beginning, as it is shown."""
        begin = self._body[self._begin : self._begin + 64].replace(b"\\/", b"/").decode(errors="replace")
        return f"{one_line(begin)}… ({self._end - self._begin} characters)"

    def release(self) -> None:
        """Let go of the body, which is large, although errors and what they hold may live on."""
        self._body, self._begin, self._end = bytearray(), 0, 0

    def pieces(self) -> Iterator[bytes]:
        """Its bytes. Raises ValueError for what is no text in JSON."""
        at = self._begin
        while at < self._end:
            whole = _WHOLE.match(self._body, at, min(self._end, at + _COPIED))
            if whole is None or not whole[0]:
                raise ValueError("it has half an escape")
            piece, at = whole[0], whole.end()
            del whole  # It holds the body, also in the traceback of an error.
            # A byte for each character: nothing but ASCII belongs here.
            yield json.loads(f'"{piece.decode("latin-1")}"').encode("latin-1") if b"\\" in piece else piece


def _filled(value: Any, long: Mapping[str, LongText]) -> Any:
    match value:
        case str():
            return long.get(value, value)
        case dict():
            return {name: _filled(inner, long) for name, inner in value.items()}
        case list():
            return [_filled(inner, long) for inner in value]
    return value


class Outline:
    """The shape of a JSON text that arrives in pieces, without building anything of it.

    ``fields`` are the short texts at its top, by name. ``long`` says where the long ``data:`` URIs begin and end.
    ``feed`` raises HTTPError when there are too many levels, values or bytes, or another text is long. Whether it is
    JSON at all, the parser says afterwards.
    """

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.long: list[tuple[int, int]] = []
        self._before = 0  # The bytes of the pieces before this one.
        self._begin = 0  # Of the string that is being read.
        self._start = b""
        self._depth = 0
        self._values = 0
        self._text: bytearray | None = None  # The string that is being read.
        self._is_escaped = False
        self._name: str | None = None  # Of the field at the top whose value comes next.
        self._last = ""

    @property
    def is_in_text(self) -> bool:
        """Whether the last piece ended within a text."""
        return self._text is not None

    def feed(self, piece: bytes) -> None:
        """Read on."""
        at = 0
        while at < len(piece):
            if self._text is not None:
                at = self._read_string(piece, at)
                continue
            token = _TOKEN.search(piece, at)
            if token is None:
                break
            at = token.end()
            self._read_token(token[0])
            if self._text is not None:
                self._begin, self._start = self._before + at, b""
        self._before += len(piece)
        beside = self._before if self._text is None else self._begin
        if beside - sum(end - begin for begin, end in self.long) > BESIDE_LONG:
            raise HTTPError(413, f"the body has more than {BESIDE_LONG // 2**20} MiB beside long data: URIs")

    def _read_token(self, token: bytes) -> None:
        if token == b'"':
            self._text = bytearray()
        elif token in b"{[":
            self._depth += 1
            self._count()
        elif token in b"}]":
            self._depth -= 1
        elif token == b",":
            self._name = None
            self._count()
        elif self._depth == 1:
            self._name = self._last

    def _read_string(self, piece: bytes, begin: int) -> int:
        text, at = self._text, begin + self._is_escaped
        inside = _INSIDE.match(piece, at)
        end = at if inside is None else inside.end()
        # A backslash that is the last byte escapes the first one of the next piece.
        self._is_escaped = piece[end : end + 1] == b"\\"
        if piece[end : end + 1] == b'"':
            self._text = None
        end = min(len(piece), end + 1)
        self._check_length(piece, begin, end)
        if text is not None and self._depth == 1 and len(text) <= _LONGEST_FIELD:
            text += piece[begin:end]
            if self._text is None:
                self._take_field(bytes(text[:-1]))
        return end

    def _check_length(self, piece: bytes, at: int, end: int) -> None:
        """A text goes on, or has ended."""
        self._start += piece[at:end][: len(DATA_URI) - len(self._start)]
        end += self._before - (self._text is None)
        if end - self._begin > LONG_TEXT:
            if self._start.lower() != DATA_URI or self._depth != PARAMETERS_DEPTH:
                raise HTTPError(413, "a text has more than 1 MiB, and is not the data: URI of an image of a task")
            if self._text is None:
                self.long.append((self._begin, end))

    def _take_field(self, raw: bytes) -> None:
        try:
            text = str(json.loads(b'"%s"' % raw))
        except ValueError:
            return
        self._last = text
        if self._name is not None:
            self.fields.setdefault(self._name, text)  # It stays the key that was checked.
            self._name = None

    def _count(self) -> None:
        self._values += 1
        if self._depth > DEEPEST or self._values > MOST_VALUES:
            raise HTTPError(413, f"the body has more than {MOST_VALUES:,} values, or more than {DEEPEST} levels")
