"""A miner for tests: it speaks the sequencer's wire, and does what the test tells it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import requests

from tests.support.pictures import png

_numbers = itertools.count()
TEXT = [
    {"name": "prompt", "kind": "text"},
    {"name": "steps", "kind": "whole", "default": 5, "minimum": 1, "maximum": 9},
]
IMAGE = [{"name": "image", "kind": "image"}]


def workflow(name: str, parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """An announcement: "txt2vid.1" takes a prompt and steps, unless other parameters are given."""
    task_type, _, workflow_id = name.partition(".")
    return {
        "task_type": task_type,
        "workflow_id": workflow_id or None,
        "parameters": TEXT if parameters is None else parameters,
    }


class FakeMiner:
    """Registers at once, unless ``public``. Its methods post, and return the answers."""

    def __init__(
        self,
        url: str,
        *workflows: str | dict[str, Any],
        name: str | None = None,
        instance: str | None = None,
        key: str | None = None,
        register: bool = True,
    ) -> None:
        self.url = url
        self.number = next(_numbers)
        self.name = name or f"miner-{self.number}"
        self.instance = instance or f"{self.number:08x}"
        self.key = key
        self.workflows = [workflow(each) if isinstance(each, str) else each for each in workflows]
        if register:
            answer = self.register()
            assert answer.status_code == 200, answer.text

    def post(self, endpoint: str, body: Mapping[str, Any]) -> requests.Response:
        keyed = {**body} if self.key is None else {"miner_key": self.key, **body}
        return requests.post(f"{self.url}/{endpoint}", json=keyed, timeout=30)

    def move_to(self, url: str) -> FakeMiner:
        """The sequencer answers elsewhere now."""
        self.url = url
        return self

    def register(self, **more: Any) -> requests.Response:
        software = {"comfyui": "0.33.0", "device": "a <b>GPU</b>"}
        return self.post(
            "miner_register",
            {
                "erc20_address": self.name,
                "instance": self.instance,
                "workflows": self.workflows,
                "software": software,
                **more,
            },
        )

    def ask(self, wait_seconds: float = 0) -> dict[str, Any]:
        """``miner_request``; the answer."""
        answer = self.post(
            "miner_request",
            {"erc20_address": self.name, "instance": self.instance, "workflow_ids": [], "wait_seconds": wait_seconds},
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def waits(self, wait_seconds: float = 25) -> Future[dict[str, Any]]:
        """The same in a thread."""
        return in_thread(self.ask, wait_seconds)

    def take(self) -> dict[str, Any]:
        """The same, where there must be a task; a heartbeat says that it arrived."""
        task = self.ask()
        assert "task_id" in task, task
        assert self.beat(task) == {"lease_seconds": 30}
        return task

    def beat(self, task: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """``miner_heartbeat``; the answer."""
        answer = self.post(
            "miner_heartbeat",
            {"erc20_address": self.name, "task_id": task["task_id"], "lease": task["lease"], **more},
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def upload(self, task: Mapping[str, Any], content: bytes | None = None) -> requests.Response:
        return requests.put(task["credential"]["upload_url"], data=png() if content is None else content, timeout=30)

    def submit(self, task: Mapping[str, Any], **more: Any) -> requests.Response:
        """``miner_submit``: a success, unless something else is said."""
        body = {
            "success": True,
            "task_id": task["task_id"],
            "miner_id": self.name,
            "lease": task.get("lease"),
            "inference_latency": 1.5,
            "upload_latency": 0.25,
            "msg": "",
        }
        return self.post("miner_submit", {k: v for k, v in {**body, **more}.items() if v is not None})

    def finish(self, task: Mapping[str, Any], content: bytes | None = None) -> None:
        """Upload and submit."""
        uploaded = self.upload(task, content)
        assert uploaded.status_code == 200, uploaded.text
        submitted = self.submit(task, result=uploaded.json()["result"])
        assert submitted.status_code == 200, submitted.text


def in_thread(work: Any, *arguments: Any, **named: Any) -> Future[Any]:
    """Call in a thread of its own; the future has what it returns."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work(*arguments, **named))
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
