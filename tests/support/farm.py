"""A real sequencer, fake ComfyUIs, and real miners between them, all on one event loop."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.fake_comfyui import FakeComfyUI, until, workflow
from tests.support.processes import Command
from xalora_client.miner.miner import Miner
from xalora_client.miner.timeouts import Timeouts
from xalora_client.sequencer import SequencerOptions
from xalora_client.sequencer.app import serve

KEY = "fox#consumer-key"
MINER_KEY = "miner-key"
QUICK = Timeouts(
    poll=0.05, poll_without_ws=0.02, connection_refused=0.3, no_response=2.0, queue_stall=0.2, progress_stall=5.0,
    stop=1.0, stop_again=0.02, report=0.02, first_delay=0.02, longest_delay=0.1, log_interval=0.0,
)  # fmt: skip


class Farm:
    """``lines`` is what the miners logged, ``ready`` the names of those that were accepted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.ready: list[str] = []
        self.url = ""
        self.port = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.comfyuis: list[FakeComfyUI] = []
        self.commands: list[Command] = []
        self.options = SequencerOptions(api_keys=(KEY,), miner_keys=(MINER_KEY,))
        self.workflows({"upscaler.json": workflow(image=True), "txt2img.3.json": workflow()})

    def workflows(self, files: dict[str, Any]) -> Path:
        """Put workflow files into the miners' folder."""
        folder = self.folder / "workflows"
        folder.mkdir(exist_ok=True)
        for name, nodes in files.items():
            (folder / name).write_text(json.dumps(nodes))
        return folder

    async def __aenter__(self) -> Farm:
        self.session = aiohttp.ClientSession()
        await self.start_sequencer()
        return self

    async def __aexit__(self, *_: object) -> None:
        for command in self.commands:
            await asyncio.to_thread(command.close)
        for task in reversed(self.tasks):
            await self.end(task)
        for comfyui in self.comfyuis:
            await comfyui.stop()
        await self.session.close()

    async def start_sequencer(self) -> None:
        """On the same folder and port as before, if there was one before."""
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = serve("127.0.0.1", self.port, self.folder / "data", self.options, on_ready=ready.set_result)
        self.serving = asyncio.create_task(serving)
        self.tasks.insert(0, self.serving)
        await asyncio.wait({self.serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        self.url = ready.result()
        self.port = int(self.url.rpartition(":")[2])

    async def end(self, task: asyncio.Task[None]) -> None:
        """Cancel it and wait for its end."""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.tasks.remove(task)

    async def comfyui(self, **options: Any) -> FakeComfyUI:
        self.comfyuis.append(FakeComfyUI(**options))
        return await self.comfyuis[-1].start()

    def miner(self, comfyui: str, name: str = "box", timeouts: Timeouts = QUICK, **options: Any) -> Miner:
        """A miner that runs; ``running`` is its task."""
        chosen = {"miner_key": MINER_KEY, "workflows": self.folder / "workflows"} | options
        address = chosen.pop("sequencer", self.url)
        miner = Miner(
            name, comfyui, address, on_ready=self.ready.append, log=self.lines.append, timeouts=timeouts, **chosen
        )  # fmt: skip
        self.running = asyncio.create_task(miner.run())
        self.tasks.append(self.running)
        return miner

    async def pair(self, **options: Any) -> FakeComfyUI:
        """A ComfyUI with a miner that was accepted."""
        comfyui = await self.comfyui(**options)
        before = len(self.ready)
        self.miner(comfyui.url)
        await until(lambda: len(self.ready) > before)
        return comfyui

    async def ask(self, endpoint: str, **body: Any) -> dict[str, Any]:
        consumer_id, _, api_key = KEY.partition("#")
        said = {"consumer_id": consumer_id, "api_key": api_key} | body
        async with self.session.post(f"{self.url}/{endpoint}", json=said) as answer:
            assert answer.ok, await answer.text()
            return dict(await answer.json())

    async def create(self, **parameters: Any) -> str:
        """A task for the text workflow, or for the one with an image where there is one."""
        await until(lambda: self.ready)  # Before, the sequencer knows nobody who could run it.
        kind = {"task_type": "upscaler"} if "image" in parameters else {"task_type": "txt2img", "workflow_id": "3"}
        options = {name: parameters.pop(name) for name in ("timeout_seconds",) if name in parameters}
        self.created = getattr(self, "created", 0) + 1
        body = kind | options | {"task_details": {"parameters": parameters}, "job_id": f"job-{self.created}"}
        return str((await self.ask("task_create", **body))["task_id"])

    async def task(self, task_id: str) -> dict[str, Any]:
        return await self.ask("task_result_query", task_id=task_id)

    async def ended(self, task_id: str) -> dict[str, Any]:
        """The task's end, once it is there."""
        for _ in range(60):
            answer = await self.task(task_id) if not self.serving.done() else {}
            if answer.get("status") in ("finished", "failed", "canceled"):
                return answer
            revision = answer.get("revision", 0)
            with suppress(aiohttp.ClientError):
                await self.ask("task_result_query", task_id=task_id, wait_seconds=1, after=revision)
        raise AssertionError((answer, self.lines))

    async def result(self, task_id: str) -> bytes:
        """The bytes of the result of a task that must end well."""
        answer = await self.ended(task_id)
        assert answer["status"] == "finished", (answer, self.lines)
        async with self.session.get(answer["result"]) as media:
            return await media.read()


def quick(**changes: float) -> Timeouts:
    """``QUICK`` with changes."""
    return replace(QUICK, **changes)
