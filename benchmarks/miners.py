"""``python -m benchmarks.miners [--miners N] [--clients N] [--seconds S]``: how many miners one sequencer keeps busy.

The sequencer is a process of its own. The miners speak the wire as ``xalora miner`` does, in one process, and their
ComfyUIs only sleep; the clients are the library's. Prints a table: how busy the miners were, how long queries took,
how much memory the sequencer had at first and in the end, and how soon a client knew of an end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import aiohttp
from cluster import KEY, MINER_KEY, MinerProcess, SequencerProcess, SimulatedComfyUIProcess, write_workflow
from processes import free_port, poll

from xalora_client import AsyncClient, CustomTask

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
OFFER = [{"task_type": "txt2img", "workflow_id": "slow", "parameters": [{"name": "prompt", "kind": "text"}]}]


@dataclass
class Figures:
    """What is measured, in seconds."""

    busy: float = 0.0
    queries: list[float] = field(default_factory=list)
    submitted: dict[str, float] = field(default_factory=dict)
    seen: list[float] = field(default_factory=list)
    done: int = 0


async def mine(session: aiohttp.ClientSession, url: str, name: str, seconds: float, figures: Figures) -> None:
    """One miner, for as long as it is awaited."""
    me = {"erc20_address": name, "miner_key": MINER_KEY, "instance": os.urandom(8).hex()}

    async def ask(endpoint: str, **body: Any) -> dict[str, Any]:
        async with session.post(f"{url}/{endpoint}", json=me | body) as answer:
            answer.raise_for_status()
            return dict(await answer.json())

    await ask("miner_register", workflows=OFFER, software={})
    while True:
        task = await ask("miner_request", workflow_ids=["slow"], wait_seconds=25)
        if "task_id" not in task:
            continue
        held = {"task_id": task["task_id"], "lease": task["lease"]}
        began = time.monotonic()
        beat = asyncio.create_task(ask("miner_heartbeat", wait_seconds=10, **held))
        for step in range(10):
            await asyncio.sleep(seconds / 10)
            await ask("miner_heartbeat", progress={"value": step + 1, "maximum": 10, "title": "Sampler"}, **held)
            if beat.done():
                beat = asyncio.create_task(ask("miner_heartbeat", wait_seconds=10, **held))
        figures.busy += time.monotonic() - began
        beat.cancel()
        async with session.put(task["credential"]["upload_url"], data=PICTURE) as answer:
            answer.raise_for_status()
            key = (await answer.json())["result"]
        await ask("miner_submit", success=True, miner_id=name, result=key, inference_latency=seconds,
                  upload_latency=0.0, msg="", **held)  # fmt: skip
        figures.submitted[task["task_id"]] = time.monotonic()


async def use(url: str, number: int, open_tasks: int, figures: Figures, folder: Path) -> None:
    """One client, which keeps so many tasks open for as long as it is awaited."""
    async with AsyncClient(KEY, url, home=folder / f"client{number}") as client:

        async def one(lane: int) -> None:
            while True:
                task = CustomTask("txt2img", {"prompt": str(random.random())}, workflow_id="slow")
                result = await client.execute_workflow_and_wait_for_result(task, timeout=600)
                figures.done += 1
                if result.task_id in figures.submitted:
                    figures.seen.append(time.monotonic() - figures.submitted.pop(result.task_id))

        await asyncio.gather(*(one(lane) for lane in range(open_tasks)))


async def ask_often(session: aiohttp.ClientSession, url: str, figures: Figures) -> None:
    """Measure plain queries of one task meanwhile."""
    consumer_id, _, api_key = KEY.partition("#")
    mine = {"consumer_id": consumer_id, "api_key": api_key}
    body = {"task_type": "txt2img", "workflow_id": "slow", "job_id": "watched",
            "task_details": {"parameters": {"prompt": "watched"}}}  # fmt: skip
    async with session.post(f"{url}/task_create", json=mine | body) as answer:
        task_id = (await answer.json())["task_id"]
    while True:
        began = time.monotonic()
        async with session.post(f"{url}/task_result_query", json=mine | {"task_id": task_id}) as answer:
            await answer.read()
        figures.queries.append(time.monotonic() - began)
        await asyncio.sleep(0.02)


def memory_of(process: int) -> float:
    """MB that a process has in memory."""
    (line,) = [each for each in Path(f"/proc/{process}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) / 1e3


def processor_of(process: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def many(folder: Path, miners: int, clients: int, seconds: float, task_seconds: float) -> None:
    """The table of many miners."""
    sequencer = SequencerProcess(folder / "sequencer")
    figures = Figures()
    connector = aiohttp.TCPConnector(limit=0)
    # Each client has a tenth more tasks open than there are miners for it, so that none waits for work.
    open_tasks = round(miners * 1.1 / clients) + 1
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
            work = [mine(session, sequencer.url, f"miner-{number}", task_seconds, figures) for number in range(miners)]
            running = [asyncio.create_task(each) for each in work]
            await asyncio.sleep(3)
            running += [
                asyncio.create_task(use(sequencer.url, number, open_tasks, figures, folder))
                for number in range(clients)
            ]
            await asyncio.sleep(task_seconds + 5)  # The first round begins all at once.
            running.append(asyncio.create_task(ask_often(session, sequencer.url, figures)))
            figures.busy, done = 0.0, figures.done
            memory, processor, began = (
                memory_of(sequencer.process.pid),
                processor_of(sequencer.process.pid),
                time.time(),
            )
            await asyncio.sleep(seconds)
            took = time.time() - began
            for each in running:
                if each.done():
                    each.result()
            print(f"{miners} miners with tasks of {task_seconds:g} s, {clients} clients, {took:.0f} s")
            print(f"  tasks                {(figures.done - done) / took:8.1f} a second")
            print(f"  miners busy          {figures.busy / took / miners:8.0%}")
            ranked = sorted(figures.queries)
            for share in (0.5, 0.99):
                print(f"  query, {share:4.0%}          {ranked[int(share * (len(ranked) - 1))] * 1e3:8.1f} ms")
            print(f"  end seen, median     {statistics.median(figures.seen) * 1e3:8.1f} ms after the submit")
            print(f"  memory               {memory:8.1f} MB, then {memory_of(sequencer.process.pid):.1f} MB")
            used = processor_of(sequencer.process.pid) - processor
            print(f"  the sequencer's processor time {used / took:.2f} of one core")
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    finally:
        sequencer.close()


def two_against_one(folder: Path, tasks: int = 12, seconds: float = 1.0) -> None:
    """Real miners with simulated ComfyUIs: twelve tasks by one, then by two."""
    took = []
    for count in (1, 2):
        place = folder / str(count)
        sequencer = SequencerProcess(place / "sequencer")
        workflows = write_workflow(place / "workflows")
        comfyuis = [SimulatedComfyUIProcess(free_port(), place / "journal", seconds) for _ in range(count)]
        miners = [
            MinerProcess(place / f"miner{number}", sequencer.url, each.url, workflows=workflows, name=f"box-{number}")
            for number, each in enumerate(comfyuis)
        ]
        for miner in miners:
            poll(lambda miner=miner: "ready" in miner.output())
        began = time.monotonic()
        ids = [sequencer.create("txt2img", "slow", f"job-{number}", prompt=str(number)) for number in range(tasks)]
        poll(lambda s=sequencer, ids=ids: all(s.task(each)["status"] == "finished" for each in ids), 120)
        took.append(time.monotonic() - began)
        for each in [*miners, *comfyuis, sequencer]:
            each.kill()
    one, two = took
    print(f"{tasks} tasks of {seconds:g} s: {one:.2f} s with one miner, {two:.2f} s with two: {two / one:.2f}")


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--miners", type=int, default=300)
    arguments.add_argument("--clients", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--task-seconds", type=float, default=10.0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        two_against_one(Path(folder) / "few")
        asyncio.run(many(Path(folder) / "many", given.miners, given.clients, given.seconds, given.task_seconds))


if __name__ == "__main__":
    main()
