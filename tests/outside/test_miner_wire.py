"""What ``xalora miner`` sends to a sequencer: each kind of request, with its fields and their types."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import MinerProcess
from tests.support.fake_comfyui import FakeComfyUI, Plan, workflow
from tests.support.fake_sequencer import Answer, FakeSequencer, Seen
from tests.support.pictures import png
from tests.support.processes import PATIENCE, poll
from tests.support.snapshot import Snapshot, shape

PLANS = {"good": Plan(), "bad": Plan(error="out of memory"), "long": Plan(PATIENCE, 300, preview=png())}


@contextmanager
def comfyui() -> Iterator[FakeComfyUI]:
    """A ComfyUI in a thread; a prompt's text says how it goes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    comfy = FakeComfyUI(plan=lambda inputs: PLANS[inputs["text"]])
    asyncio.run_coroutine_threadsafe(comfy.start(), loop).result(PATIENCE)
    try:
        yield comfy
    finally:
        asyncio.run_coroutine_threadsafe(comfy.stop(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Tasks(FakeSequencer):
    """A sequencer that gives these tasks one after the other. It calls itself by an address that leads nowhere."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.texts = list(texts)
        self.given = 0
        self.is_next = threading.Event()
        self.is_next.set()
        files = {"txt2img.slow.json": workflow(image=True)}
        self.script("miner_register", Answer({"lease_seconds": 30.0, "long_poll_seconds": 25}))
        self.script("miner_workflows", Answer({"workflows": files}))
        self.script("miner_request", self._give)
        self.script("miner_heartbeat", Answer({"lease_seconds": 30.0}))
        self.script("miner_submit", self._submit)
        self.script("miner_input/token-0", Answer(png()))
        self.script("miner_upload/token", Answer({"result": "0.png"}))

    def _give(self, _: Seen) -> Answer:
        if self.given == len(self.texts) or not self.is_next.wait(1.0):
            return Answer({"msg": "no task at the moment"})
        self.is_next.clear()
        number, self.given = self.given, self.given + 1
        text = self.texts[number]
        return Answer(
            {
                "task_id": f"task-{text}",
                "task_type": "txt2img",
                "workflow_id": "slow",
                "task_details": {"parameters": {"prompt": text, "image": "image/png, 75 bytes"}},
                "attempt": 1,
                "prompt_id": str(uuid.UUID(int=number)),
                "lease": "0" * 64,
                "lease_seconds": 30.0,
                "seconds_left": 600.0,
                "inputs": {
                    "image": {
                        "url": "https://gpu.example/miner_input/token-0",
                        "content_type": "image/png",
                        "size": len(png()),
                    }
                },
                "credential": {"upload_url": "https://gpu.example/miner_upload/token"},
            }
        )

    def _submit(self, _: Seen) -> Answer:
        self.is_next.set()
        return Answer({"msg": "thank you"})


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    server = Tasks("good", "bad", "long")
    yield server
    server.close()


def kind_of(seen: Seen) -> str:
    """What a request is called in the snapshot."""
    if seen.path == "/miner_heartbeat":
        return "heartbeat with progress" if "progress" in seen.body else "heartbeat"
    if seen.path == "/miner_submit":
        return f"submit of task {seen.body['task_id']}"
    return f"{seen.method} {seen.path}"


def test_requests_are_sent_as_ever(tasks: Tasks, tmp_path: Path, snapshot: Snapshot) -> None:
    with comfyui() as comfy:
        miner = MinerProcess(tmp_path, tasks.url, comfy.url)
        try:
            assert miner.first_line() == "Xalora miner box ready"
            poll(lambda: any("preview" in seen.body.get("progress", {}) for seen in tasks.seen if seen.body))
            miner.process.terminate()
            miner.wait()
        finally:
            miner.close()
    sent: dict[str, Any] = {}
    progress: dict[str, Any] = {}
    for seen in tasks.seen:
        body = shape(seen.body)
        if seen.path.startswith("/miner_") and isinstance(body, dict):
            assert seen.body.get("miner_key", "offload-miner-key") == "offload-miner-key"
            assert re.fullmatch("[0-9a-f]{32}", seen.body.get("instance", "0" * 32))
        for name in ("success", "give_back", "wait_seconds", "erc20_address", "miner_id", "workflows"):
            if name in (seen.body or {}):
                body[name] = seen.body[name]
        if "progress" in (seen.body or {}):
            progress |= body["progress"]
            body["progress"] = progress
        about = {"content_type": seen.headers.get("content-type"), "body": body}
        assert sent.setdefault(kind_of(seen), about) == about
    snapshot.check("requests", dict(sorted(sent.items())))
