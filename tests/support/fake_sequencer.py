"""A sequencer for tests: real HTTP over loopback, answering what the test says, remembering what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.loopback import HandlerBase, LoopbackServer

LONGEST_SILENCE = 20.0
"""Seconds after which a request that is left without an answer is cut even if the test never ends."""


@dataclass
class Answer:
    """What to send back; ``drop`` closes the connection without a word."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


DROP = Answer(drop=True)


def status(name: str, **fields: Any) -> Answer:
    """An answer to task_result_query."""
    return Answer({"status": name, **fields})


@dataclass
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FakeSequencer(LoopbackServer):
    """Answers each endpoint from its own list, the last answer again and again."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: dict[str, list[Answer | Callable[[Seen], Answer]]] = {
            "/task_create": [Answer({"task_id": "t1", "msg": "ok"})],
            "/task_result_query": [status("finished", result="https://media.example/x.mp4")],
            "/task_cancel": [Answer({"task_id": "t1", "msg": "cancelled"})],
            "/resource_request": [Answer({"miner_id": "m1"})],
        }
        self.lock = threading.Lock()
        super().__init__(_Handler)

    def take(self, seen: Seen) -> Answer:
        with self.lock:
            self.seen.append(seen)
            answers = self.answers.get(seen.path.partition("?")[0], [Answer({"message": "no such path"}, 404)])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(seen) if callable(answer) else answer

    def script(self, endpoint: str, *answers: Answer | Callable[[Seen], Answer]) -> None:
        self.answers[f"/{endpoint}"] = list(answers)

    @contextmanager
    def silent(self, endpoint: str) -> Iterator[None]:
        """Leave the endpoint's requests without an answer for as long as the context lasts, then cut them."""
        ended = threading.Event()

        def hold(_: Seen) -> Answer:
            ended.wait(LONGEST_SILENCE)
            return DROP

        self.script(endpoint, hold)
        try:
            yield
        finally:
            ended.set()

    def paths(self) -> list[str]:
        return [seen.path.lstrip("/") for seen in self.seen]

    def count(self, endpoint: str) -> int:
        return self.paths().count(endpoint)


class _Handler(HandlerBase, BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.answer(self.rfile.read(length))

    def do_GET(self) -> None:
        self.answer(b"null")

    def do_PUT(self) -> None:
        self.answer(json.dumps({"bytes": len(self.rfile.read(int(self.headers["content-length"])))}).encode())

    def answer(self, body: bytes) -> None:
        answer = self.owner.take(Seen(self.command, self.path, self.lower_headers(), json.loads(body)))
        if answer.drop:
            self.close_connection = True
            return
        content = answer.content()
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(content)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if answer.headers.get("Content-Length", str(len(content))) != str(len(content)):
            self.close_connection = True
