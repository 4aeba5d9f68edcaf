"""One fault in the middle of a task, and what came of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tests.offload.world import KEY, PATIENCE, Box, World, finished, picture, poll
from xalora_client import AsyncClient


class Scene:
    """What a fault is done with. ``begin`` comes first; after the fault, everything must be whole again."""

    def __init__(self, world: World, client: AsyncClient) -> None:
        self.world = world
        self.box = world.boxes[0]
        self.failures: Counter[str] = Counter()
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._results: dict[str, Future[tuple[Any, bytes]]] = {}

    def begin(self, tasks: int = 1) -> None:
        """Create so many tasks, and go on."""
        for _ in range(tasks):
            text = secrets.token_hex(8)
            running = finished(self._client, text, self.failures)
            self._results[text] = asyncio.run_coroutine_threadsafe(running, self._loop)

    def begin_and_work(self, tasks: int = 1) -> Box:
        """Create so many tasks, and return the box that works on one, once it does."""
        self.begin(tasks)
        return poll(lambda: next((box for box in self.world.boxes if box.is_working()), None), what="a box works")

    def sleep(self, seconds: float) -> None:
        """Let so many seconds of the sequencer's clock pass, or one of this machine's."""
        time.sleep(max(1.0, seconds / self.world.speed))

    def results(self) -> dict[str, bytes]:
        """What the client got for each text, once it has all."""
        return {text: future.result(PATIENCE)[1] for text, future in self._results.items()}

    def rows(self) -> list[dict[str, Any]]:
        """The sequencer's tasks for these texts, as ``World.tasks`` gives them."""
        return [row for row in self.world.tasks() if row["text"] in self._results]


@dataclass(frozen=True)
class Fault:
    """``do`` begins tasks and makes the fault; each of them may run to its end ``most_runs`` times.

    Attributes:
        boxes: How many miners there are.
        by_hand: Whether it takes so long that only people run it.
        missing: Why it cannot be made here, or nothing.
        has_small_disk: Whether the sequencer's data are on a disk of their own.
    """

    name: str
    do: Callable[[Scene], None]
    most_runs: int = 1
    boxes: int = 1
    by_hand: bool = False
    missing: str = ""
    has_small_disk: bool = False


@dataclass
class Outcome:
    """What came of one fault."""

    tasks: int = 0
    right: int = 0
    runs: int = 0
    charged: int = 0
    attempts: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def carry_out(fault: Fault, world: World) -> Outcome:
    """Make the fault once in a world that is whole."""
    outcome = asyncio.run(_carry_out(fault, world))
    world.has_failed = bool(outcome.wrong)
    return outcome


async def _carry_out(fault: Fault, world: World) -> Outcome:
    outcome = Outcome()
    began = time.monotonic()
    async with AsyncClient(KEY, world.client_network.url, home=world.folder / "home", ledger=True) as client:
        scene = Scene(world, client)
        try:
            await asyncio.to_thread(fault.do, scene)
            results = await asyncio.to_thread(scene.results)
        except (AssertionError, TimeoutError) as error:
            outcome.wrong.append(f"{type(error).__name__}: {error}")
            return outcome
    outcome.seconds = time.monotonic() - began
    _judge(outcome, fault, world, scene, results)
    return outcome


def _judge(outcome: Outcome, fault: Fault, world: World, scene: Scene, results: dict[str, bytes]) -> None:
    rows, runs = scene.rows(), world.runs()
    outcome.tasks = len(results)
    outcome.right = sum(content == picture(text) for text, content in results.items())
    outcome.runs = sum(len(runs.get(text, [])) for text in results)
    outcome.charged = sum(row["status"] == "finished" for row in rows)
    outcome.attempts = sum(row["attempts"] for row in rows)
    if outcome.right != outcome.tasks:
        outcome.wrong.append("a result is not the task's own")
    if not len(rows) == outcome.charged == outcome.tasks:
        outcome.wrong.append(f"{outcome.tasks} tasks were asked for, {len(rows)} made, and {outcome.charged} charged")
    for text in results:
        if not 1 <= len(runs.get(text, [])) <= fault.most_runs:
            outcome.wrong.append(f"a task ran to its end {len(runs.get(text, []))} times")
