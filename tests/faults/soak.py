"""``python -m tests.faults.soak [TASKS]``: many tasks at once over a server with faults of every kind.

All of them end, each is charged once, memory stays flat, and no thread, socket, task or file is left. Prints figures;
exits with 1 where something is not so.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.server import Request, Server
from tests.faults.steps import CLOSE, HONEST, KEY, RESET, TAKE, Answer, Bomb, Case, Endless, Raw, Reply
from tests.faults.world import World, picture
from xalora_client import AdvancedOptions, AsyncClient, Text2VideoTask, XaloraError

AT_ONCE = 64
FAULTS = 0.05
"""The share of requests that are answered wrongly."""

MOST_RUNS = 20
"""A task that fails is run again, as a person would, at most so often."""

_ENDLESS = Endless(
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n", 2**25
)
_HALF = (Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"), CLOSE)
_HINTS = (Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"), HONEST)
_NO_HTTP = (Raw(b"\0\1\2\3\r\n\r\n"), CLOSE)
_BOMB = Bomb(size=2**26)
_WRONG: dict[str, tuple[Answer, ...]] = {
    "create": (
        (TAKE, RESET), (TAKE, CLOSE), (TAKE, *_HALF), (TAKE, *_NO_HTTP), (TAKE, Reply(500)), (TAKE, Reply(502,
        b"<html>")),
        (TAKE, Reply(200, b"")), (TAKE, Reply(200, {"task_id": ""})), (TAKE, _ENDLESS), (TAKE, _BOMB), _HINTS,
        Reply(425),
        RESET, CLOSE, Reply(400, {"message": "bad\u202e"}), Reply(402), Reply(503, b"", {"Retry-After": "0"}),
        Reply(307),
    ),
    "query": (
        RESET, CLOSE, _HALF, _NO_HTTP, Reply(500), Reply(502, b"<html>"), Reply(404), Reply(200, b""), Reply(200, []),
        Reply(200, {"status": "running"}), Reply(200, {"status": "x" * 10**6}), _ENDLESS, _BOMB, _HINTS, Reply(408),
    ),
    "file": (
        RESET, CLOSE, _NO_HTTP, Reply(500), Reply(403), Reply(404), Reply(416), Reply(200, b""), Reply(503), _HINTS,
        (Raw(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 9999\r\n\r\n' + b"\0" * 999), RESET),
        Reply(302, b"", {"Location": "http://{files}/other.png"}), Reply(302, b"",
        {"Location": "http://169.254.169.254/"}),
        Reply(200, picture(), {"Set-Cookie": "a=b"}),
    ),
}  # fmt: skip


class Faulty(World):
    """Servers that answer one request in twenty wrongly, by a fixed seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(Case("a soak"))
        self._dice = random.Random(seed)
        self.wrong: Counter[str] = Counter()
        self.requested = 0

    def answer(self, server: Server, request: Request) -> Answer:
        """An honest answer, most of the time. Requests are counted, and not kept."""
        place = self._place(server, request) or ""
        server.requests.clear()
        with self._lock:
            self.requested += 1
            wrong = _WRONG.get(place)
            if wrong is None or self._dice.random() >= FAULTS:
                return HONEST
            self.wrong[place] += 1
            return self._dice.choice(wrong)


@dataclass
class Figures:
    """What became of it all. ``memory``: MiB at the middle and at the end; ``left``: what was not cleaned up."""

    ended: Counter[str] = field(default_factory=Counter)
    charged: int = 0
    requests: int = 0
    wrong: int = 0
    seconds: float = 0.0
    memory: tuple[float, float] | None = None
    left: list[str] = field(default_factory=list)


def soak(tasks: int, folder: Path, seed: int = 1) -> Figures:
    """Run so many tasks, ``AT_ONCE`` at a time, each until it is done."""
    world, figures = Faulty(seed), Figures()
    before = _in_use()
    began = time.monotonic()
    with world.running():
        asyncio.run(_run_all(world, tasks, folder / "home", figures))
        figures.charged, figures.requests = len(world.jobs), world.requested
        figures.wrong = sum(world.wrong.values())
    figures.seconds = time.monotonic() - began
    figures.left += [f"{name}: {count - before[name]}" for name, count in _in_use().items() if count > before[name]]
    figures.left += [str(each) for each in (folder / "home").rglob("incoming/*") if each.is_file()]
    return figures


async def _run_all(world: World, tasks: int, home: Path, figures: Figures) -> None:
    waiting = iter(range(tasks))
    middle: list[float | None] = []

    async def nap(_: float) -> None:
        await asyncio.sleep(0)

    async def work(client: AsyncClient) -> None:
        for number in waiting:
            figures.ended[await _until_done(client, number)] += 1
            if sum(figures.ended.values()) == tasks // 2:
                middle.append(_memory())

    options: dict[str, Any] = {"api_key": f"consumer-1#{KEY}", "workflow_url": world.url, "home": home, "ledger": True}
    # The clock is the machine's own: on one that they share, each sleep would age all the others.
    async with AsyncClient(**options, advanced=AdvancedOptions(sleep=nap, rng=random.Random(7))) as client:
        await asyncio.gather(*(work(client) for _ in range(AT_ONCE)))
    others = asyncio.all_tasks() - {asyncio.current_task()}
    figures.left += [f"task {each.get_name()}" for each in others]
    end = _memory()
    if middle and middle[0] is not None and end is not None:
        figures.memory = middle[0], end


async def _until_done(client: AsyncClient, number: int) -> str:
    task = Text2VideoTask(f"rabbit {number}", workflow_id="1")
    for _ in range(MOST_RUNS):
        with suppress(XaloraError):
            result = await client.execute_workflow_and_wait_for_result(task)
            file = await client.download(result)
            return "done" if file.path.read_bytes() == picture() else "another file"
    return "never done"


def _in_use() -> dict[str, int]:
    """Threads, and open files and sockets where the system says so."""
    gc.collect()
    descriptors = Path("/proc/self/fd")
    return {
        "threads": threading.active_count(),
        "files and sockets": len([*descriptors.iterdir()]) if descriptors.is_dir() else 0,
    }


def _memory() -> float | None:
    """Present memory in MiB, where the system says it."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]
    except OSError:
        return None


def main(words: list[str]) -> int:
    """Print the figures."""
    tasks = int(words[0]) if words else 2000
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(tasks, Path(folder))
    print(figures)
    flat = figures.memory is None or figures.memory[1] - figures.memory[0] < 20
    return int(not (figures.ended == {"done": tasks} and figures.charged == tasks and flat and not figures.left))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
