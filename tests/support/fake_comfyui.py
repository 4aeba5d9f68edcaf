"""A ComfyUI without nodes: a real HTTP server and websocket, whose prompts only take time.

It answers as 0.33.0 does, as far as a miner can tell. Everything runs on the caller's event loop.
"""

from __future__ import annotations

import asyncio
import io
import json
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, web
from PIL import Image

from tests.support.processes import PATIENCE

TITLE = "My sampler input:prompt=text input:steps"
SAMPLER, SAVER, LOADER = "SimulatedSampler", "SimulatedSave", "LoadImage"

OBJECT_INFO: dict[str, Any] = {
    SAMPLER: {
        "input": {
            "required": {
                "text": ["STRING", {"default": "", "multiline": True}],
                "steps": ["INT", {"default": 4, "min": 1, "max": 1000}],
            },
            "optional": {"image": ["IMAGE"]},
        },
        "output": ["IMAGE"],
    },
    LOADER: {"input": {"required": {"image": [["example.png"], {"image_upload": True}]}}, "output": ["IMAGE", "MASK"]},
    SAVER: {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}},
        "output": [],
        "output_node": True,
    },
}


def workflow(*, image: bool = False) -> dict[str, Any]:
    """An API export for it. Takes ``prompt`` and ``steps``, and ``image`` on request."""
    nodes: dict[str, Any] = {
        "1": {"class_type": SAMPLER, "inputs": {"text": "", "steps": 4}, "_meta": {"title": TITLE}},
        "2": {
            "class_type": SAVER,
            "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"},
            "_meta": {"title": "Save Image"},
        },
    }  # fmt: skip
    if image:
        nodes["3"] = {"class_type": LOADER, "inputs": {"image": "example.png"}, "_meta": {"title": "input:image"}}
        nodes["1"]["inputs"]["image"] = ["3", 0]
    return nodes


async def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Return when the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"still not after {patience:.0f} s"
        await asyncio.sleep(0.005)


def picture(text: str = "", size: tuple[int, int] = (32, 24)) -> bytes:
    """A PNG whose bytes depend on the text."""
    target = io.BytesIO()
    red, green, blue = (sum(text.encode()[start::3]) % 256 for start in range(3))
    Image.new("RGB", size, (red, green, blue)).save(target, "PNG")
    return target.getvalue()


@dataclass
class Plan:
    """How a prompt goes: ``seconds`` in all, in equal ``steps``; ``error`` ends it after the last.

    Its file has the ``content``, or the sampler's text as a picture; ``files`` are reported before it, by their names.
    """

    seconds: float = 0.0
    steps: int = 1
    error: str = ""
    preview: bytes = b""
    content: bytes | None = None
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class FakeComfyUI:
    """``plan`` says how a prompt goes, from its sampler's inputs. ``url`` is set by ``start``.

    Attributes:
        posted: The prompt ids in the order they were posted, also those of a repeated post.
        prompts: The latest prompt of each id.
        most_waiting: How many prompts it had at once at most, with the one that runs.
        finished: The prompts that ran to their end.
        is_worker_dead: Whether the worker takes no prompt any more, while HTTP still answers.
        answers: What the next requests to a path get in the place of an answer: a status, "empty", "cut" for one that
            breaks off, or "drop" for a connection that breaks after the request was processed.
    """

    plan: Callable[[dict[str, Any]], Plan] = lambda inputs: Plan()
    object_info: dict[str, Any] = field(default_factory=lambda: OBJECT_INFO)
    url: str = ""
    port: int = 0
    posted: list[str] = field(default_factory=list)
    prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    targets: list[str] = field(default_factory=list)
    answers: dict[str, list[int | str]] = field(default_factory=dict)
    most_waiting: int = 0
    is_worker_dead: bool = False
    ignores_interrupts: bool = False
    login: str = ""

    async def start(self) -> FakeComfyUI:
        """Begin as a ComfyUI does that was just started: without queue and history."""
        self._queue: list[tuple[str, str]] = []
        self._running: str | None = None
        self._history: dict[str, dict[str, Any]] = {}
        self._files: dict[str, bytes] = {}
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._waiting = asyncio.Event()
        self._interrupt = asyncio.Event()
        self.is_worker_dead = False
        app = web.Application(middlewares=[self._faulty], client_max_size=100 << 20)
        app.add_routes(
            [
                web.get("/object_info", self._object_info),
                web.get("/system_stats", self._stats),
                web.post("/upload/image", self._upload),
                web.post("/prompt", self._prompt),
                web.get("/queue", self._get_queue),
                web.post("/queue", self._delete),
                web.get("/history/{id}", self._get_history),
                web.post("/history", self._forget),
                web.post("/interrupt", self._interrupt_one),
                web.get("/view", self._view),
                web.get("/ws", self._websocket),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._worker = asyncio.create_task(self._work())
        return self

    async def stop(self) -> None:
        """End it; nobody listens at its port then. ``start`` begins anew there."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        await self.drop_sockets()
        await self._runner.cleanup()

    async def restart(self) -> None:
        """End and begin anew, with all that was in its memory lost."""
        await self.stop()
        await self.start()

    async def drop_sockets(self) -> None:
        """Close the websockets, and nothing else."""
        for socket in list(self._sockets.values()):
            with suppress(ConnectionError):
                await socket.close(code=WSCloseCode.GOING_AWAY)

    def die(self) -> None:
        """The worker ends in the middle of what it does; HTTP still answers."""
        self.is_worker_dead = True
        self._worker.cancel()

    @property
    def is_idle(self) -> bool:
        return self._running is None and not self._queue

    @property
    def running(self) -> str | None:
        return self._running

    @property
    def history(self) -> dict[str, Any]:
        return self._history

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if "Origin" in request.headers:
            self.origins.append(request.headers["Origin"])
        self.targets.append(request.path_qs)
        self.authorizations.add(request.headers.get("Authorization", ""))
        scripted = self.answers.get(request.path, [])
        fault = scripted.pop(0) if scripted else None
        if isinstance(fault, int):
            return web.Response(status=fault)
        if fault == "empty":
            return web.Response()
        if fault == "cut":
            half = web.StreamResponse(headers={"Content-Length": "100"})
            await half.prepare(request)
            await half.write(picture()[:50])
            assert request.transport is not None
            request.transport.close()
            return half
        answer = await handler(request)
        if fault == "drop" and request.transport is not None:
            request.transport.abort()
        return answer

    async def _object_info(self, _: web.Request) -> web.Response:
        return await _json(self.object_info)

    async def _stats(self, _: web.Request) -> web.Response:
        return await _json({"system": {"comfyui_version": "0.33.0"}, "devices": [{"name": "simulated"}]})

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        name = form["image"].filename
        self.uploads.append(name)
        return await _json({"name": name, "subfolder": "", "type": form["type"]})

    async def _prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        prompt, prompt_id = body["prompt"], body["prompt_id"]
        self.posted.append(prompt_id)
        unknown = {
            node_id: {"errors": [{"message": "unknown class", "details": ""}], "class_type": node["class_type"]}
            for node_id, node in prompt.items()
            if node["class_type"] not in self.object_info
        }
        if unknown:
            return await _json({"error": {"message": "invalid prompt", "details": ""}, "node_errors": unknown}, 400)
        self.prompts[prompt_id] = prompt
        self._queue.append((prompt_id, body["client_id"]))
        self.most_waiting = max(self.most_waiting, len(self._queue) + (self._running is not None))
        self._waiting.set()
        return await _json({"prompt_id": prompt_id, "number": 1, "node_errors": {}})

    async def _get_queue(self, _: web.Request) -> web.Response:
        queued = [[0, prompt_id, {}, {"client_id": client_id}, []] for prompt_id, client_id in self._queue]
        now = self._running
        running = [] if now is None else [[0, now, self.prompts[now], {"client_id": self._client}, []]]
        return await _json({"queue_running": running, "queue_pending": queued})

    async def _delete(self, request: web.Request) -> web.Response:
        deleted = (await request.json())["delete"]
        self._queue = [each for each in self._queue if each[0] not in deleted]
        return web.Response()

    async def _get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        return await _json({prompt_id: self._history[prompt_id]} if prompt_id in self._history else {})

    async def _forget(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json())["delete"]:
            self._history.pop(prompt_id, None)
        return web.Response()

    async def _interrupt_one(self, request: web.Request) -> web.Response:
        if (await request.json())["prompt_id"] == self._running and not self.ignores_interrupts:
            self._interrupt.set()
        return web.Response()

    async def _view(self, request: web.Request) -> web.Response:
        return web.Response(body=self._files[request.query["filename"]], content_type="image/png")

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client_id = request.query["clientId"]
        self._sockets[client_id] = socket
        await self._tell(client_id, "status", {"sid": client_id})
        async for _ in socket:
            pass
        if self._sockets.get(client_id) is socket:
            del self._sockets[client_id]
        return socket

    async def _tell(self, client_id: str, kind: str | bytes, data: dict[str, Any] | None = None) -> None:
        socket = self._sockets.get(client_id)
        with suppress(ConnectionError):
            if socket is not None and isinstance(kind, bytes):
                await socket.send_bytes(kind)
            elif socket is not None:
                await socket.send_str(json.dumps({"type": kind, "data": data}))

    async def _work(self) -> None:
        while True:
            while not self._queue:
                self._waiting.clear()
                await self._waiting.wait()
            prompt_id, client_id = self._queue.pop(0)
            self._running, self._client = prompt_id, client_id
            self._interrupt.clear()
            entry = await self._run(prompt_id, client_id)
            end = entry["status"]["messages"][-1]
            await self._tell(client_id, *end)
            self._running = None
            self._history[prompt_id] = entry
            await self._tell(client_id, "executing", {"node": None, "prompt_id": prompt_id})

    async def _run(self, prompt_id: str, client_id: str) -> dict[str, Any]:
        prompt = self.prompts[prompt_id]
        sampler = next(node_id for node_id, node in prompt.items() if node["class_type"] == SAMPLER)
        saver = next(node_id for node_id, node in prompt.items() if node["class_type"] == SAVER)
        inputs = prompt[sampler]["inputs"]
        plan = self.plan(inputs)
        about = {"prompt_id": prompt_id, "node_id": sampler, "node_type": SAMPLER}
        await self._tell(client_id, "executing", {"node": sampler, "prompt_id": prompt_id})
        for step in range(plan.steps):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._interrupt.wait(), plan.seconds / plan.steps)
                self.interrupted.append(prompt_id)
                return _entry("error", "execution_interrupted", about)
            said = {"value": step + 1, "max": plan.steps, "node": sampler, "prompt_id": prompt_id}
            await self._tell(client_id, "progress", said)
            if plan.preview:
                await self._tell(client_id, struct.pack(">II", 1, 2) + plan.preview)
        if plan.error:
            return _entry("error", "execution_error", about | {"exception_message": plan.error, "traceback": []})
        name = f"{prompt[saver]['inputs'].get('filename_prefix', prompt_id)}_00001_.png"
        self._files |= plan.files
        self._files[name] = picture(str(inputs["text"])) if plan.content is None else plan.content
        self.finished.append(prompt_id)
        entry = _entry("success", "execution_success", {"prompt_id": prompt_id})
        listed = [{"filename": each, "subfolder": "", "type": "output"} for each in [*plan.files, name]]
        entry["outputs"] = {saver: {"images": listed}}
        return entry


async def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)


def _entry(status: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    messages = [["execution_start", {}], [kind, data]]
    return {"outputs": {}, "status": {"status_str": status, "completed": status == "success", "messages": messages}}
