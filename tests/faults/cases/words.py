"""Texts that are none to be shown, ids that are none, and JSON that is odd."""

from __future__ import annotations

import json
from typing import Any

from tests.faults.steps import HONEST, KEY, TAKE, Answer, Case, Raw, Reply

_MEGABYTE = "x" * 2**20
_TEXTS = {
    "control characters": "a\x00b\x1b[31mred\x1b[0m\x07\x08\x7f\x9b2J",
    "lines": "one\r\ntwo\nthree\u2028four\x0bfive",
    "bidi overrides": "safe\u202egpj.exe\u202c\u2066x\u2069\u200f",
    "half a character": "half \ud83d and \udc00 other",
    "a megabyte": _MEGABYTE,
    "a megabyte of lines": "x\n" * 2**19,
    "a megabyte of blanks, then words": " " * 2**20 + "the end",
    "a megabyte of marks": "\u202e" * 2**18,
    "the key": f"your key {KEY} is not good",
    "the key, cut apart": f"{KEY}\u202e{KEY}",
    "a byte order mark": "\ufeffhello",
    "nothing but blanks": " \t\n",
    "nothing": "",
    "format characters": "%s %d {0} {} {task_id} %(x)s",
    "marks of a page": "<script>alert(1)</script>",
}
_NO_TEXTS: dict[str, Any] = {
    "a list": ["a", "b"],
    "an object": {"detail": [{"loc": ["x"], "msg": "bad"}]},
    "a number": 7,
    "null": None,
    "true": True,
    "a deep list": json.loads("[" * 400 + "]" * 400),
}

_BAD_IDS: dict[str, Any] = {
    "empty": "", "blank": " \t", "a line end": "\n", "257 characters": "x" * 257, "a megabyte": _MEGABYTE,
    "null": None, "true": True, "a fraction": 1.5, "a list": ["t-1"], "an object": {"id": "t-1"},
    "a control character": "t\x00-1", "an escape": "t\x1b[31m-1", "a bidi override": "t\u202e-1",
    "half a character": "t\ud800-1", "two lines": "t-1\nt-2", "a blank within the lines": "t\u2028-1",
}  # fmt: skip
_GOOD_IDS: dict[str, Any] = {
    "a number": 42, "256 characters": "x" * 256, "not ASCII": "任务-7", "a path": "../../etc/passwd",
    "a slash": "a/b\\c",
    "a drive": "C:\\x", "a question": "x?y#z", "quotes": "x\"y'z", "an emoji": "\U0001f600", "a dot": "..",
    "a tilde": "~root",
}  # fmt: skip


def _of(json_text: str, encoding: str = "utf-8") -> Reply:
    return Reply(200, json_text.encode(encoding, "surrogatepass"))


_YES = '{"task_id": "t-1"}'
_READABLE = {
    "a byte order mark": _of("\ufeff" + _YES),
    "UTF-16": _of(_YES, "utf-16"),
    "UTF-16 without a mark": _of(_YES, "utf-16-le"),
    "UTF-32": _of(_YES, "utf-32"),
    "blanks around": _of(f"\r\n\t {_YES} \n" + " " * 100_000),
    "the id twice": _of('{"task_id": "other", "task_id": "t-1"}'),
    "escapes": _of('{"task\\u005fid": "t\\u002d1"}'),
    "NaN beside": _of('{"task_id": "t-1", "cost": NaN, "more": [Infinity, -Infinity]}'),
    "much beside": _of(json.dumps({"task_id": "t-1", "more": ["x" * 1000] * 1000})),
    "a wrong type": Reply(200, _YES.encode(), {"Content-Type": "text/html; charset=utf-7"}),
    "no type": Reply(200, _YES.encode(), {"Content-Type": ""}),
    "a huge number in exponents": _of('{"task_id": "t-1", "x": 1e400}'),
    "half a character beside": _of('{"task_id": "t-1", "msg": "\\ud800"}'),
    "nested a little": _of('{"task_id": "t-1", "x": ' + "[" * 50 + "]" * 50 + "}"),
}
_UNREADABLE = {
    "nothing": _of(""), "blanks": _of(" \n"), "a list": _of(f"[{_YES}]"), "a text": _of('"t-1"'), "a number": _of("1"),
    "null": _of("null"), "true": _of("true"), "NaN": _of("NaN"), "half of it": _of(_YES[:10]), "two": _of(_YES + _YES),
    "a comment": _of("/* x */" + _YES), "other quotes": _of(_YES.replace('"', "'")), "a NUL": _of(_YES + "\0"),
    "a comma too many": _of('{"task_id": "t-1",}'), "not UTF-8": Reply(200, b'{"task_id": "\xff\xfe"}'),
    "a raw line end in a text": _of('{"task_id": "t\n1"}'), "a page": _of("<!doctype html><title>Login</title>"),
    "nested deep": _of('{"task_id": "t-1", "x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    "nested deep, objects": _of('{"x":' * 100_000 + "1" + "}" * 100_000), "no id": _of("{}"),
    "another name": _of('{"taskId": "t-1"}'), "a megabyte that is none": _of("{" * 2**20),
    "a number of 10,000 digits": _of('{"task_id": "t-1", "n": ' + "9" * 10_000 + "}"),
    "an id of 10,000 digits": _of('{"task_id": ' + "9" * 10_000 + "}"), "the key": _of(KEY),
    "the key and more": _of(f'{{"x": "{KEY}'),
}  # fmt: skip


def _failed(**fields: Any) -> Answer:
    return Reply(200, {"task_id": "t-1", "status": "failed", **fields})


def _running(**fields: Any) -> Answer:
    return Reply(200, {"task_id": "t-1", "status": "running", **fields})


_ALL = _TEXTS | _NO_TEXTS
_WORST = ("control characters", "bidi overrides", "half a character", "a megabyte", "the key")
_SOME = {name: _TEXTS[name] for name in _WORST}
_PATHS = {name: value for name, value in _GOOD_IDS.items() if str(value)[0] in "./~aC"}
CASES = (
    *(Case(f"create: refused in {name}", "BadRequestError", create=(Reply(400, {"message": text}),))
      for name, text in _ALL.items()),
    *(Case(f"create: refused with {field}", "BadRequestError", create=(Reply(400, {field: "no such workflow"}),),
           says=("no such workflow",)) for field in ("message", "error", "msg", "detail")),
    *(Case(f"create: refused in plain text, {name}", "BadRequestError",
           create=(Reply(400, text.encode("utf-8", "surrogatepass")),)) for name, text in _SOME.items()),
    *(Case(f"create: no id and {name}", "ResponseError", create=((TAKE, Reply(200, {"msg": text})),), names_job=True)
      for name, text in _SOME.items()),
    *(Case(f"create: a failure in {name}", "ServerError", create=((TAKE, Reply(500, {"error": text})),), names_job=True)
      for name, text in _SOME.items()),
    *(Case(f"query: failed, {name}", "TaskFailedError", query=(_failed(msg=text),), charges=2)
      for name, text in (_SOME | _NO_TEXTS).items()),
    *(Case(f"query: failed with a result of {name}", "TaskFailedError", query=(_failed(result=text),), charges=2)
      for name, text in _SOME.items()),
    *(Case(f"query: running, {name}", query=(_running(msg=text), HONEST)) for name, text in _SOME.items()),
    *(Case(f"query: a status of {name}", query=(Reply(200, {"status": text, "task_id": "t-1"}), HONEST))
      for name, text in (_SOME | _NO_TEXTS).items()),
    *(Case(f"query: trouble in {name}", query=(Reply(503, {"message": text}), HONEST)) for name, text in _SOME.items()),
    *(Case(f"query: refused in {name}", "PermissionDeniedError", query=(Reply(403, {"message": text}),))
      for name, text in _SOME.items()),
    *(Case(f"cancel: done, {name}", cancel=(Reply(200, {"msg": text}),), do="cancel") for name, text in _SOME.items()),
    *(Case(f"a result of {name}", "success or DownloadError", result=text) for name, text in _SOME.items()),
    Case("a phrase in control characters", "BadRequestError", create=(Reply(400, reason="a\x1b[31mb\x9b"),)),
    Case("a phrase of a megabyte", "BadRequestError or NetworkError", create=(Reply(400, reason="x" * 2**20),)),
    Case("a phrase that is not ASCII", "BadRequestError", create=(Reply(400, reason="Ung\udcfcltig"),)),
    Case("a redirect to the key", "APIStatusError",
         create=(Reply(307, b"", {"Location": f"https://x.example/{KEY}"}),)),
    Case("a redirect to a host of the key", "APIStatusError",
         create=(Reply(307, b"", {"Location": f"https://{KEY}.example/"}),)),
    Case("a redirect to a megabyte", "APIStatusError or NetworkError",
         create=(Reply(308, b"", {"Location": "https://x.example/" + "x" * 2**20}),)),
    Case("a redirect to plain http", "APIStatusError",
         create=(Reply(308, b"", {"Location": "http://x.example/task_create"}),)),
    Case("a header in bytes", create=(
        (TAKE, Raw(b"HTTP/1.1 200 OK\r\nX-Name: \xff\xfe\x80\r\nContent-Length: 18\r\n\r\n" + _YES.encode())),)),
    *(Case(f"create: an id that is {name}", "ResponseError", create=((TAKE, Reply(200, {"task_id": value})),),
           names_job=True)
      for name, value in _BAD_IDS.items()),
    *(Case(f"create: an id that is {name}, and good", create=((TAKE, Reply(200, {"task_id": value})),), any_id=True)
      for name, value in _GOOD_IDS.items()),
    *(Case(f"a task called {name} whose result is none", "DecodeError", any_id=True,
           create=((TAKE, Reply(200, {"task_id": value})),), file=(Reply(200, b"<html>"),))
      for name, value in _PATHS.items()),
    *(Case(f"create: JSON with {name}", create=((TAKE, answer),)) for name, answer in _READABLE.items()),
    *(Case(f"create: JSON of {name}", "ResponseError", create=((TAKE, answer),), names_job=True)
      for name, answer in _UNREADABLE.items()),
    *(Case(f"query: JSON of {name} once", query=(answer, HONEST)) for name, answer in list(_UNREADABLE.items())[::4]),
    *(Case(f"resource: JSON of {name}", "ResponseError", resource=(answer,), do="resource")
      for name, answer in _UNREADABLE.items() if name in ("nothing", "a list", "nested deep", "not UTF-8", "the key")),
    *(Case(f"query: {name} where a number belongs", query=(Reply(200, {"status": "running", "inference_latency": value,
           "create_timestamp": value, "timeout_seconds": value, "workflow_id": value, "task_type": value}), HONEST))
      for name, value in (_NO_TEXTS | {"a huge one": 10**300, "words": "soon"}).items()),
)  # fmt: skip
