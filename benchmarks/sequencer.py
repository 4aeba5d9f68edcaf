"""How many miners one sequencer keeps busy: a real `xalora sequencer` in a process of its own, over loopback.

The miners are simulated: each asks for a task, keeps its lease with a waiting heartbeat, says its progress, uploads a
small picture after the task's time, and submits. The clients keep tasks in the queue: each waits for its tasks with
long polls. Every five seconds each task is also asked for without waiting, which is what is measured as a query.

    python -m benchmarks.sequencer [--miners 300] [--clients 64] [--task-seconds 10] [--seconds 60] [--progress 1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(2000)
WORKFLOW = {"task_type": "txt2vid", "workflow_id": "1", "parameters": [{"name": "prompt", "kind": "text"}]}


class Load:
    """All miners and clients, in one event loop."""

    def __init__(self, url: str, arguments: argparse.Namespace, session: aiohttp.ClientSession) -> None:
        self.url, self.arguments, self.session = url, arguments, session
        self.busy = 0.0
        self.finished = 0
        self.queries: list[float] = []
        self.ends: list[float] = []
        self.submitted: dict[str, float] = {}
        self.counting = False

    async def post(self, endpoint: str, **body: Any) -> Any:
        async with self.session.post(f"{self.url}/{endpoint}", json=body) as answer:
            assert answer.status == 200, (endpoint, answer.status, await answer.text())
            return await answer.json()

    async def mine(self, number: int) -> None:
        name, instance = f"miner-{number}", uuid.uuid4().hex
        await self.post("miner_register", erc20_address=name, instance=instance, workflows=[WORKFLOW])
        while True:
            task = await self.post("miner_request", erc20_address=name, instance=instance, wait_seconds=25)
            if "task_id" not in task:
                continue
            about = {"erc20_address": name, "task_id": task["task_id"], "lease": task["lease"]}
            beating = [asyncio.create_task(self.beat(about)), asyncio.create_task(self.say_progress(about))]
            begun = time.monotonic()
            await asyncio.sleep(self.arguments.task_seconds)
            if self.counting:
                self.busy += min(time.monotonic() - begun, self.arguments.task_seconds)
            for each in beating:
                each.cancel()
            async with self.session.put(task["credential"]["upload_url"], data=PICTURE) as answer:
                key = (await answer.json())["result"]
            self.submitted[task["task_id"]] = time.monotonic()
            await self.post("miner_submit", **about, miner_id=name, success=True, result=key)
            self.finished += self.counting

    async def beat(self, about: dict[str, Any]) -> None:
        while True:
            await self.post("miner_heartbeat", **about, wait_seconds=10)

    async def say_progress(self, about: dict[str, Any]) -> None:
        value = 0
        while self.arguments.progress:
            await asyncio.sleep(1 / self.arguments.progress)
            value += 1
            await self.post("miner_heartbeat", **about, progress={"value": value, "maximum": 100})

    async def consume(self, number: int, tasks: int) -> None:
        slots = [asyncio.create_task(self.wait_for_tasks(number)) for _ in range(tasks)]
        await asyncio.gather(*slots)

    async def wait_for_tasks(self, number: int) -> None:
        key = {"api_key": f"key-{number}"}
        while True:
            made = await self.post(
                "task_create",
                **key,
                consumer_id="c",
                task_type="txt2vid",
                workflow_id="1",
                job_id=uuid.uuid4().hex,
                task_details={"parameters": {"prompt": "a rabbit"}},
            )
            asking = asyncio.create_task(self.ask(made["task_id"], key))
            state, after = made, 0
            while state.get("status") != "finished":
                state = await self.post(
                    "task_result_query", **key, task_id=made["task_id"], after=after, wait_seconds=25
                )
                after = state["revision"]
            asking.cancel()
            if self.counting:
                self.ends.append(time.monotonic() - self.submitted.pop(made["task_id"]))

    async def ask(self, task_id: str, key: dict[str, str]) -> None:
        while True:
            await asyncio.sleep(5)
            begun = time.perf_counter()
            await self.post("task_result_query", **key, task_id=task_id)
            if self.counting:
                self.queries.append(time.perf_counter() - begun)


async def run(url: str, process: subprocess.Popen[str], arguments: argparse.Namespace) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        load = Load(url, arguments, session)
        each = max(1, round(1.3 * arguments.miners / arguments.clients))
        jobs = [asyncio.create_task(load.mine(number)) for number in range(arguments.miners)]
        jobs += [asyncio.create_task(load.consume(number, each)) for number in range(arguments.clients)]
        await asyncio.sleep(2 * arguments.task_seconds)
        load.counting, before = True, usage(process.pid)
        await asyncio.sleep(arguments.seconds)
        load.counting, after = False, usage(process.pid)
        failed = [job.exception() for job in jobs if job.done()]
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for job in others:
            job.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    load.queries.sort()
    rows = {
        "miners busy": f"{100 * load.busy / arguments.seconds / arguments.miners:.1f} %",
        "tasks a second": f"{load.finished / arguments.seconds:.1f}",
        "query, median": f"{1000 * median(load.queries):.1f} ms",
        "query, p99": f"{1000 * load.queries[int(0.99 * len(load.queries))]:.1f} ms",
        "end seen after the submit, median": f"{1000 * median(load.ends):.1f} ms",
        "sequencer's processor": f"{100 * (after[0] - before[0]) / arguments.seconds:.0f} % of a core",
        "sequencer's memory": f"{before[1]:.0f} MB, then {after[1]:.0f} MB",
        "failed": str(failed),
    }
    for name, value in rows.items():
        print(f"{name:36}{value}")


def usage(pid: int) -> tuple[float, float]:
    """Seconds of processor time, and megabytes of memory, of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(fields[11]) + int(fields[12])) / 100, pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miners", type=int, default=300)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--task-seconds", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--progress", type=float, default=1.0, help="messages a second from each miner")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "xalora_client", "sequencer", "--json", "--port", "0", "--data", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                asyncio.run(run(json.loads(process.stdout.readline())["url"], process, arguments))
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
