"""The servers of one case together: what they answer by its table, and what once they are healed."""

from __future__ import annotations

import io
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from PIL import Image

from tests.faults import certificates
from tests.faults.server import PATIENCE, Request, Server, packed
from tests.faults.steps import HONEST, PICTURE, Answer, Bomb, Case, Reply

_NAMES = re.compile(rb"\{(sequencer|files|elsewhere|proxy|nobody)(\.port)?\}")
_ENDPOINTS = {
    "task_create": "create",
    "task_result_query": "query",
    "task_cancel": "cancel",
    "resource_request": "resource",
}


@lru_cache(maxsize=1)
def picture() -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(file, "PNG")
    return file.getvalue()


class Clock:
    """The client's time: it passes when the client sleeps, and when a server says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Sleep in no time."""
        self.sleeps.append(seconds)
        self.passes(seconds)

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self.now += seconds


class World:
    """Plays a case's servers.

    ``created`` are the job ids of all requests to create; ``jobs`` are those that were taken and charged, each with
    its task's id.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.clock = Clock()
        self.healed = False
        self.created: list[str] = []
        self.jobs: dict[str, str] = {}
        self.servers: dict[str, Server] = {}
        self._asked: dict[str, int] = {}
        self._lock = threading.Lock()
        self._unused = socket.socket()
        self._is_idle, self._may_go_on = threading.Event(), threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve for as long as the context lasts."""
        for name in ("sequencer", "files", "elsewhere", "proxy"):
            context = None
            if name in self.case.secure:
                context = certificates.context(self.case.certificate)
            elif name in self.case.untrusted:
                context = certificates.context("unknown-server")
            self.servers[name] = Server(name, self, context)
        self._unused.bind(("127.0.0.1", 0))
        for each in (step for answer in self._answers() for step in _steps(answer)):
            if isinstance(each, Bomb):
                packed(each.coding, each.size)  # Made now: it is not the client's time and memory.
        try:
            yield
        finally:
            for server in self.servers.values():
                server.close()
            self._unused.close()

    def heal(self) -> None:
        """From now on, every server is an honest one; that took a while."""
        self.healed = True
        self.clock.passes(600)

    @property
    def requests(self) -> list[Request]:
        """What all servers were asked, each server's in their order."""
        return [request for server in self.servers.values() for request in server.requests]

    @property
    def url(self) -> str:
        """The sequencer's address."""
        if self.case.url is not None and (not self.healed or self.case.ends == "success"):
            return self.text(self.case.url)
        scheme = "https" if "sequencer" in self.case.secure + self.case.untrusted else "http"
        host = "sequencer.example:{sequencer.port}" if self.case.public else "{sequencer}"
        return self.text(f"{scheme}://{host}")

    def text(self, text: str) -> str:
        """The text with the servers' addresses in place of their names."""
        return self.filled(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def filled(self, data: bytes) -> bytes:
        """The same for bytes."""

        def address(match: re.Match[bytes]) -> bytes:
            name = match[1].decode()
            port = self._unused.getsockname()[1] if name == "nobody" else self.servers[name].port
            return (f"{port}" if match[2] else f"127.0.0.1:{port}").encode()

        return _NAMES.sub(address, data)

    def passes(self, seconds: float) -> None:
        """Let time pass on the client's clock."""
        self.clock.passes(seconds)

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Wait until the client is idle, and afterwards let it go on."""
        self._is_idle.wait(PATIENCE)
        try:
            yield
        finally:
            self._may_go_on.set()

    def be_idle(self) -> None:
        """Wait, as the client, until the server has done what it does then."""
        self._is_idle.set()
        self._may_go_on.wait(PATIENCE)

    def greeting(self, server: Server) -> Answer:
        """What the server does on a new connection before anything is read."""
        if self.healed:
            return ()
        return {"sequencer": self.case.accept, "files": self.case.file_accept}.get(server.name, ())

    def answer(self, server: Server, request: Request) -> Answer:
        """What the server does about a request."""
        place = self._place(server, request)
        with self._lock:
            if place == "create":
                self.created.append(str((request.json or {}).get("job_id")))
            answers: tuple[Answer, ...] = () if self.healed or place is None else getattr(self.case, place)
            number = self._asked[place or ""] = self._asked.get(place or "", 0) + 1
        return answers[min(number, len(answers)) - 1] if answers else HONEST

    def take(self, request: Request) -> None:
        """Create the task that the request is about."""
        with self._lock:
            self.jobs.setdefault(str(request.json["job_id"]), f"t-{len(self.jobs) + 1}")

    def honest(self, server: Server, request: Request) -> Reply:
        """What a server without faults answers."""
        match self._place(server, request):
            case "create":
                self.take(request)
                return Reply(200, {"task_id": self.jobs[request.json["job_id"]], "msg": "ok"})
            case "query":
                return Reply(200, {"task_id": request.json["task_id"], "status": "finished", "result": self._result()})
            case "cancel":
                return Reply(200, {"task_id": request.json["task_id"], "msg": "canceled"})
            case "resource":
                return Reply(200, {"miner_id": "m-1"})
            case "proxy":
                return Reply(502, b"this proxy passes nothing on")
            case _:
                return Reply(200, picture(), {"Content-Type": "image/png", "ETag": '"1"'})

    def _result(self) -> Any:
        result = PICTURE if self.healed else self.case.result
        if self.case.public and result is PICTURE:
            return "http://files.example:{files.port}/media/picture.png"
        if result is PICTURE and "files" in self.case.secure + self.case.untrusted:
            return PICTURE.replace("http:", "https:")
        return result

    def _place(self, server: Server, request: Request) -> str | None:
        """The name of the case's field that holds what is answered."""
        if server.name == "sequencer":
            endpoint = request.target.partition("?")[0].rpartition("/")[2]
            return _ENDPOINTS.get(endpoint) if request.method == "POST" else None
        return {"files": "file"}.get(server.name, server.name)

    def _answers(self) -> list[Answer]:
        case = self.case
        return [*case.create, *case.query, *case.cancel, *case.resource, *case.file, *case.elsewhere, *case.proxy]


def _steps(answer: Answer) -> tuple[Any, ...]:
    return answer if isinstance(answer, tuple) else (answer,)
