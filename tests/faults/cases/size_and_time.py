"""Answers without end, and answers that never come."""

from __future__ import annotations

from typing import Any

from tests.faults.steps import (
    CLOSE,
    HONEST,
    PASSWORD,
    RESET,
    SILENCE,
    TAKE,
    Answer,
    Bomb,
    Case,
    Drip,
    Endless,
    HalfClose,
    Raw,
    Read,
    Reply,
    Silence,
)

_CHUNKED = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = b"10000\r\n" + b" " * 65536 + b"\r\n"
_PIECE = b" " * 65536


def _endless(status: int = 200) -> Endless:
    return Endless(_CHUNKED % status, _CHUNK)


_LONG = Endless(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", _PIECE)
_UNTIL_CLOSE = Endless(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", _PIECE)
_ONE_HEADER = Endless(b"HTTP/1.1 200 OK\r\nX-Long: ", b"a" * 65536, 2**26)
_MANY_HEADERS = Endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 4096, 2**26)
_STATUS_LINE = Endless(b"HTTP/1.1 200 ", b"a" * 65536, 2**26)
_INTERIM = Endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n" * 1024, 2**27)
_HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"

_DRIPPED_HEAD = Drip(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 100, passes=1.0)
_DRIPPED_BODY: tuple[Answer, ...] = (Raw(_HEAD), Drip(b" " * 1000, passes=1.0))
_LONG_SILENCE = Silence(40)


def _through(proxy: str = "http://{proxy}", name: str = "HTTP_PROXY") -> dict[str, Any]:
    """The fields of a case with that proxy, which is not used for this machine."""
    return {"environment": {name: proxy}, "public": True}


_PROXY = _through()
_SECURE_PROXY = _through(name="HTTPS_PROXY")

_IMPOSSIBLE = (
    "http://", "https://", "http:///x", "http://a b/", "http://:80/", "http://127.0.0.1:99999/", "http://127.0.0.1:0/",
    "http://127.0.0.1:x/", "http://[::1/", "http://[::zz]/", "http://a..b/", "http://%zz/", "ftp://127.0.0.1/",
    "127.0.0.1?x", "http://user:pass@127.0.0.1/", "http://\ud800/", "http://a\nb/", f"http://{'a' * 64}.example/",
    "http://127.0.0.1/\x00", "javascript:alert(1)",
)  # fmt: skip
_IMPOSSIBLE_RESULTS = (
    "http://", "http:///x.png", "http://a b/x.png", "http://:80/x.png", "http://127.0.0.1:99999/x.png",
    "http://127.0.0.1:0/x.png", "http://[::1/x.png", "http://a..b/x.png", "http://%zz/x.png", "http://\ud800/x.png",
    "http://a\r\nb/x.png", f"http://{'a' * 300}/x.png",
)  # fmt: skip

CASES = (
    Case("create: an endless answer in chunks", "ResponseError", create=((TAKE, _endless()),), names_job=True),
    Case("create: ten gigabytes announced", "ResponseError", create=((TAKE, _LONG),), names_job=True),
    Case("create: an answer until the connection ends, which it does not", "ResponseError",
         create=((TAKE, _UNTIL_CLOSE),)),
    Case("create: 1 GB in 1 MB of gzip", "ResponseError", create=((TAKE, Bomb()),), names_job=True),
    Case("create: 1 GB in 1 MB of deflate", "ResponseError", create=((TAKE, Bomb(coding="deflate")),), names_job=True),
    Case("create: 1 GB in gzip, written X-Gzip", "ResponseError or NetworkError",
         create=((TAKE, Bomb(coding="x-gzip")),)),
    Case("create: a coding nobody asked for", "ResponseError or NetworkError",
         create=((TAKE, Reply(200, b"\x8b\x03\x80{}\x03", {"Content-Encoding": "br"})),)),
    Case("create: gzip that is none", "ResponseError or NetworkError",
         create=((TAKE, Reply(200, b"{}", {"Content-Encoding": "gzip"})),)),
    Case("create: an endless refusal", "BadRequestError", create=(_endless(400),)),
    Case("create: a failure in 1 GB of gzip", "ServerError", create=((TAKE, Bomb(500)),), names_job=True),
    Case("create: one header without end", "NetworkError", create=((TAKE, _ONE_HEADER),), names_job=True),
    Case("create: headers without end", "NetworkError", create=((TAKE, _MANY_HEADERS),), names_job=True),
    Case("create: a status line without end", "NetworkError", create=((TAKE, _STATUS_LINE),), names_job=True),
    Case("create: interim answers without end", "NetworkError or RequestTimeoutError",
         create=((TAKE, _INTERIM),), slow=True, names_job=True),
    Case("create: headers that drip", "RequestTimeoutError", create=((TAKE, _DRIPPED_HEAD),), slow=True,
         names_job=True),
    Case("create: a body that drips", "RequestTimeoutError", create=((TAKE, *_DRIPPED_BODY),), slow=True,
         names_job=True),
    Case("create: interim answers that drip", "RequestTimeoutError",
         create=((TAKE, Drip(_HINTS * 100, passes=0.5)),), slow=True, names_job=True),
    Case("create: no answer ever", "RequestTimeoutError", create=((TAKE, SILENCE),), slow=True, names_job=True),
    Case("create: no answer, and the server's side closed", "NetworkError", create=((TAKE, HalfClose(), SILENCE),)),
    Case("query: an endless answer once", query=(_endless(), HONEST)),
    Case("query: 1 GB of gzip once", query=(Bomb(), HONEST)),
    Case("query: endless answers", "ResponseError", query=(_endless(),), seconds=8),
    Case("query: an endless failure once", query=(_endless(503), HONEST)),
    Case("query: an endless 404 once", query=(_endless(404), HONEST)),
    Case("query: a body that drips once", query=(_DRIPPED_BODY, HONEST), slow=True),
    Case("query: headers that drip once", query=(_DRIPPED_HEAD, HONEST), slow=True),
    Case("query: no answer once", query=(SILENCE, HONEST), slow=True),
    Case("query: no answer ever", "TaskTimeoutError", query=(Silence(140),), slow=True, do="wait", seconds=8),
    Case("query: one call, no answer ever", "RequestTimeoutError", query=(Silence(60),), do="query", slow=True,
         seconds=8),
    Case("cancel: an endless answer", "ResponseError", cancel=(_endless(),), do="cancel"),
    Case("cancel: 1 GB of gzip", "ResponseError", cancel=(Bomb(),), do="cancel"),
    Case("cancel: no answer once", cancel=(SILENCE, HONEST), do="cancel", slow=True),
    Case("cancel: reset once", cancel=(RESET, HONEST), do="cancel"),
    Case("resource: an endless answer", "ResponseError", resource=(_endless(),), do="resource"),
    Case("resource: no answer", "RequestTimeoutError", resource=(SILENCE,), do="resource", slow=True),
    Case("nobody listens", "NetworkError", url="http://{nobody}", creates=0, seconds=4),
    Case("each connection is closed at once", "NetworkError", accept=CLOSE, creates=0),
    Case("each connection is reset at once", "NetworkError", accept=RESET, creates=0),
    Case("each connection is reset once the request comes", "NetworkError", accept=(Read(), RESET), creates=0),
    Case("a name that nobody knows", "NetworkError", url="http://nowhere.invalid", creates=0, at_once=True),
    Case("an address that no way leads to", "NetworkError",
         url="http://255.255.255.255", creates=0, at_once=True, contacts=("255.255.255.255",)),
    Case("proxy: nobody listens", "NetworkError", **_through("http://{nobody}"), creates=0),
    Case("proxy: resets", "NetworkError", **_PROXY, proxy=(RESET,), creates=0),
    Case("proxy: closes", "NetworkError", **_PROXY, proxy=(CLOSE,), creates=0),
    Case("proxy: silent", "RequestTimeoutError", **_PROXY, proxy=(SILENCE,), creates=0, slow=True),
    Case("proxy: drips", "RequestTimeoutError", **_PROXY, proxy=(_DRIPPED_HEAD,), creates=0, slow=True),
    Case("proxy: wants a login", "APIStatusError", **_PROXY, proxy=(Reply(407),), creates=0),
    Case("proxy: bad gateway", "ServerError", **_PROXY, proxy=(Reply(502),), creates=0),
    Case("proxy: garbage", "NetworkError", **_PROXY, proxy=(Raw(b"what?\r\n\r\n"), ), creates=0),
    Case("proxy: its password in no text", "NetworkError",
         **_through(f"http://me:{PASSWORD}@{{proxy}}"), proxy=(RESET,), creates=0),
    Case("proxy: the password of one that is not there", "NetworkError",
         **_through(f"http://me:{PASSWORD}@{{nobody}}"), creates=0),
    *(Case(f"proxy: no tunnel, {status}", "NetworkError", **_SECURE_PROXY, secure=("sequencer",),
           proxy=(Reply(status, b"no"),), creates=0) for status in (400, 403, 405, 407, 502, 503)),
    Case("proxy: no tunnel, silence", "RequestTimeoutError",
         **_SECURE_PROXY, secure=("sequencer",), proxy=(_LONG_SILENCE,), creates=0, slow=True, seconds=8),
    Case("proxy: no tunnel, reset", "NetworkError",
         **_SECURE_PROXY, secure=("sequencer",), proxy=(RESET,), creates=0),
    Case("proxy: no tunnel, garbage", "NetworkError",
         **_SECURE_PROXY, secure=("sequencer",), proxy=((Raw(b"\0\1\2\3\r\n\r\n"), CLOSE),), creates=0),
    Case("proxy: a tunnel to nowhere", "NetworkError",
         **_SECURE_PROXY, secure=("sequencer",), proxy=((Reply(200), CLOSE),), creates=0),
    *(Case(f"proxy: cannot be one, {address}", "NetworkError or ConfigurationError",
           **_through(address), creates=0, at_once=True)
      for address in ("http://", "http://a b:1", "http://:80", "socks5://127.0.0.1:1", "http://[", "ftp://127.0.0.1")),
    *(Case(f"no address: {address!a:.40}", "ConfigurationError", url=address, creates=0, at_once=True)
      for address in _IMPOSSIBLE),
    *(Case(f"no address of a result: {address!a:.40}", "DownloadError", result=address, at_once=True)
      for address in _IMPOSSIBLE_RESULTS),
)  # fmt: skip
