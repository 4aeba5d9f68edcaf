"""``python -m tests.offload.kills [--tasks N] [--minutes M] [--seed S]``: every part killed at random, nothing lost.

A sequencer, three miners and their ComfyUIs (simulated) are killed and started again while a client's tasks come in
over a network that is cut now and then. In the end each task has its own result and was charged once, and none was run
to its end twice without need. Prints a table; exits with 1 where something is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.offload.world import KEY, PATIENCE, Part, World, finished, picture
from xalora_client import AsyncClient, WorkflowTaskResult

Result = tuple[WorkflowTaskResult, bytes]
MINERS = 3
SECONDS = 1.5
"""How long a task runs."""


def parts(world: World) -> list[Part[Any]]:
    """All that is killed."""
    return [world.sequencer, *(box.comfyui for box in world.boxes), *(box.miner for box in world.boxes)]


def disturb(world: World, dice: random.Random, counts: Counter[str]) -> None:
    """Kill one part, or cut one line for a moment."""
    if dice.random() < 0.2:
        network = dice.choice([*(box.network for box in world.boxes), world.client_network])
        counts["network cut"] += 1
        (network.freeze if dice.random() < 0.5 else network.tear)()
        time.sleep(dice.choice([1.0, 5.0]) / world.speed)
        network.mend()
        return
    part = dice.choice(parts(world))
    counts[part.name.split()[0]] += 1
    part.kill(dice.uniform(0.1, 1.5))


async def create_all(world: World, tasks: int, seconds: float) -> tuple[dict[str, Result], Counter[str]]:
    """All tasks, spread over the time, to their results."""
    failures: Counter[str] = Counter()
    results: dict[str, Result] = {}

    async def run(client: AsyncClient, number: int) -> None:
        await asyncio.sleep(seconds * number / tasks)
        results[str(number)] = await finished(client, str(number), failures)

    home = world.folder / "home"
    async with AsyncClient(KEY, world.client_network.url, home=home, ledger=True) as client:
        creating = asyncio.gather(*(run(client, number) for number in range(tasks)))
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(creating, seconds + PATIENCE)
    return results, failures


def judge(world: World, results: dict[str, Result], tasks: int) -> list[str]:
    """What is not as it should be."""
    wrong = []
    if len(results) != tasks:
        wrong.append(f"{tasks - len(results)} tasks were lost")
    if len({result.task_id for result, _ in results.values()}) != len(results):
        wrong.append("two tasks have one id")
    charged = Counter(row["text"] for row in world.tasks() if row["status"] == "finished")
    made = world.runs()
    for text, (_, content) in results.items():
        runs = made.get(text, [])
        if content != picture(text):
            wrong.append(f"task {text} has another result than its own")
        if charged[text] != 1:
            wrong.append(f"task {text} was charged {charged[text]} times")
        if not runs:
            wrong.append(f"task {text} has a result that nobody made")
        # A second run to the end is needed only where the first one's way to the sequencer was broken.
        elif len(runs) > 1 and not any(part.was_gone(min(runs) - SECONDS - 1, max(runs)) for part in parts(world)):
            wrong.append(f"task {text} ran {len(runs)} times without need")
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


def run(folder: Path, tasks: int, seconds: float, dice: random.Random, speed: float = 1.0) -> list[str]:
    """Do it all in the folder; returns what is wrong, and prints the table. ``speed`` is of the sequencer's clock."""
    world = World(folder, MINERS, SECONDS, speed)
    counts: Counter[str] = Counter()
    try:
        results, failures = asyncio.run(_with_kills(world, tasks, seconds, dice, counts))
        wrong = judge(world, results, tasks)
        runs = [len(ended) for ended in world.runs().values()]
    finally:
        world.close()
    print(f"{tasks} tasks, {MINERS} miners, {seconds:.0f} s")
    for name, count in sorted(counts.items()):
        print(f"  {name:16} {count:4} times")
    print(f"  results          {len(results):4}")
    print(f"  runs to the end  {sum(runs):4}, of {sum(count > 1 for count in runs)} tasks twice or more")
    print(f"  calls again      {sum(failures.values()):4} {dict(failures)}")
    for line in wrong:
        print(f"  ! {line}")
    return wrong


async def _with_kills(
    world: World, tasks: int, seconds: float, dice: random.Random, counts: Counter[str]
) -> tuple[dict[str, Result], Counter[str]]:
    creating = asyncio.create_task(create_all(world, tasks, seconds))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not creating.done():
        await asyncio.sleep(dice.uniform(1.0, 4.0))
        await asyncio.to_thread(disturb, world, dice, counts)
    return await creating


if __name__ == "__main__":
    sys.exit(main())
