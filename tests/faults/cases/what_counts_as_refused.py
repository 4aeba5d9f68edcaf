"""Answers that are no plain yes or no: a create is refused only by one that says so, and polls are free."""

from __future__ import annotations

from tests.faults.steps import CLOSE, HONEST, RESET, TAKE, Answer, Case, Raw, Reply, WhenIdle

_YES = b'{"task_id": "t-1"}'
_ENTIRE = b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n" + _YES
_FOREIGN = b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"task_id": "alien"}'

_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n"
_INTERIM = {
    "103": _HINTS,
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "104": b"HTTP/1.1 104 Upload Resumption Supported\r\n\r\n",
    "199": b"HTTP/1.1 199 Whatever\r\nX: y\r\n\r\n",
    "twelve of 103": _HINTS * 12,
    "100 and 103": b"HTTP/1.1 100 Continue\r\n\r\n" + _HINTS,
}

_REFUSED = {
    "BadRequestError": (400, 422),
    "AuthenticationError": (401,),
    "PaymentRequiredError": (402,),
    "PermissionDeniedError": (403,),
    "NotFoundError": (404, 410),
    "APIStatusError": (405, 406, 407, 411, 413, 414, 415, 421, 426, 428, 431, 451),
    "ServerError": (501, 505, 507, 511),
}
_IN_DOUBT = {
    "APIStatusError": (304, 408, 412, 416, 417, 418, 423, 424, 499),
    "ConflictError": (409,),
    "ServerError": (500, 502, 503, 504, 508, 510, 520, 522, 524, 530, 599),
}
_REDIRECTS = (301, 302, 303, 307, 308)

_GARBAGE = {
    "a letter for a status": b"HTTP/1.1 abc OK\r\nContent-Length: 18\r\n\r\n" + _YES,
    "a status of two digits": b"HTTP/1.1 99 OK\r\nContent-Length: 18\r\n\r\n" + _YES,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 18\r\n\r\n" + _YES,
    "a negative status": b"HTTP/1.1 -20 OK\r\nContent-Length: 18\r\n\r\n" + _YES,
    "no status": b"HTTP/1.1\r\nContent-Length: 18\r\n\r\n" + _YES,
    "another protocol": b"ICY 200 OK\r\nContent-Length: 18\r\n\r\n" + _YES,
    "a greeting of ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a page without headers": b"<html><body>Bad gateway</body></html>",
    "bytes": bytes(range(256)),
    "an empty line": b"\r\n",
    "a record of TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + _YES,
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -18\r\n\r\n" + _YES,
    "chunks of no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" + _YES,
    "half the headers": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "half the body": b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n" + _YES[:9],
    "half the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n" + _YES + b"\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n" + _YES[:9],
    "half the body of a refusal": b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n{}",
}

_BAD_POLLS: dict[str, Answer] = {
    "a page": Reply(200, b"<html>Back in a moment</html>"),
    "nothing": Reply(200, b""),
    "half an object": Reply(200, b'{"status": "runn'),
    "a list": Reply(200, []),
    "null": Reply(200, None),
    "a number": Reply(200, 7),
    "a text": Reply(200, "running"),
    "no status": Reply(200, {"task_id": "t-1"}),
    "a status of null": Reply(200, {"status": None}),
    "a status that is a number": Reply(200, {"status": 3}),
    "an empty status": Reply(200, {"status": ""}),
    "a blank status": Reply(200, {"status": " \n"}),
    "a status that is a list": Reply(200, {"status": ["finished"]}),
    "no content": Reply(204),
    "bytes": Reply(200, bytes(range(256))),
    "404": Reply(404, {"message": "no such task"}),
    "410": Reply(410),
    "408": Reply(408),
    "425": Reply(425),
    "429": Reply(429, b"", {"Retry-After": "3"}),
    "500": Reply(500),
    "502": Reply(502, b"<html>bad gateway</html>"),
    "503": Reply(503, b"", {"Retry-After": "3"}),
    "504": Reply(504),
    "599": Reply(599),
    "reset": RESET,
    "closed": CLOSE,
    "half a body": (Raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"status": '), CLOSE),
    "no HTTP": (Raw(b"hello\r\n\r\n"), CLOSE),
    "an interim answer first": (Raw(_HINTS), HONEST),
    "another status": Reply(200, {"status": "queued"}),
    "a status in capitals": Reply(200, {"status": "RUNNING"}),
}


def _ended(status: str, **fields: str) -> Reply:
    return Reply(200, {"task_id": "t-1", "status": status, **fields})


_PICTURE = {"result": "http://{files}/media/picture.png"}

CASES = (
    *(Case(f"create: {name} before the answer", create=((Raw(data), HONEST),)) for name, data in _INTERIM.items()),
    Case("create: an interim answer before a refusal", "BadRequestError", create=((Raw(_HINTS), Reply(400)),)),
    Case("create: an interim answer, then none", "NetworkError",
         create=((TAKE, Raw(_HINTS), CLOSE),), names_job=True),
    Case("create: switching protocols", "NetworkError or ResponseError or APIStatusError",
         create=((TAKE, Raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
         CLOSE),)),
    *(Case(f"create: {status}", kind, create=(Reply(status, {"message": "no"}),))
      for kind, statuses in _REFUSED.items() for status in statuses),
    *(Case(f"create: {status}, and yet it runs", kind, create=((TAKE, Reply(status, {"message": "hm"})),),
           names_job=True)
      for kind, statuses in _IN_DOUBT.items() for status in statuses if status != 304),
    *(Case(f"create: {status} to another server", "APIStatusError",
           create=(Reply(status, b"", {"Location": "http://{elsewhere}/task_create"}),)) for status in _REDIRECTS[3:]),
    *(Case(f"create: {status} to another server, and yet it runs", "APIStatusError",
           create=((TAKE, Reply(status, b"", {"Location": "http://{elsewhere}/task_create"})),))
           for status in _REDIRECTS[:3]),
    *(Case(f"create: {status} to {where or 'nowhere'}", "APIStatusError",
           create=(Reply(status, b"", {"Location": where}),))
      for status, where in ((307, "http://"), (308, "http://[::1"), (307, "/task_create"), (307, ""))),
    Case("query: a redirect", "APIStatusError", query=(Reply(307, b"", {"Location": "http://{elsewhere}/x"}),)),
    Case("cancel: a redirect", "APIStatusError",
         cancel=(Reply(308, b"", {"Location": "http://{elsewhere}/x"}),), do="cancel"),
    *(Case(f"create: {status} is yes", create=((TAKE, Reply(status, _YES)),)) for status in (200, 201, 202, 203, 299)),
    Case("create: no content", "ResponseError", create=((TAKE, Reply(204)),), names_job=True),
    Case("create: 425 once", create=(Reply(425), HONEST), creates=2),
    Case("create: 429 once", create=(Reply(429), HONEST), creates=2),
    Case("create: 503 that says when, once", create=(Reply(503, b"", {"Retry-After": "2"}), HONEST), creates=2),
    Case("create: 429 for hours", "RateLimitError", create=(Reply(429, b"", {"Retry-After": "9999"}),), at_once=True),
    *(Case(f"create: 429 with Retry-After {value}", create=(Reply(429, b"", {"Retry-After": value}), HONEST), creates=2)
      for value in ("-5", "soon", "nan", "inf", "", "1e3", "Wed, 99 Foo 2024 00:00:00 GMT", "9" * 5000)),
    *(Case(f"create: {name}", "NetworkError", create=((TAKE, Raw(data), CLOSE),), names_job=True)
      for name, data in _GARBAGE.items()),
    Case("create: reset", "NetworkError", create=((TAKE, RESET),), names_job=True),
    Case("create: closed", "NetworkError", create=((TAKE, CLOSE),), names_job=True),
    Case("create: reset in the body", "NetworkError", create=((TAKE, Raw(_ENTIRE[:-5]), RESET),), names_job=True),
    Case("create: an answer of HTTP/1.0", create=((TAKE, Raw(_ENTIRE.replace(b"1.1", b"1.0")), CLOSE),)),
    Case("create: an answer that ends with the connection",
         create=((TAKE, Raw(b"HTTP/1.0 200 OK\r\n\r\n" + _YES), CLOSE),)),
    Case("create: an answer without a phrase", create=((TAKE, Raw(_ENTIRE.replace(b"200 OK", b"200"))),)),
    Case("create: more than was announced", "success or NetworkError", create=((TAKE, Raw(_ENTIRE + b"and more"),
         CLOSE),)),
    *(Case(f"create: an answer lies there already, {name}", do="query+idle+run", query=((HONEST, WhenIdle(stray)),
           HONEST))
      for name, stray in {
          "another task": _FOREIGN, "a refusal": b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n",
          "garbage": b"\0\1\2\3",
          "a login page": b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>", "an interim one": _HINTS,
      }.items()),
    Case("create: the idle connection is closed", do="query+idle+run", query=((HONEST, WhenIdle(b"")), HONEST)),
    *(Case(f"query: {name} once", query=(answer, HONEST)) for name, answer in _BAD_POLLS.items()),
    *(Case(f"query: running, {name}, done", query=(_ended("running"), answer, HONEST))
      for name, answer in _BAD_POLLS.items() if name in ("a page", "nothing", "no status", "502", "no HTTP")),
    Case("query: 404 for ever", "NotFoundError", query=(Reply(404, {"message": "no such task"}),)),
    Case("query: 404 while asked for an old task", "NotFoundError", query=(Reply(404),), do="wait"),
    Case("query: garbage for ever", "ResponseError", query=(Reply(200, b"<html></html>"),)),
    Case("query: failures for ever", "TaskTimeoutError", query=(Reply(502),)),
    Case("query: the key is refused", "AuthenticationError", query=(Reply(401),)),
    Case("query: 403", "PermissionDeniedError", query=(Reply(403),)),
    *(Case(f"query: {status!r} ends well", query=(_ended(status, **_PICTURE),))
      for status in ("FINISHED", "Finished", " finished ", "fInIsHeD\n")),
    *(Case(f"query: {status!r}", "TaskCanceledError", query=(_ended(status),), charges=2)
      for status in ("canceled", "cancelled", "CANCELED", "Cancelled")),
    *(Case(f"query: {status!r}", "TaskFailedError", query=(_ended(status, msg="no memory"),), charges=2,
           says=("no memory",))
      for status in ("failed", "FAILED", " Failed")),
    *(Case(f"query: the answer is about task {other!a:.20}", query=(Reply(200, {"status": "finished",
           "task_id": other} | _PICTURE),))
      for other in ("alien", "", None, 7, [], "../../x", "t-1\n", "x" * 10_000)),
    Case("cancel: 404", "NotFoundError", cancel=(Reply(404),), do="cancel"),
    Case("cancel: 409", "ConflictError", cancel=(Reply(409),), do="cancel"),
    Case("cancel: 500 once", cancel=(Reply(500), HONEST), do="cancel"),
    Case("cancel: a page", "ResponseError", cancel=(Reply(200, b"<html></html>"),), do="cancel"),
    Case("resource: 500", "ServerError", resource=(Reply(500),), do="resource"),
    Case("resource: 429 once", resource=(Reply(429), HONEST), do="resource"),
)  # fmt: skip
