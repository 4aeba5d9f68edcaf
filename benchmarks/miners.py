"""``python -m benchmarks.miners [--miners N] [--clients N] [--seconds S]``: how many miners one sequencer keeps busy.

The sequencer, the miners, the clients, and one who only asks are processes of their own. The miners speak the wire as
``xalora miner`` does, and their ComfyUIs only sleep; the clients are the library's. Prints a table: how busy the miners
were, how long queries took, how soon a client knew of an end, and what the sequencer used.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import math
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.cluster import KEY, MINER_KEY, FakeComfyUIProcess, MinerProcess, SequencerProcess, write_workflow
from tests.support.processes import free_port, poll
from xalora_client import AsyncClient, CustomTask

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
OFFER = [{"task_type": "txt2img", "workflow_id": "slow", "parameters": [{"name": "prompt", "kind": "text"}]}]


async def mine(session: aiohttp.ClientSession, url: str, name: str, seconds: float, said: list[Any]) -> None:
    """One miner, for as long as it is awaited; says for each task when it held it and when it had submitted it."""
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
        began = time.time()
        for step in range(10):
            await asyncio.sleep(seconds / 10)
            await ask("miner_heartbeat", progress={"value": step + 1, "maximum": 10, "title": "Sampler"}, **held)
        ended = time.time()
        async with session.put(task["credential"]["upload_url"], data=PICTURE) as answer:
            answer.raise_for_status()
            key = (await answer.json())["result"]
        await ask("miner_submit", success=True, miner_id=name, result=key, inference_latency=seconds,
                  upload_latency=0.0, msg="", **held)  # fmt: skip
        said.append((task["task_id"], began, ended, time.time()))


async def use(url: str, open_tasks: int, said: list[Any], folder: Path) -> None:
    """One client, which keeps so many tasks open for as long as it is awaited; says when it knew of each end."""
    async with AsyncClient(KEY, url, home=folder) as client:

        async def one() -> None:
            while True:
                task = CustomTask("txt2img", {"prompt": str(random.random())}, workflow_id="slow")
                result = await client.execute_workflow_and_wait_for_result(task, timeout=600)
                said.append((result.task_id, time.time()))

        await asyncio.gather(*(one() for _ in range(open_tasks)))


async def ask_often(session: aiohttp.ClientSession, url: str, said: list[Any]) -> None:
    """Queries of one task, one after the other; says when each began and how long it took."""
    consumer_id, _, api_key = KEY.partition("#")
    me = {"consumer_id": consumer_id, "api_key": api_key}
    body = {"task_type": "txt2img", "workflow_id": "slow", "job_id": "watched",
            "task_details": {"parameters": {"prompt": "watched"}}}  # fmt: skip
    async with session.post(f"{url}/task_create", json=me | body) as answer:
        task_id = (await answer.json())["task_id"]
    while True:
        began = time.time()
        async with session.post(f"{url}/task_result_query", json=me | {"task_id": task_id}) as answer:
            await answer.read()
        said.append((began, time.time() - began))
        await asyncio.sleep(0.02)


async def play(part: str, url: str, count: int, seconds: float, task_seconds: float, open_tasks: int) -> None:
    """Be a part for so many seconds, then print all that it said."""
    said: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
            parts = {
                "mine": lambda n: mine(session, url, f"miner-{n}", task_seconds, said),
                "use": lambda n: use(url, open_tasks, said, Path(folder) / str(n)),
                "ask": lambda n: ask_often(session, url, said),
            }
            running = [asyncio.create_task(parts[part](number)) for number in range(count)]
            done, _ = await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    print(json.dumps(said))


def start(part: str, *values: object) -> subprocess.Popen[str]:
    """A part as a process."""
    command = [sys.executable, "-m", "benchmarks.miners", "--part", part, *map(str, values)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def memory_of(process: int) -> float:
    """MB that a process has in memory."""
    (line,) = [each for each in Path(f"/proc/{process}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) / 1e3


def processor_of(process: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def many(folder: Path, miners: int, clients: int, seconds: float, task_seconds: float) -> None:
    """The table of many miners."""
    sequencer = SequencerProcess(folder / "sequencer")
    # Each client has a tenth more tasks open than there are miners for it, so that no miner waits for work.
    open_tasks = math.ceil(miners * 1.1 / clients)
    # The first round begins all at once.
    warm, rest = task_seconds + 10, task_seconds + 3
    try:
        total = warm + seconds + rest
        parts = [start("mine", sequencer.url, miners, total, task_seconds, 0)]
        time.sleep(3)
        halves = [clients // 2, clients - clients // 2]
        parts += [start("use", sequencer.url, half, total - 3, task_seconds, open_tasks) for half in halves]
        parts += [start("ask", sequencer.url, 1, total - 3, task_seconds, 0)]
        time.sleep(warm - 3)
        memory, processor = memory_of(sequencer.process.pid), processor_of(sequencer.process.pid)
        began = time.time()
        time.sleep(seconds)
        ended = time.time()
        used = processor_of(sequencer.process.pid) - processor
        later = memory_of(sequencer.process.pid)
        mined, one, other, asked = (json.loads(part.communicate()[0] or "[]") for part in parts)
    finally:
        sequencer.close()
    busy = sum(max(0.0, min(end, ended) - max(begin, began)) for _, begin, end, _ in mined)
    submits = {task_id: submitted for task_id, _, _, submitted in mined}
    seen = [at - submits[task_id] for task_id, at in one + other if began < at < ended and task_id in submits]
    ranked = sorted(took for at, took in asked if began < at < ended)
    took = ended - began
    print(f"{miners} miners with tasks of {task_seconds:g} s, {clients} clients, {took:.0f} s")
    print(f"  tasks                {len(seen) / took:8.1f} a second")
    print(f"  miners busy          {busy / took / miners:8.0%}")
    for share in (0.5, 0.99):
        print(f"  query, {share:4.0%}          {ranked[int(share * (len(ranked) - 1))] * 1e3:8.1f} ms")
    print(f"  end seen, median     {statistics.median(seen) * 1e3:8.1f} ms after the submit")
    print(f"  the sequencer        {used / took:8.2f} of one core, {memory:.1f} MB, then {later:.1f} MB")


def two_against_one(folder: Path, tasks: int = 12, seconds: float = 1.0) -> None:
    """Real miners with fake ComfyUIs: twelve tasks by one, then by two."""
    took = []
    for count in (1, 2):
        place = folder / str(count)
        sequencer = SequencerProcess(place / "sequencer")
        workflows = write_workflow(place / "workflows")
        comfyuis = [FakeComfyUIProcess(free_port(), place / "journal", seconds) for _ in range(count)]
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


async def end_seen(sequencer: SequencerProcess, folder: Path, tasks: int) -> list[float]:
    """One task after the other; seconds from the moment the sequencer took each submit to the client's knowing."""
    late = []
    file = sequencer.folder / "data" / "sequencer.sqlite3"
    async with AsyncClient(KEY, sequencer.url, home=folder) as client:
        for number in range(tasks):
            task = CustomTask("txt2img", {"prompt": str(number)}, workflow_id="slow")
            result = await client.execute_workflow_and_wait_for_result(task, timeout=600)
            now = time.time()
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
                row = db.execute("SELECT ended FROM tasks WHERE task_id = ?", (result.task_id,)).fetchone()
            late.append(now - row[0])
    return late


def ends_seen(folder: Path, tasks: int = 50, seconds: float = 0.5) -> None:
    """How soon the client knows of an end, with one real miner that has nothing else to do."""
    sequencer = SequencerProcess(folder / "sequencer")
    comfyui = FakeComfyUIProcess(free_port(), folder / "journal", seconds)
    workflows = write_workflow(folder / "workflows")
    miner = MinerProcess(folder / "miner", sequencer.url, comfyui.url, workflows=workflows)
    try:
        poll(lambda: "ready" in miner.output())
        late = asyncio.run(end_seen(sequencer, folder / "home", tasks))
    finally:
        for each in (miner, comfyui, sequencer):
            each.kill()
    print(
        f"{tasks} tasks one by one: end seen {statistics.median(late) * 1e3:.1f} ms after the submit (median), "
        f"{max(late) * 1e3:.1f} ms at most"
    )


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--miners", type=int, default=300)
    arguments.add_argument("--clients", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--task-seconds", type=float, default=10.0)
    arguments.add_argument("--part", nargs=6, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.part:
        part, url, count, *numbers, open_tasks = given.part
        asyncio.run(play(part, url, int(count), *map(float, numbers), int(open_tasks)))
        return
    with tempfile.TemporaryDirectory() as folder:
        two_against_one(Path(folder) / "few")
        ends_seen(Path(folder) / "ends")
        many(Path(folder) / "many", given.miners, given.clients, given.seconds, given.task_seconds)


if __name__ == "__main__":
    main()
