"""Files that come broken, late, twice, changed, or not at all."""

from __future__ import annotations

import gzip

from tests.faults.steps import (
    CLOSE,
    HONEST,
    PICTURE,
    RESET,
    SILENCE,
    Answer,
    Bomb,
    Case,
    Drip,
    Endless,
    HalfClose,
    Raw,
    Reply,
)
from tests.faults.world import picture

_FILE = picture()
_HALF = len(_FILE) // 2
_TYPE = {"Content-Type": "image/png"}


def _head(length: int | None = len(_FILE), *more: str, status: int = 200) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", "Content-Type: image/png", *more]
    return "\r\n".join([*lines, *([] if length is None else [f"Content-Length: {length}"]), "", ""]).encode()


def _rest(start: int, status: int = 206, said: str | None = None, etag: str = '"1"') -> Reply:
    said = said or f"bytes {start}-{len(_FILE) - 1}/{len(_FILE)}"
    return Reply(status, _FILE[start:], {"Content-Range": said, "ETag": etag, **_TYPE})


_BROKEN: Answer = (Raw(_head() + _FILE[:_HALF]), CLOSE)
_BROKEN_TAGGED: Answer = (Raw(_head(len(_FILE), 'ETag: "1"') + _FILE[:_HALF]), CLOSE)
_BROKEN_WEAK: Answer = (Raw(_head(len(_FILE), 'ETag: W/"1"') + _FILE[:_HALF]), CLOSE)
_BROKEN_RESET: Answer = (Raw(_head(len(_FILE), 'ETag: "1"') + _FILE[:_HALF]), RESET)
_ALL_BUT_THE_END: Answer = (Raw(_head(len(_FILE) + 1, 'ETag: "1"') + _FILE), CLOSE)
_CHUNKED = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nTransfer-Encoding: chunked\r\n\r\n'
_UNENDED: Answer = (Raw(_CHUNKED + b"%x\r\n" % len(_FILE) + _FILE + b"\r\n"), CLOSE)
_FRESH = "http://{files}/media/fresh.png?sig=new"


def _finished(result: object) -> Reply:
    return Reply(200, {"task_id": "t-1", "status": "finished", "result": result})


_AGAIN: dict[str, tuple[Answer, ...]] = {
    "half, then all": (_BROKEN, HONEST),
    "half, then the rest": (_BROKEN_TAGGED, _rest(_HALF)),
    "half and a reset, then the rest": (_BROKEN_RESET, _rest(_HALF)),
    "half, then all in spite of the range": (_BROKEN_TAGGED, HONEST),
    "half of a weak tag, then all": (_BROKEN_WEAK, HONEST),
    "half, then another part": (_BROKEN_TAGGED, _rest(_HALF + 1), HONEST),
    "half, then an earlier part": (_BROKEN_TAGGED, _rest(_HALF - 1), HONEST),
    "half, then a range that is none": (_BROKEN_TAGGED, _rest(_HALF, said="lines 1-2"), HONEST),
    "half, then a range of another unit": (_BROKEN_TAGGED, _rest(_HALF, said="chars 1-2/3"), HONEST),
    "half, then a part of another file": (_BROKEN_TAGGED, _rest(_HALF, etag='"2"'), HONEST),
    "half, then a part without range": (_BROKEN_TAGGED, Reply(206, _FILE[_HALF:]), HONEST),
    "half, then 416": (_BROKEN_TAGGED, Reply(416, b"", {"Content-Range": f"bytes */{len(_FILE)}"}), HONEST),
    "all but the end, then 416": (
        _ALL_BUT_THE_END,
        Reply(416, b"", {"Content-Range": f"bytes */{len(_FILE)}"}),
        HONEST,
    ),
    "chunks without an end, then 416": (_UNENDED, Reply(416), HONEST),
    "half, then 503": (_BROKEN_TAGGED, Reply(503), _rest(_HALF)),
    "half, then 429": (_BROKEN_TAGGED, Reply(429, b"", {"Retry-After": "7"}), _rest(_HALF)),
    "a part that was not asked for": (_rest(_HALF), HONEST),
    "all as a part": (_rest(0), HONEST),
    "429 with a time": (Reply(429, b"", {"Retry-After": "20"}), HONEST),
    "503 with a date that passed": (Reply(503, b"", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), HONEST),
    "500": (Reply(500), HONEST),
    "502": (Reply(502, b"<html>"), HONEST),
    "408": (Reply(408), HONEST),
    "425": (Reply(425), HONEST),
    "reset": (RESET, HONEST),
    "closed": (CLOSE, HONEST),
    "nothing": (Reply(200, b""), HONEST),
    "no HTTP": ((Raw(b"what?\r\n\r\n"), CLOSE), HONEST),
    "half the headers": ((Raw(b"HTTP/1.1 200 OK\r\nConte"), CLOSE), HONEST),
    "half a chunk": ((Raw(_CHUNKED + b"ffff\r\n" + _FILE[:50]), CLOSE), HONEST),
    "a chunk of no size": ((Raw(_CHUNKED + b"zz\r\n" + _FILE), CLOSE), HONEST),
    "a longer length than there is": ((Raw(_head(len(_FILE) + 100) + _FILE), CLOSE), HONEST),
    "half and the server's side closed": ((Raw(_head() + _FILE[:_HALF]), HalfClose(), SILENCE), HONEST),
}
_AT_ONCE: dict[str, tuple[Answer, ...]] = {
    "an interim answer first": ((Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"), HONEST),),
    "gzip": (Reply(200, gzip.compress(_FILE), {"Content-Encoding": "gzip"}),),
    "gzip, with the length of what is in it": (
        (Raw(_head(None, "Content-Encoding: gzip", "Transfer-Encoding: chunked") + b"%x\r\n" % len(gzip.compress(_FILE))
             + gzip.compress(_FILE) + b"\r\n0\r\n\r\n")),),
    "identity": (Reply(200, _FILE, {"Content-Encoding": "identity"}),),
    "the end of the connection": ((Raw(_head(None, "Connection: close") + _FILE), CLOSE),),
    "HTTP/1.0": ((Raw(_head().replace(b"1.1", b"1.0") + _FILE), CLOSE),),
    "chunks": ((Raw(_CHUNKED + b"%x;ext=1\r\n" % len(_FILE) + _FILE + b"\r\n0\r\nX-Trailer: y\r\n\r\n")),),
    "no type": (Reply(200, _FILE, {"Content-Type": ""}),),
    "a wrong type": (Reply(200, _FILE, {"Content-Type": "text/html"}),),
    "a name to store it under": (Reply(200, _FILE, {"Content-Disposition": "attachment; filename=../../x.png"}),),
    "a tag of control characters": ((Raw(_head(len(_FILE), 'ETag: "\x01\x02"') + _FILE)),),
}  # fmt: skip

CASES = (
    *(Case(f"file: {name}", file=answers, whole=True, slow="server's side" in name)
      for name, answers in _AGAIN.items()),
    *(Case(f"file: {name}, at once", file=answers, whole=True) for name, answers in _AT_ONCE.items()),
    *(Case(f"file: {status} for ever", "DownloadError", file=(Reply(status, b"no"),))
      for status in (400, 401, 402, 403, 404, 405, 406, 407, 410, 415, 451, 201, 202, 204, 304, 300, 599, 500, 408)),
    Case("file: more than was announced", "success or DownloadError", file=((Raw(_head() + _FILE + b"more"), CLOSE),)),
    Case("file: half, then 412", "success or DownloadError", file=(_BROKEN_TAGGED, Reply(412), HONEST)),
    Case("file: 429 for hours", "DownloadError", file=(Reply(429, b"", {"Retry-After": "9999"}),)),
    Case("file: half for ever", "DownloadError", file=(_BROKEN,)),
    Case("file: half for ever, with a tag", "DownloadError", file=(_BROKEN_TAGGED, (Raw(_head(_HALF, 'ETag: "1"',
         status=206)), CLOSE))),
    Case("file: a byte at a time, then closed", "DownloadError", file=((Raw(_head() + _FILE[:1]), CLOSE),)),
    Case("file: 416 for ever", "DownloadError", file=(Reply(416),)),
    Case("file: empty for ever", "DownloadError", file=(Reply(200, b""),)),
    Case("file: the wrong part for ever", "DownloadError", file=(_rest(_HALF),)),
    Case("file: no answer ever", "DownloadError", file=(SILENCE,), slow=True, seconds=10),
    Case("file: no answer once", file=(SILENCE, HONEST), slow=True, whole=True),
    Case("file: silence in the middle once", file=((Raw(_head() + _FILE[:_HALF]), SILENCE), HONEST), slow=True,
         whole=True),
    Case("file: headers that drip", "DownloadError", file=(Drip(_head() + b"X-Slow: yes\r\n" * 100),), slow=True,
         seconds=20),
    Case("file: a body that drips once", file=((Raw(_head()), Drip(_FILE)), HONEST), slow=True, whole=True),
    *(Case(f"file: {status} for the link, then a fresh one", file=(Reply(status), HONEST), whole=True,
           query=(_finished(PICTURE), _finished(_FRESH)), target="/media/fresh.png?sig=new") for status in (401, 403,
           404, 410)),
    Case("file: a fresh link that is no address", "DownloadError",
         file=(Reply(403),), query=(_finished(PICTURE), _finished("ftp://{files}/x"))),
    Case("file: a fresh link on a forbidden address", "DownloadError",
         file=(Reply(403),), query=(_finished(PICTURE), _finished("http://169.254.169.254/x.png"))),
    Case("file: a page", "DecodeError", file=(Reply(200, b"<!doctype html><title>Sign in</title>"),)),
    Case("file: an error in XML", "DecodeError",
         file=(Reply(200, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),)),
    Case("file: an error in JSON", "DecodeError", file=(Reply(200, {"error": "expired"}),)),
    Case("file: half a picture", "DecodeError", file=(Reply(200, _FILE[:_HALF]),)),
    Case("file: a picture's first bytes", "DecodeError", file=(Reply(200, _FILE[:10]),)),
    Case("file: random bytes", "DecodeError", file=(Reply(200, bytes(range(256)) * 20),)),
    Case("file: gzip that is none", "DownloadError", file=(Reply(200, _FILE, {"Content-Encoding": "gzip"}),)),
    Case("file: a coding nobody asked for", "DownloadError or DecodeError", file=(Reply(200, _FILE,
         {"Content-Encoding": "br"}),)),
    Case("file: larger than allowed, announced", "MediaTooLargeError",
         file=(Endless(_head(10**12), b"\0" * 65536),), limits={"max_bytes": 10**6}),
    Case("file: larger than allowed, in chunks", "MediaTooLargeError",
         file=(Endless(_CHUNKED, b"10000\r\n" + b"\0" * 65536 + b"\r\n"),), limits={"max_bytes": 10**6}),
    Case("file: larger than allowed, in gzip", "MediaTooLargeError", file=(Bomb(),), limits={"max_bytes": 10**6}),
    Case("file: a refusal without end", "DownloadError", file=(Endless(_CHUNKED.replace(b"200", b"451"),
         b"1000\r\n" + b"x" * 4096 + b"\r\n"),)),
    Case("file: one header without end", "DownloadError", file=(Endless(b"HTTP/1.1 200 OK\r\nX: ", b"a" * 65536,
         2**23),), seconds=8),
    Case("file: interim answers without end", "DownloadError",
         file=(Endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1024, 2**26),), slow=True, seconds=20),
    Case("file: a redirect without end", "DownloadError",
         file=(Endless(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nTransfer-Encoding: chunked\r\n\r\n",
         b"1000\r\n" + b"x" * 4096 + b"\r\n"),), seconds=8),
    Case("file: each connection is reset", "DownloadError", file_accept=RESET),
    Case("file: each connection is closed", "DownloadError", file_accept=CLOSE),
    Case("file: nobody listens", "DownloadError", result="http://{nobody}/x.png"),
    Case("file: a name that nobody knows", "DownloadError", result="http://nowhere.invalid/x.png", at_once=True),
    Case("file: a bare name", result="media/picture.png"),
    Case("file: a bare name with blanks and marks", result="media/a picture ü.png"),
)  # fmt: skip
