"""``python -m tests.offload.kills [--tasks N] [--minutes M] [--seed S]``: every part killed at random, nothing lost.

A sequencer, three miners and their ComfyUIs (simulated) are killed and started again while a client's tasks come in
over a network that is cut now and then. In the end each task has its own result and was charged once, and none was run
to its end twice without need. Prints a table; exits with 1 where something is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from cluster import KEY, MinerProcess, SequencerProcess, SimulatedComfyUIProcess, write_workflow
from cut_network import CutNetwork
from processes import free_port, poll

from xalora_client import AsyncClient, CustomTask, WorkflowTaskResult, XaloraError

MINERS = 3
SECONDS = 1.5
"""How long a task runs."""

PATIENCE = 240.0
"""Seconds that the last task may take after the last kill."""


@dataclass
class Part:
    """Something that is killed and started again. ``gone`` are the times from a kill to the new start."""

    name: str
    begin: object
    running: object = None
    gone: list[tuple[float, float]] = field(default_factory=list)

    def start(self) -> None:
        self.running = self.begin()  # type: ignore[operator]

    def kill(self, pause: float) -> None:
        began = time.time()
        self.running.kill()  # type: ignore[attr-defined]
        time.sleep(pause)
        self.start()
        self.gone.append((began, time.time()))

    def was_gone(self, begin: float, end: float) -> bool:
        return any(start <= end and stop >= begin for start, stop in self.gone)


class World:
    """All the parts, and the client's tasks."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.folder, self.dice = folder, dice
        self.workflows = write_workflow(folder / "workflows")
        self.journal = folder / "journal"
        port = free_port()
        sequencer = Part("sequencer", lambda: SequencerProcess(folder / "sequencer", port=port))
        sequencer.start()
        url = f"http://127.0.0.1:{port}"
        self.networks = [CutNetwork(url) for _ in range(MINERS)]
        self.client_network = CutNetwork(url)
        self.comfyuis, self.miners = [], []
        for number, network in enumerate(self.networks):
            place = free_port()
            comfyui = Part(f"ComfyUI {number}", lambda p=place: SimulatedComfyUIProcess(p, self.journal, SECONDS))
            comfyui.start()
            address = f"http://127.0.0.1:{place}"
            miner = Part(
                f"miner {number}",
                lambda n=number, a=address, net=network: MinerProcess(
                    folder / f"miner{n}", net.url, a, workflows=self.workflows, name=f"box-{n}"
                ),
            )
            miner.start()
            self.comfyuis.append(comfyui)
            self.miners.append(miner)
        self.sequencer = sequencer
        for each in self.miners:
            poll(lambda each=each: "ready" in each.running.output() + each.running.errors(), what=f"{each.name} ready")

    @property
    def parts(self) -> list[Part]:
        return [self.sequencer, *self.comfyuis, *self.miners]

    def disturb(self, counts: Counter[str]) -> None:
        """Kill one part, or cut one line for a moment."""
        if self.dice.random() < 0.2:
            network = self.dice.choice([*self.networks, self.client_network])
            counts["network cut"] += 1
            (network.freeze if self.dice.random() < 0.5 else network.tear)()
            time.sleep(self.dice.choice([1.0, 5.0]))
            network.mend()
            return
        part = self.dice.choice(self.parts)
        counts[part.name.split()[0]] += 1
        part.kill(self.dice.uniform(0.1, 1.5))

    def close(self) -> None:
        for part in [*self.miners, *self.comfyuis, self.sequencer]:
            part.running.kill()  # type: ignore[attr-defined]
        for network in [*self.networks, self.client_network]:
            network.close()


async def one_task(client: AsyncClient, number: int, failures: Counter[str]) -> WorkflowTaskResult:
    """Run a task, and run it again when that fails, as a person would."""
    task = CustomTask("txt2img", {"prompt": str(number)}, workflow_id="slow")
    while True:
        try:
            return await client.execute_workflow_and_wait_for_result(task, timeout=PATIENCE)
        except XaloraError as error:
            failures[type(error).__name__] += 1
            await asyncio.sleep(1)


async def create_all(world: World, tasks: int, seconds: float) -> tuple[dict[int, WorkflowTaskResult], Counter[str]]:
    """All tasks, spread over the time, to their results."""
    failures: Counter[str] = Counter()
    results: dict[int, WorkflowTaskResult] = {}

    async def run(client: AsyncClient, number: int) -> None:
        await asyncio.sleep(seconds * number / tasks)
        results[number] = await one_task(client, number, failures)

    home = world.folder / "home"
    async with AsyncClient(KEY, world.client_network.url, home=home, ledger=True) as client:
        await asyncio.wait_for(asyncio.gather(*(run(client, n) for n in range(tasks))), seconds + PATIENCE)
    return results, failures


def judge(world: World, results: dict[int, WorkflowTaskResult], tasks: int) -> list[str]:
    """What is not as it should be."""
    wrong = []
    if len(results) != tasks:
        wrong.append(f"{tasks - len(results)} tasks were lost")
    made: dict[int, list[dict[str, float]]] = {}
    for line in world.journal.read_text().splitlines():
        run = json.loads(line)
        made.setdefault(int(run["text"]), []).append(run)
    ids = [result.task_id for result in results.values()]
    if len(set(ids)) != len(ids):
        wrong.append("two tasks have one id")
    for number in results:
        runs = made.get(number, [])
        if not runs:
            wrong.append(f"task {number} has a result that nobody made")
        # A second run to the end is needed only where the first one's way to the sequencer was broken.
        if len(runs) > 1:
            first, last = min(run["ended"] for run in runs), max(run["ended"] for run in runs)
            if not any(part.was_gone(first - SECONDS - 1, last) for part in world.parts):
                wrong.append(f"task {number} ran {len(runs)} times without need")
    return wrong


def main() -> int:
    """Run it and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=200)
    arguments.add_argument("--minutes", type=float, default=5.0)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(Path(folder), given.tasks, given.minutes * 60, random.Random(given.seed))
    return int(bool(wrong))


def run(folder: Path, tasks: int, seconds: float, dice: random.Random) -> list[str]:
    """Do it all in the folder; returns what is wrong, and prints the table."""
    world = World(folder, dice)
    counts: Counter[str] = Counter()
    try:
        results, failures = asyncio.run(_with_kills(world, tasks, seconds, counts))
        wrong = judge(world, results, tasks)
        runs = Counter(json.loads(line)["text"] for line in world.journal.read_text().splitlines())
    finally:
        world.close()
    print(f"{tasks} tasks, {MINERS} miners, {seconds:.0f} s")
    for name, count in sorted(counts.items()):
        print(f"  {name:16} {count:4} times")
    print(f"  results          {len(results):4}")
    print(
        f"  runs to the end  {sum(runs.values()):4}, of {sum(count > 1 for count in runs.values())} tasks twice or more"
    )
    print(f"  calls again      {sum(failures.values()):4} {dict(failures)}")
    for line in wrong:
        print(f"  ! {line}")
    return wrong


async def _with_kills(
    world: World, tasks: int, seconds: float, counts: Counter[str]
) -> tuple[dict[int, WorkflowTaskResult], Counter[str]]:
    creating = asyncio.create_task(create_all(world, tasks, seconds))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not creating.done():
        await asyncio.sleep(world.dice.uniform(1.0, 4.0))
        await asyncio.to_thread(world.disturb, counts)
    return await creating


if __name__ == "__main__":
    sys.exit(main())
