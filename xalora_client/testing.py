"""A sequencer in memory, for the tests of programs that use this library: no network, no waiting, no key.

::

    from xalora_client.testing import FakeSequencer

    def test_my_program():
        with FakeSequencer() as sequencer:
            sequencer.next(fails="out of memory")
            with sequencer.client() as client, pytest.raises(TaskFailedError):
                my_program(client)
            assert sequencer.created[0].parameters["prompt"] == "a rabbit"
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from .client.advanced import AdvancedOptions
from .client.async_ import AsyncClient
from .client.base import BaseClient
from .client.sync import Client
from .config.validation import BY_DATA_URI
from .http.transport import Fetch
from .protocol.answers import TaskStatus
from .protocol.requests import Request, Response

AnyClient = TypeVar("AnyClient", bound=BaseClient)

_KEY, _URL = "test#test-key", "http://sequencer.localhost"


@dataclass(frozen=True)
class CreatedTask:
    """A task as the sequencer got it.

    Attributes:
        task_id: The id that it gave.
        job_id: The client's.
        task_type: The kind of task, such as "txt2vid".
        workflow_id: The workflow, or None.
        parameters: The parameters; an image is a ``data:`` URI.
    """

    task_id: str
    job_id: str
    task_type: str
    workflow_id: str | None
    parameters: dict[str, object]


@dataclass
class _Script:
    """What becomes of a task, and when it began."""

    fails: str | None = None
    refuses: int | None = None
    seconds: float = 0.0
    progress: int | None = None
    media: bytes | None = None
    began: float = 0.0
    is_canceled: bool = False


class FakeSequencer:
    """Answers the clients that it makes. Its time passes only while they wait, so nothing takes long.

    Attributes:
        created: The tasks that were created, in order.
        now: The seconds that have passed.
    """

    def __init__(self) -> None:
        self.created: list[CreatedTask] = []
        self.now: float = 0.0
        self._folder = tempfile.TemporaryDirectory(prefix="xalora-testing-")
        self._next: list[_Script] = []
        self._tasks: dict[str, tuple[CreatedTask, _Script]] = {}
        self._by_job: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __enter__(self) -> FakeSequencer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the media of its clients."""
        self._folder.cleanup()

    def client(self, *, ledger: bool = False) -> Client:
        """A blocking client.

        Args:
            ledger: Whether it has a ledger, as for ``Client``. All clients of this sequencer share it.

        Returns:
            The client. Its results are in a folder that ``close`` removes.
        """
        return self._own(Client, ledger, self._sleep)

    def async_client(self, *, ledger: bool = False) -> AsyncClient:
        """A client for an event loop.

        Args:
            ledger: As for ``client``.

        Returns:
            The client.
        """

        async def sleep(seconds: float) -> None:
            self._sleep(seconds)
            await asyncio.sleep(0)

        return self._own(AsyncClient, ledger, sleep)

    def next(
        self,
        *,
        fails: str | bool | None = None,
        refuses: int | bool | None = None,
        seconds: float = 0.0,
        progress: int | None = None,
        media: bytes | Path | None = None,
    ) -> None:
        """Say what becomes of the next task; called several times, of the ones after it. Without it, all goes well.

        Args:
            fails: Why it fails; True for no reason.
            refuses: The HTTP status, such as 402, with which its create is refused; True for 400.
            seconds: How long it runs.
            progress: The steps that it reports while it runs.
            media: Its result: a file or its bytes. None means a small picture, or an animation for a "txt2vid".
        """
        content = media.read_bytes() if isinstance(media, Path) else media
        why = "it fails, as the test says" if fails is True else fails or None
        status = 400 if refuses is True else refuses or None
        self._next.append(_Script(why, status, seconds, progress, content))

    def _own(self, kind: type[AnyClient], ledger: bool, sleep: Callable[[float], object]) -> AnyClient:
        options = AdvancedOptions(transport=_InMemory(self), sleep=sleep, clock=lambda: self.now)
        client = kind(_KEY, _URL, home=self._folder.name, ledger=ledger, advanced=options)
        # Whatever the environment says: no image leaves this process.
        client.config = replace(client.config, image_delivery=BY_DATA_URI)
        return client

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _answer(self, request: Request) -> Response:
        with self._lock:
            endpoint = request.url.rpartition("/")[2]
            answer_to = getattr(self, f"_{endpoint}", lambda _: (404, {"message": "there is no such endpoint"}))
            status, answer = answer_to(json.loads(request.content()))
        return self._response(status, json.dumps(answer).encode())

    def _give_out(self, fetch: Fetch) -> Response:
        task, script = self._tasks[fetch.url.rpartition("/")[2]]
        content = _media(task.task_type) if script.media is None else script.media
        response = self._response(200, b"", {"content-length": str(len(content))})
        write = fetch.sink(response.status, response.headers)
        if write is not None:
            write(content)
        return response

    def _response(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
        return Response(status, headers or {"content-type": "application/json"}, body, self.now)

    def _task_create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if known := self._by_job.get(body["job_id"]):
            return 200, {"task_id": known}
        script = self._next.pop(0) if self._next else _Script()
        if script.refuses is not None:
            return script.refuses, {"message": f"refused with {script.refuses}, as the test says"}
        script.began = self.now
        task_id = f"task-{next(self._numbers)}"
        parameters = body["task_details"].get("parameters", body["task_details"])
        task = CreatedTask(task_id, body["job_id"], body["task_type"], body.get("workflow_id"), parameters)
        self.created.append(task)
        self._tasks[task_id], self._by_job[task.job_id] = (task, script), task_id
        return 200, {"task_id": task_id}

    def _task_result_query(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body["task_id"] not in self._tasks:
            return 404, {"message": "no such task"}
        task, script = self._tasks[body["task_id"]]
        ran = self.now - script.began
        known: dict[str, Any] = {"task_id": task.task_id, "task_type": task.task_type, "status": TaskStatus.RUNNING}
        if script.is_canceled:
            known["status"] = TaskStatus.CANCELED
        elif ran < script.seconds:
            if script.progress is not None:
                done = int(script.progress * ran / script.seconds)
                known["progress"] = {"value": done, "maximum": script.progress, "title": "Sampler"}
        elif script.fails is not None:
            known |= {"status": TaskStatus.FAILED, "msg": script.fails}
        else:
            known |= {"status": TaskStatus.FINISHED, "result": f"{_URL}/media/{task.task_id}"}
        return 200, known

    def _task_cancel(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        _, script = self._tasks.get(body["task_id"], (None, _Script()))
        if self.now - script.began < script.seconds:
            script.is_canceled = True
        return 200, {"msg": "The task was canceled." if script.is_canceled else "The task has ended."}

    def _resource_request(self, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"miner_id": "miner-1"}


@dataclass(frozen=True)
class _InMemory:
    """The way to the sequencer: a transport."""

    sequencer: FakeSequencer

    async def send(self, request: Request, _: float) -> Response:
        return self.sequencer._answer(request)

    async def fetch(self, fetch: Fetch) -> Response:
        return self.sequencer._give_out(fetch)

    async def close(self) -> None:
        pass


def _media(task_type: str) -> bytes:
    """A picture of one color, or an animation of three."""
    file = io.BytesIO()
    first, *more = (Image.new("RGB", (64, 48), color) for color in ("navy", "teal", "olive"))
    if task_type == "txt2vid":
        first.save(file, "WEBP", save_all=True, append_images=more, duration=100, lossless=True)
    else:
        first.save(file, "PNG")
    return file.getvalue()
