"""A real sandbox in a thread, and what tests do with one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.fake_miner import FakeMiner
from tests.support.loopback import HandlerBase, LoopbackServer
from tests.support.manual_clock import ManualClock
from tests.support.processes import poll
from xalora_client.sequencer import Options, SequencerOptions
from xalora_client.sequencer.app import serve
from xalora_client.sequencer.clock import Clock

DEADLINE_SECONDS = 20.0


class Caller:
    """The client's side of the protocol, as plainly as possible."""

    consumer_id = "tester"
    api_key = "secret-of-the-tester"
    _numbers = itertools.count()

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, endpoint: str, **body: Any) -> requests.Response:
        """Post a body with the key; None leaves a field out."""
        body = {"api_key": self.api_key, **body}
        return requests.post(
            f"{self.url}/{endpoint}", json={k: v for k, v in body.items() if v is not None}, timeout=30
        )

    def try_create(self, task_type: Any, parameters: Any, /, **more: Any) -> requests.Response:
        body = {
            "consumer_id": self.consumer_id,
            "task_type": task_type,
            "task_details": {"parameters": parameters},
            "job_id": f"sdk-workflow-{next(self._numbers):010x}",
        }
        return self.post("task_create", **body | more)

    def create(self, task_type: str, more: dict[str, Any] | None = None, **parameters: Any) -> str:
        """Create a task and return its id."""
        answer = self.try_create(task_type, parameters, **more or {})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def video(self, more: dict[str, Any] | None = None, **parameters: Any) -> str:
        """Create a small text2video task and return its id."""
        small = {"prompt": "a rabbit", "width": 64, "height": 64, "length": 5}
        return self.create("txt2vid", more, **small | parameters)

    def query(self, task_id: str) -> dict[str, Any]:
        answer = self.post("task_result_query", task_id=task_id)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def wait(self, task_id: str, *statuses: str) -> dict[str, Any]:
        """Return the task's state once it has one of these statuses, or has ended."""
        wanted = {*statuses, "finished", "failed", "canceled"}
        return poll(lambda: (state := self.query(task_id))["status"] in wanted and state)

    def cancel(self, task_id: str) -> str:
        answer = self.post("task_cancel", task_id=task_id)
        assert answer.status_code == 200, answer.text
        assert answer.json()["task_id"] == task_id
        return str(answer.json()["msg"])

    def result(self, task_id: str) -> bytes:
        """Wait for a task to finish and return its media."""
        state = self.wait(task_id)
        assert state["status"] == "finished", state
        answer = requests.get(state["result"], timeout=30)
        assert answer.status_code == 200
        return answer.content


class Served(Caller):
    """A server in a thread of this process."""

    database = "sandbox.sqlite3"

    def __init__(
        self, data: Path, options: Options | SequencerOptions, clock: Clock | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.data = data
        self._loop = asyncio.new_event_loop()
        ready: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._serving = self._loop.create_task(serve(host, 0, data, options, on_ready=ready.set_result, clock=clock))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        super().__init__(ready.result(DEADLINE_SECONDS).replace("0.0.0.0", "127.0.0.1"))

    def _run(self) -> None:
        with closing(self._loop):
            self._loop.run_until_complete(asyncio.wait([self._serving]))
            self._loop.run_until_complete(self._loop.shutdown_default_executor())

    def ended(self) -> None:
        """Wait until it ends by itself. Raises its error."""
        self._thread.join(DEADLINE_SECONDS)
        self._serving.result()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._serving.cancel)
            self._thread.join()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the server's database while it runs."""
        with closing(sqlite3.connect(self.data / self.database)) as db:
            return db.execute(sql).fetchall()


class Sandbox(Served):
    """A sandbox."""

    def __init__(self, data: Path, **options: Any) -> None:
        super().__init__(data, Options(**options))


class SequencerServer(Served):
    """A sequencer whose clock stands still until ``advance``."""

    database = "sequencer.sqlite3"

    def __init__(self, data: Path, *, now: float, host: str, **options: Any) -> None:
        self.clock = ManualClock(now)
        super().__init__(data, SequencerOptions(**options), self.clock, host)

    def advance(self, seconds: float) -> None:
        """Move the clock, and let what is due happen."""

        async def move() -> None:
            self.clock.advance(seconds)

        asyncio.run_coroutine_threadsafe(move(), self._loop).result(DEADLINE_SECONDS)

    def waiting_miners(self) -> int:
        """How many requests wait for a task, if all were made at this time."""
        return self.clock.due_in(25)

    def waiting_heartbeats(self) -> int:
        """The same for heartbeats that wait for ten seconds."""
        return self.clock.due_in(10)

    def make(self, name: str = "txt2vid.1", more: dict[str, Any] | None = None, **parameters: Any) -> str:
        """Create a task of a workflow and return its id; without parameters it has a prompt."""
        task_type, _, workflow_id = name.partition(".")
        return self.create(task_type, {"workflow_id": workflow_id or None, **(more or {})}, **parameters or PROMPT)

    def moved(self, task: dict[str, Any]) -> dict[str, Any]:
        """A task from before a restart, with the addresses of now."""
        path = urlsplit(task["credential"]["upload_url"]).path
        return {**task, "credential": {"upload_url": f"{self.url}{path}"}}

    def miner(self, *workflows: Any, **more: Any) -> FakeMiner:
        """A miner that registers with these workflows, "txt2vid.1" unless others are given."""
        return FakeMiner(self.url, *(workflows or ("txt2vid.1",)), **more)


PROMPT = {"prompt": "a rabbit"}


@pytest.fixture
def sequencer(tmp_path: Path) -> Iterator[Callable[..., SequencerServer]]:
    """A function that starts a sequencer with options; all end with the test. Its clock starts at 1,000,000."""
    started: list[SequencerServer] = []

    def start_one(
        data: Path = tmp_path / "data", *, now: float = 1_000_000.0, host: str = "127.0.0.1", **options: Any
    ) -> SequencerServer:
        started.append(SequencerServer(data, now=now, host=host, **options))
        return started[-1]

    yield start_one
    for server in started:
        server.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    """A function that starts a sandbox with options; all end with the test."""
    started: list[Sandbox] = []

    def start_one(data: Path = tmp_path / "data", **options: Any) -> Sandbox:
        started.append(Sandbox(data, **options))
        return started[-1]

    yield start_one
    for sandbox in started:
        sandbox.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox with default options for all tests of a module."""
    sandbox = Sandbox(tmp_path_factory.mktemp("shared"))
    yield sandbox
    sandbox.stop()


@pytest.fixture
def caller() -> type[Caller]:
    """The class of clients, for sandboxes that run elsewhere."""
    return Caller


@pytest.fixture(name="poll")
def _poll() -> Callable[[Callable[[], Any]], Any]:
    return poll


class Website(LoopbackServer):
    """A web server: ``pages`` maps a path to its bytes; /endless never ends, /silent never starts."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.closing = threading.Event()
        self.asked = threading.Event()
        super().__init__(_Page)

    def close(self) -> None:
        self.closing.set()
        super().close()


class _Page(HandlerBase, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    owner: Website

    def do_GET(self) -> None:
        if self.path == "/silent":
            self.owner.asked.set()
            self.owner.closing.wait(DEADLINE_SECONDS)
            return
        body = self.owner.pages.get(self.path)
        if self.path != "/endless" and body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        if body is not None:
            self.wfile.write(body)
            return
        while not self.owner.closing.is_set():
            self.wfile.write(bytes(2**20))


@pytest.fixture
def website() -> Iterator[Website]:
    """A web server where the upscaler finds its images."""
    server = Website()
    yield server
    server.close()
