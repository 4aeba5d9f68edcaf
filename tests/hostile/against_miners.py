"""What a hostile sequencer, or a ComfyUI that went mad, tries against a real miner process."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.hostile.world import Outcome, memory, reset_peak
from tests.support.fake_comfyui import FakeComfyUI, picture, workflow
from tests.support.processes import Command, poll
from tests.support.raw_server import RawServer, answer

Pieces = Callable[[], Iterator[bytes]]
PATIENCE = 200.0


@dataclass(frozen=True)
class Attack:
    """What is sent in place of the first answer of ``where``: an endpoint of the sequencer, or a path of ComfyUI.

    ``pieces`` is the whole answer of a sequencer, and the body of a ComfyUI's, with ``headers``. After it, and after
    the end of the task at hand, a good task must be done as ever. ``is_slow`` ones take more than some seconds.
    ``answer`` is how the task at hand may end.
    """

    name: str
    who: str
    where: str
    pieces: Pieces
    headers: dict[str, str] = field(default_factory=dict)
    is_slow: bool = False
    answer: str = "done|failed|unable|lost|died"


class MadComfyUI(FakeComfyUI):
    """``mad`` has the attack that is next, by path; ``messages`` are sent to the next websocket."""

    def __init__(self) -> None:
        super().__init__()
        self.mad: dict[str, Attack] = {}

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Any) -> web.StreamResponse:
        path = "/history" if request.path.startswith("/history/") else request.path
        attack = self.mad.pop(path, None)
        if attack is None:
            return await handler(request)
        if path == "/ws":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            for piece in attack.pieces():
                await socket.send_bytes(piece)
            return socket
        made = web.StreamResponse(headers=attack.headers)
        await made.prepare(request)
        for piece in attack.pieces():
            await made.write(piece)
            await asyncio.sleep(0)
        return made


class MinerWorld:
    """A miner process between a sequencer of ours and a ComfyUI of ours. ``close`` it."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.comfyui = MadComfyUI()
        asyncio.run_coroutine_threadsafe(self.comfyui.start(), self._loop).result(20)
        self.bad: dict[str, Attack] = {}
        self.tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.ended: dict[str, dict[str, Any]] = {}
        self.sequencer = RawServer(self._serve)
        workflows = folder / "workflows"
        workflows.mkdir()
        (workflows / "upscaler.json").write_text(json.dumps(workflow(image=True)))
        self.command = Command(
            "miner", "--sequencer", self.sequencer.url, "--comfyui", self.comfyui.url, "--workflows", workflows,
            "--name", "box", cwd=folder, home=folder,
        )  # fmt: skip
        self.command.first_line()
        self.do("warm")

    def close(self) -> None:
        self.command.close()
        self.sequencer.close()
        asyncio.run_coroutine_threadsafe(self.comfyui.stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, name: str) -> dict[str, Any]:
        """Give the miner a task; what it submits of it."""
        self.tasks.put(name)
        return poll(lambda: self._submitted(name), PATIENCE)

    def _submitted(self, name: str) -> dict[str, Any] | None:
        assert self.command.process.poll() is None, self.command.errors()
        return self.ended.get(name)

    def measure(self, attack: Attack) -> Outcome:
        """Run an attack. ``answer`` says how the task ended that was at hand; ``pause`` is of no meaning here."""
        pid = self.command.process.pid
        before, begun, noticed = memory(pid, "VmRSS"), time.monotonic(), list[str]()
        reset_peak(pid)
        (self.comfyui.mad if attack.where.startswith("/") else self.bad)[attack.where] = attack
        if attack.where in ("miner_register", "/object_info"):
            self.tasks.put("register")
            poll(lambda: not self.bad and not self.comfyui.mad, PATIENCE)
        try:
            submit = self.do(f"bad-{uuid.uuid4()}")
            found = "done" if submit["success"] else submit.get("give_back", "failed")
            if not submit["success"] and not submit["msg"]:
                noticed.append("the task ended without words")
            seconds = time.monotonic() - begun
            good = self.do(f"good-{uuid.uuid4()}")
            if not good["success"]:
                noticed.append(f"a good task ended so: {good['msg']}")
        except AssertionError as error:
            return Outcome("nothing", time.monotonic() - begun, 0.0, 0.0, [str(error)[-300:]])
        return Outcome(found, seconds, memory(pid, "VmHWM") - before, 0.0, noticed)

    def _serve(self, request: bytes) -> Iterator[bytes]:
        endpoint = request.split(b" ", 2)[1].decode().strip("/").partition("?")[0]
        body = json.loads(request.partition(b"\r\n\r\n")[2]) if request.startswith(b"POST") else {}
        task = self._next() if endpoint == "miner_request" else None
        if endpoint == "miner_submit":
            self.ended[body["task_id"]] = body
        if endpoint in self.bad and (endpoint != "miner_request" or task not in (None, "register")):
            if endpoint == "miner_request":
                self.tasks.put(str(task))
            yield from self.bad.pop(endpoint).pieces()
            return
        yield answer(self._good(endpoint, task))

    def _next(self) -> str | None:
        try:
            return self.tasks.get(timeout=1.2)
        except queue.Empty:
            return None

    def _good(self, endpoint: str, task: str | None) -> bytes:
        said: dict[str, Any] = {"msg": "thank you"}
        if endpoint == "input":
            return picture("the input")
        if endpoint == "upload":
            said = {"result": "0.png"}
        elif task == "register":
            said = {"register": True}
        elif task is not None:
            said = {
                "task_id": task, "task_type": "upscaler", "workflow_id": None, "lease": "secret", "seconds_left": None,
                "task_details": {"parameters": {"prompt": "a fox"}}, "prompt_id": str(uuid.uuid4()),
                "inputs": {"image": {"url": "http://x/input", "content_type": "image/png\r\nX: y", "size": None}},
                "credential": {"upload_url": "http://x/upload"},
            }  # fmt: skip
        return json.dumps(said).encode()


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MEBIBYTE = b"x" * 2**20


def chunks(piece: bytes, count: int | None = None, head: bytes = CHUNKED) -> Iterator[bytes]:
    """An answer in chunks, without end where there is no count."""
    yield head
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)
    yield from itertools.repeat(chunk) if count is None else itertools.repeat(chunk, count)
    yield b"0\r\n\r\n"


def dripped(head: bytes, piece: bytes) -> Iterator[bytes]:
    """A little each second."""
    yield head
    while True:
        time.sleep(1)
        yield piece


def body(piece: bytes, count: int | None = None) -> Iterator[bytes]:
    return itertools.repeat(piece) if count is None else itertools.repeat(piece, count)


def headers() -> Iterator[bytes]:
    yield OK
    for number in range(25_000):
        yield b"X-%d: %s\r\n" % (number, b"a" * 4000)


def bomb(size: int = 300) -> bytes:
    """A little that becomes so many MiB."""
    return gzip.compress(bytes(2**20) * size, 9)


ENDPOINTS = ("miner_register", "miner_request", "miner_heartbeat", "miner_submit", "input", "upload")


def attacks() -> list[Attack]:
    """All of them."""
    answers: dict[str, Pieces] = {
        "without end": partial(chunks, MEBIBYTE),
        "of lists without end": partial(chunks, b"[" * 2**20),
        "of 8 million values": partial(chunks, b"0," * 2**19, 15),
        "of 100 MB of headers": headers,
        "that is a bomb": lambda: iter([answer(bomb(), content_encoding="gzip")]),
        "that is cut": lambda: iter([answer(b"{", content_length="100")]),
        "that is no HTTP": lambda: iter([b"\x16\x03\x01\r\n\r\n"]),
        "that leads elsewhere": lambda: iter([answer(status="307 Elsewhere", location="http://127.0.0.1:9/x")]),
    }
    found = [
        Attack(f"{endpoint}: an answer {name}", "a sequencer", endpoint, pieces, is_slow=endpoint == "miner_register")
        for endpoint in ENDPOINTS
        for name, pieces in answers.items()
    ]
    found += [
        Attack(
            f"{endpoint}: {name} a byte a second", "a sequencer", endpoint, partial(dripped, head, piece), is_slow=True
        )
        for endpoint in ENDPOINTS
        for name, head, piece in (("headers", OK + b"X: ", b"x"), ("a body", CHUNKED, b"1\r\nx\r\n"))
    ]
    packed = {"Content-Encoding": "gzip"}
    mad: list[tuple[str, str, Pieces, dict[str, str]]] = [
        ("/object_info", "half", lambda: iter([b'{"KSampler": {"input"']), {}),
        ("/object_info", "nodes of a wrong form", lambda: iter([json.dumps(WRONG_NODES).encode()]), {}),
        ("/object_info", "without end", partial(body, MEBIBYTE), {}),
        ("/history", "60 MB of objects", partial(body, b'{"a":{}},' * 2**17, 50), {}),
        ("/history", "without end", partial(body, MEBIBYTE), {}),
        ("/history", "a bomb", lambda: iter([bomb()]), packed),
        ("/upload/image", "a name of 1 MB", lambda: iter([json.dumps({"name": "x" * 2**20}).encode()]), {}),
        ("/upload/image", "a name that is a list", lambda: iter([b'{"name": [[]], "subfolder": 5}']), {}),
        ("/upload/image", "a name with line ends", lambda: iter([rb'{"name": "a\r\nb\u0000"}']), {}),
        ("/upload/image", "without end", partial(body, MEBIBYTE), {}),
        ("/prompt", "without end", partial(body, MEBIBYTE), {}),
        ("/queue", "numbers for lists", lambda: iter([b'{"queue_running": 5, "queue_pending": {"a": 1}}']), {}),
        ("/view", "a bomb", lambda: iter([bomb()]), packed),
        ("/ws", "a message of 300 MB", lambda: iter([bytes(300 * 2**20)]), {}),
        ("/ws", "10,000 messages that mean nothing", partial(body, b"\0\0\0\1\0\0\0\1" + bytes(1000), 10_000), {}),
    ]
    found += [Attack(f"{path}: {name}", "a ComfyUI", path, *rest) for path, name, *rest in mad]
    found.append(Attack("/view: without end", "a ComfyUI", "/view", partial(body, MEBIBYTE), is_slow=True))
    return found


WRONG_NODES: dict[str, Any] = {
    "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}, "output": 5},
    "SimulatedSave": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}}},
    "SimulatedSampler": {"input": {"required": {"text": ["STRING"], "steps": ["INT", {"min": "many", "max": []}]}}},
    "A": None, "B": 5, "C": {"input": 5}, "D": {"input": {"required": []}}, "E": {"input": {"required": {"x": 5}}},
}  # fmt: skip
