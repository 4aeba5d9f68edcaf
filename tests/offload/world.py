"""What the runs with faults are made of: processes that are killed and started again, and a client's tasks."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import requests

from tests.support.cluster import KEY, FakeComfyUIProcess, MinerProcess, SequencerProcess, write_workflow
from tests.support.cut_network import CutNetwork
from tests.support.fake_comfyui import picture
from tests.support.processes import free_port, poll
from tests.support.small_disk import SmallDisk, why_no_small_disk
from xalora_client import AsyncClient, CustomTask, WorkflowTaskResult, XaloraError

__all__ = [
    "KEY", "PATIENCE", "Box", "CutNetwork", "Part", "SmallDisk", "World", "finished", "picture", "poll",
    "why_no_small_disk",
]  # fmt: skip

PATIENCE = 240.0
"""Seconds that a task may take after the last fault."""

P = TypeVar("P", SequencerProcess, FakeComfyUIProcess, MinerProcess)


@dataclass
class Part(Generic[P]):
    """Something that is killed and started again. ``gone`` are the times from a kill to the new start."""

    name: str
    begin: Callable[[], P]
    gone: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.running = self.begin()

    def kill(self, pause: float = 0.0) -> None:
        """End it as a crash does, and start it again after so many seconds."""
        began = time.time()
        self.running.kill()
        time.sleep(pause)
        self.running = self.begin()
        self.gone.append((began, time.time()))

    def was_gone(self, begin: float, end: float) -> bool:
        """Whether it was not there at some time between these."""
        return any(start <= end and stop >= begin for start, stop in self.gone)


class Box:
    """A miner with its ComfyUI, and the network between it and the sequencer."""

    def __init__(self, world: World, number: int) -> None:
        self.network = CutNetwork(world.url)
        port = free_port()
        self.comfyui = Part(f"ComfyUI {number}", lambda: FakeComfyUIProcess(port, world.journal, world.task_seconds))
        folder, workflows = world.folder / f"miner{number}", write_workflow(world.folder / "workflows")

        def miner() -> MinerProcess:
            return MinerProcess(
                folder, self.network.url, f"http://127.0.0.1:{port}", workflows=workflows, name=f"box-{number}"
            )

        self.miner = Part(f"miner {number}", miner)

    def wait_until_ready(self) -> None:
        poll(lambda: "ready" in self.miner.running.output(), what=f"{self.miner.name} ready")

    def is_working(self) -> bool:
        """Whether its ComfyUI runs a prompt."""
        return bool(requests.get(f"{self.comfyui.running.url}/queue", timeout=PATIENCE).json()["queue_running"])

    def close(self) -> None:
        self.miner.running.kill()
        self.comfyui.running.kill()
        self.network.close()


class World:
    """A sequencer, whose clock may be fast, and boxes whose tasks take ``task_seconds``.

    ``journal`` has a line of each prompt that ran to its end on any of them. ``has_failed`` after a fault from which it
    did not recover.
    """

    def __init__(self, folder: Path, boxes: int, task_seconds: float, speed: float) -> None:
        self.folder, self.task_seconds, self.speed = folder, task_seconds, speed
        self.journal = folder / "journal"
        self.has_failed = False
        port = free_port()
        self.sequencer = Part("sequencer", lambda: SequencerProcess(folder / "sequencer", port=port, speed=speed))
        self.url = f"http://127.0.0.1:{port}"
        self.client_network = CutNetwork(self.url)
        self.boxes = [Box(self, number) for number in range(boxes)]
        for each in self.boxes:
            each.wait_until_ready()

    def runs(self) -> dict[str, list[float]]:
        """For each text, when prompts with it ended."""
        ended: dict[str, list[float]] = {}
        for line in self.journal.read_text().splitlines() if self.journal.exists() else ():
            run = json.loads(line)
            ended.setdefault(run["text"], []).append(run["ended"])
        return ended

    def tasks(self) -> list[dict[str, Any]]:
        """The sequencer's tasks: text, status, attempts, and the name of the result."""
        file = self.folder / "sequencer/data/sequencer.sqlite3"
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=PATIENCE)) as db:
            rows = db.execute("SELECT task_details, status, attempts, media FROM tasks ORDER BY rowid").fetchall()
        names = ("status", "attempts", "media")
        return [
            {"text": json.loads(row[0])["parameters"]["prompt"]} | dict(zip(names, row[1:], strict=True))
            for row in rows
        ]

    def close(self) -> None:
        for box in self.boxes:
            box.close()
        self.sequencer.running.kill()
        self.client_network.close()


async def finished(client: AsyncClient, text: str, failures: Counter[str]) -> tuple[WorkflowTaskResult, bytes]:
    """Run a task to its result, and run it again when that fails, as a person would."""
    task = CustomTask("txt2img", {"prompt": text}, workflow_id="slow")
    while True:
        try:
            result = await client.execute_workflow_and_wait_for_result(task, timeout=PATIENCE)
            media = await client.download(result)
            return result, await asyncio.to_thread(Path(media.path).read_bytes)
        except XaloraError as error:
            failures[type(error).__name__] += 1
            await asyncio.sleep(1)
