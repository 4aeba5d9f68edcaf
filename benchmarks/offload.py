"""What offloading adds to ComfyUI's own time, for a graph that is done in a few milliseconds.

    python -m benchmarks.offload [--times 20] [--most 40]

One ComfyUI, found as the tests find it, is asked in two ways, in turns: by its own API (POST /prompt, the websocket
until the prompt is done, GET /view), and by ``AsyncClient`` with a ledger, through an ``xalora sequencer`` and an
``xalora miner``, until the result is stored. The graph saves a picture of 64 x 64 in a color of its own each time, so
that nothing is cached. Prints both medians, their difference, and on which way the offloaded time went. With ``--most``
the exit code is 1 when the difference is larger than so many milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.cluster import KEY, MinerProcess, SequencerProcess
from tests.support.comfyui_process import NONE_FOUND, ComfyUIProcess, found
from tests.support.processes import poll
from xalora_client import AsyncClient, CustomTask

WARM_UP = 3
PARTS = ("create", "hand out", "miner", "notice", "download")
"""From the call to the row of the task, to its miner, to its end, to the client's knowing, to the stored file."""

colors = itertools.count(random.randrange(0x800000))


def graph(color: int) -> dict[str, Any]:
    """The graph in API format, with titles that make it a workflow file."""
    picture = {"width": 64, "height": 64, "batch_size": 1, "color": color}
    save = {"images": ["picture", 0], "filename_prefix": "offload"}
    return {
        "picture": {"class_type": "EmptyImage", "inputs": picture, "_meta": {"title": "input:color"}},
        "save": {"class_type": "SaveImage", "inputs": save, "_meta": {"title": "output"}},
    }


class Direct:
    """ComfyUI's own API, with a websocket that stays open."""

    def __init__(self, url: str, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._url = url
        self._session = session
        self._socket = socket

    async def run(self) -> float:
        """Seconds until the picture is here."""
        began = time.perf_counter()
        body = {"prompt": graph(next(colors)), "client_id": "direct"}
        async with self._session.post(f"{self._url}/prompt", json=body) as answer:
            prompt_id = (await answer.json())["prompt_id"]
        file: dict[str, str] = {}
        async for message in self._socket:
            said = json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else {}
            data = said.get("data", {})
            if data.get("prompt_id") != prompt_id:
                continue
            if said["type"] == "executed":
                file = data["output"]["images"][0]
            elif said["type"] == "execution_success":
                break
            assert said["type"] != "execution_error", data
        async with self._session.get(f"{self._url}/view", params=file) as answer:
            assert answer.ok
            await answer.read()
        return time.perf_counter() - began


class Offloaded:
    """The client, the sequencer's database, and how long each part of the way took."""

    def __init__(self, client: AsyncClient, database: Path) -> None:
        self._client = client
        self._database = database
        self.parts: list[list[float]] = []

    async def run(self) -> float:
        """Seconds until the picture is stored."""
        task = CustomTask("txt2img", {"color": next(colors)}, workflow_id="offload")
        began, moments = time.perf_counter(), [time.time()]
        result = await self._client.execute_workflow_and_wait_for_result(task)
        known = time.time()
        media = await self._client.download(result)
        took = time.perf_counter() - began
        assert media.info.width == 64
        with closing(sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True)) as db:
            columns = "SELECT create_timestamp, began, ended FROM tasks WHERE task_id = ?"
            moments += db.execute(columns, (result.task_id,)).fetchone()
        moments += [known, moments[0] + took]
        self.parts.append([after - before for before, after in itertools.pairwise(moments)])
        return took


async def compare(comfy: str, sequencer: SequencerProcess, home: Path, times: int) -> float:
    """Print the figures; returns the difference in ms."""
    direct_ms, offloaded_ms = [], []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{comfy}/ws?clientId=direct") as socket,
        AsyncClient(KEY, sequencer.url, home=home, ledger=True) as client,
    ):
        direct = Direct(comfy, session, socket)
        offloaded = Offloaded(client, sequencer.folder / "data" / "sequencer.sqlite3")
        for _ in range(WARM_UP + times):
            direct_ms.append(1e3 * await direct.run())
            offloaded_ms.append(1e3 * await offloaded.run())
    for name, figures in (("directly", direct_ms), ("offloaded", offloaded_ms)):
        taken = figures[WARM_UP:]
        print(
            f"  {name:9} {statistics.median(taken):6.1f} ms (median of {times}; {min(taken):.1f} to {max(taken):.1f})"
        )
    parts = zip(PARTS, zip(*offloaded.parts[WARM_UP:], strict=True), strict=True)
    print("  of these:", ", ".join(f"{name} {1e3 * statistics.median(each):.1f}" for name, each in parts))
    added = statistics.median(offloaded_ms[WARM_UP:]) - statistics.median(direct_ms[WARM_UP:])
    print(f"  offloading adds {added:.1f} ms")
    return added


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--most", type=float, help="milliseconds; more is a failure")
    arguments = parser.parse_args()
    if not found():
        sys.exit(NONE_FOUND)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        workflows = folder / "workflows"
        workflows.mkdir()
        (workflows / "txt2img.offload.json").write_text(json.dumps(graph(0)))
        comfy = ComfyUIProcess(found()[-1], folder / "comfyui")
        processes: list[SequencerProcess | MinerProcess] = []
        try:
            comfy.boot()
            processes.append(sequencer := SequencerProcess(folder / "sequencer"))
            processes.append(miner := MinerProcess(folder / "miner", sequencer.url, comfy.url, workflows=workflows))
            poll(lambda: "ready" in miner.output(), what="the miner is ready")
            load = os.getloadavg()[0]
            print(
                f"ComfyUI {comfy.version}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}"
            )
            added = asyncio.run(compare(comfy.url, sequencer, folder / "home", arguments.times))
        finally:
            for process in reversed(processes):
                process.close()
            comfy.stop()
    sys.exit(arguments.most is not None and added > arguments.most)


if __name__ == "__main__":
    main()
