"""A real ComfyUI in a process of its own, driven over HTTP and its websocket.

ComfyUI is looked for in ``$COMFYUI_PATH`` (several folders separated as in ``PATH``), else at ``~/comfy/ComfyUI*``.
Each runs with its own ``.venv`` where it has one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from tests.support.processes import PATIENCE, ROOT, bare_environment, free_port, poll

BOOT_PATIENCE = 240.0
_PREVIEW, _TEXT_MESSAGE = 1, 3
_ENDS = ("execution_success", "execution_error", "execution_interrupted")


def found() -> list[Path]:
    """The ComfyUI folders to test with."""
    if named := os.environ.get("COMFYUI_PATH"):
        folders = [Path(folder).expanduser() for folder in named.split(os.pathsep) if folder]
    else:
        folders = sorted((Path.home() / "comfy").glob("ComfyUI*"))
    return [folder for folder in folders if (folder / "main.py").exists()]


NONE_FOUND = "no ComfyUI found: set COMFYUI_PATH, or put one at ~/comfy/ComfyUI*"


def newest_frontend() -> Path | None:
    """The newest of the editors that are installed apart: `pip install --target` of comfyui-frontend-package.

    They are looked for in ``$COMFYUI_FRONTEND``, else at ``~/comfy/frontend-*``.
    """
    named = os.environ.get("COMFYUI_FRONTEND")
    folders = [Path(named).expanduser()] if named else sorted((Path.home() / "comfy").glob("frontend-*"))
    pages = [folder / "comfyui_frontend_package" / "static" for folder in folders]
    return next((page for page in reversed(pages) if (page / "index.html").exists()), None)


NO_FRONTEND = "no newer editor found: pip install --target ~/comfy/frontend-VERSION comfyui-frontend-package"


def version_of(source: Path) -> str:
    """For example "0.3.64"."""
    text = (source / "comfyui_version.py").read_text()
    return re.search(r'__version__ = "([^"]+)"', text)[1]  # type: ignore[index]


# Read here, because tests run without any setting of this machine.
IS_SHORT = os.environ.get("XALORA_SHORT_TESTS", "") not in ("", "0")
"""Whether the short form of the tests is wanted, as in CI: tests that start a ComfyUI of their own run on fewer."""


def skip_but_on_newest(source: Path) -> None:
    """In the short form, skip the test unless this is the newest ComfyUI there is."""
    newest = max(found(), key=lambda each: [int(part) for part in version_of(each).split(".")])
    if IS_SHORT and source != newest:
        pytest.skip("the short form of the tests tries this on the newest ComfyUI only")


def python_of(source: Path) -> Path:
    """The interpreter ComfyUI runs with."""
    own = [source / ".venv" / place for place in ("bin/python", "Scripts/python.exe")]
    return next((python for python in own if python.exists()), Path(sys.executable))


def install(target: Path) -> None:
    """Copy the pack to ``target`` as a clone would have it: what git tracks, and what it would if asked."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (file := ROOT / name).is_file():
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


@dataclass
class Event:
    """One message of the websocket; a progress text has the type "text", a picture "preview"."""

    at: float
    type: str
    data: dict[str, Any]


@dataclass
class Run:
    """One prompt on its way through ComfyUI."""

    comfy: ComfyUIProcess
    prompt_id: str
    history: dict[str, Any] = field(default_factory=dict)

    def events(self, *types: str) -> list[Event]:
        """What the websocket said about this prompt so far, all of it or these types."""
        return [
            event
            for event in list(self.comfy.events)
            if event.data.get("prompt_id") == self.prompt_id and (not types or event.type in types)
        ]

    def texts(self, node: str) -> list[str]:
        """The progress texts so far of a node; they carry no prompt, so its id must be this prompt's own."""
        return [e.data["text"] for e in list(self.comfy.events) if e.type == "text" and e.data["node"] == node]

    def wait(self, patience: float = PATIENCE) -> Run:
        """Wait until ComfyUI is done with it, well or not."""

        def entry() -> dict[str, Any]:
            self.comfy.check_alive()
            return self.comfy.get(f"/history/{self.prompt_id}").json().get(self.prompt_id, {})

        poll(lambda: self.comfy.check_alive() or self.events(*_ENDS), patience, "the prompt ended")
        self.history = poll(entry, patience, "the prompt is in the history")
        return self

    @property
    def end(self) -> str:
        """How it ended, as the websocket said."""
        return self.events(*_ENDS)[-1].type

    @property
    def error(self) -> dict[str, Any]:
        """What the editor's error dialog is made of."""
        (event,) = self.events("execution_error")
        return event.data

    def ok(self) -> Run:
        """Fail with ComfyUI's own words unless it ended well."""
        if self.end != "execution_success":
            raise AssertionError(f"{self.end}: {self.events(*_ENDS)[-1].data.get('exception_message')}")
        return self

    def output(self, node: str) -> dict[str, Any]:
        """What an output node showed."""
        return self.history["outputs"][node]

    def files(self, node: str) -> list[Path]:
        """The files an output node saved."""
        return [
            self.comfy.base / shown["type"] / shown["subfolder"] / shown["filename"]
            for shown in self.output(node)["images"]
        ]


class ComfyUIProcess:
    """A ComfyUI that runs on a base directory of its own. After ``kill`` it can ``boot`` again on the same one."""

    def __init__(self, source: Path, base: Path, *arguments: str, **environment: str) -> None:
        self.source = source
        self.arguments = arguments
        self.has_api_nodes = False
        self.version = version_of(source)
        self.base = base
        self.key = environment.pop("XALORA_API_KEY", "")
        self.environment = environment
        self.client_id = uuid.uuid4().hex
        self.headers: dict[str, str] = {}
        self.log_file = base / "server.log"
        self.events: list[Event] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self._listener: _Listener | None = None
        for folder in ("custom_nodes", "input", "output", "temp", "user"):
            (base / folder).mkdir(parents=True, exist_ok=True)

    def boot(self, port: int = 0) -> ComfyUIProcess:
        """Start on any free port, or on this one, and wait until it answers."""
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    python_of(self.source), self.source / "main.py", "--cpu", "--port", str(port),
                    *([] if self.has_api_nodes else ["--disable-api-nodes"]),
                    "--base-directory", self.base, "--database-url", f"sqlite:///{self.base}/user/comfyui.db",
                    *self.arguments,
                ],
                cwd=self.base, env=bare_environment(**self.environment), stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        poll(self._answers, BOOT_PATIENCE, f"ComfyUI {self.version} answers")
        self._listener = _Listener(f"{self.url}/ws?clientId={self.client_id}", self.events)
        return self

    def _answers(self) -> bool:
        self.check_alive()
        try:
            return self.get("/queue").ok
        except requests.ConnectionError:
            return False

    def check_alive(self) -> None:
        """Fail with the last of the log when the process is gone."""
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"ComfyUI {self.version} is not running:\n{self.log()[-4000:]}")

    def kill(self) -> None:
        """End it as a crash does, from one moment to the next."""
        if self.process is not None:
            self.process.kill()
        self._ended()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._ended()

    def _ended(self) -> None:
        if self.process is not None:
            self.process.wait()
        if self._listener is not None:
            self._listener.close()
        self.process = self._listener = None

    def log(self) -> str:
        """All it has printed."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def lines(self, since: int = 0) -> list[str]:
        """The lines of the log from so many characters on, without the colors and levels of newer versions."""
        return [
            re.sub(r"\x1b\[\d+m|\[(DEBUG|INFO|WARNING|ERROR)\]\x1b\[0m ", "", each)
            for each in self.log()[since:].splitlines()
        ]

    def use(self, url: str = "", **more: str) -> None:
        """Point the pack at a sequencer from now on: by the ``.env`` in the working directory, read at each run.

        The key lies there too: it goes only to a server that is named where it is.
        """
        settings = {"XALORA_WORKFLOW_URL": url, "XALORA_API_KEY": self.key} | more
        (self.base / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in settings.items() if value))

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, headers=self.headers, timeout=PATIENCE)

    def post(self, path: str, body: Any = None) -> requests.Response:
        return requests.post(self.url + path, json=body, headers=self.headers, timeout=PATIENCE)

    @contextmanager
    def overheard(self) -> Iterator[list[Event]]:
        """What a websocket gets meanwhile that is not the one whose prompts run."""
        events: list[Event] = []
        listener = _Listener(f"{self.url}/ws?clientId={uuid.uuid4().hex}", events)
        try:
            yield events
        finally:
            listener.close()

    def try_queue(self, prompt: dict[str, Any]) -> requests.Response:
        """Hand a prompt in API format over, with a workflow beside it as the editor does."""
        workflow = {"version": 0.4, "nodes": [{"id": n, "type": p["class_type"]} for n, p in prompt.items()]}
        return self.post(
            "/prompt",
            {"prompt": prompt, "client_id": self.client_id, "extra_data": {"extra_pnginfo": {"workflow": workflow}}},
        )

    def queue(self, prompt: dict[str, Any]) -> Run:
        """Queue a prompt that ComfyUI accepts."""
        answer = self.try_queue(prompt)
        if not answer.ok:
            raise AssertionError(json.dumps(answer.json(), indent=1))
        return Run(self, answer.json()["prompt_id"])

    def run(self, prompt: dict[str, Any], patience: float = PATIENCE) -> Run:
        """Queue a prompt and wait for its end."""
        return self.queue(prompt).wait(patience)

    def settle(self) -> None:
        """Stop what runs, forget what is queued, and wait until nothing is left."""
        self.post("/queue", {"clear": True}).raise_for_status()

        def idle() -> bool:
            self.check_alive()
            running = self.get("/queue").json()["queue_running"]
            if running:
                self.interrupt()
            return not running

        poll(idle, what="the queue is empty")

    def interrupt(self) -> float:
        """Press Cancel; returns the Unix time before that."""
        began = time.time()
        self.post("/interrupt").raise_for_status()
        return began


class _Listener:
    """Reads the websocket in a thread of its own."""

    def __init__(self, url: str, events: list[Event]) -> None:
        self.url = url
        self.events = events
        self.loop = asyncio.new_event_loop()
        self.listening = self.loop.create_task(self._listen())
        self.connected = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        if not self.connected.wait(PATIENCE):
            raise AssertionError("no websocket")

    def _run(self) -> None:
        with closing(self.loop):
            try:
                self.loop.run_until_complete(self.listening)
            except (asyncio.CancelledError, aiohttp.ClientError):
                self.connected.set()

    async def _listen(self) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(self.url, max_msg_size=0) as socket_:
            self.connected.set()
            async for message in socket_:
                if message.type == aiohttp.WSMsgType.TEXT:
                    said = json.loads(message.data)
                    self.events.append(Event(time.time(), said["type"], said.get("data") or {}))
                elif message.type == aiohttp.WSMsgType.BINARY and (text := _progress_text(message.data)):
                    self.events.append(Event(time.time(), "text", text))
                elif message.type == aiohttp.WSMsgType.BINARY and message.data[:4] == struct.pack(">I", _PREVIEW):
                    self.events.append(Event(time.time(), "preview", {"image": message.data[8:]}))

    def close(self) -> None:
        with suppress(RuntimeError):  # The server's end has ended the loop as well.
            self.loop.call_soon_threadsafe(self.listening.cancel)
        self.thread.join()


def _progress_text(message: bytes) -> dict[str, Any]:
    kind, length = struct.unpack(">II", message[:8])
    if kind != _TEXT_MESSAGE:
        return {}
    return {"node": message[8 : 8 + length].decode(), "text": message[8 + length :].decode()}


def booted(comfy: ComfyUIProcess, port: int = 0) -> Iterator[ComfyUIProcess]:
    """For fixtures: the server, running on any free port or on this one, until the fixture ends."""
    try:
        yield comfy.boot(port)
    finally:
        comfy.stop()
