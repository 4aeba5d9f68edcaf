"""``python -m benchmarks.waiting [TASKS...]``: what waiting tasks cost a sequencer.

For each number of tasks that wait: how long a start takes until a query is answered, a registration of a miner that
fits none of them, its request for a task, and 300 miners that come back at once and ask; with the longest pause of
somebody's queries meanwhile. The first line has none waiting, for the ratio.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import requests

from tests.support.fake_miner import FakeMiner, workflow
from tests.support.processes import Command

_KEY = {"consumer_id": "me", "api_key": "key"}
_MORE = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO tasks (task_id, owner, consumer_id, job_id, task_type, task_details, work, workflow_id, create_timestamp,
    inputs, ready)
SELECT lower(hex(randomblob(16))), owner, consumer_id, 'job-' || n, task_type, task_details, work, workflow_id,
    create_timestamp, inputs, ready FROM tasks, numbers WHERE job_id = 'first'
"""


def start(folder: Path) -> tuple[Command, str]:
    command = Command("sequencer", "--data", folder / "data", "--port", 0, cwd=folder, home=folder)
    return command, command.first_line().rpartition(" ")[2]


def measure(folder: Path, count: int) -> list[float]:
    """Seconds: start, registration, request, 300 miners, longest pause."""
    command, url = start(folder)
    FakeMiner(url, "txt2vid.1")
    body = {"task_type": "txt2vid", "workflow_id": "1", "task_details": {"parameters": {"prompt": "a"}}}
    created = requests.post(f"{url}/task_create", json=_KEY | body | {"job_id": "first"}, timeout=30).json()
    command.close()
    with closing(sqlite3.connect(folder / "data" / "sequencer.sqlite3")) as db, db:
        db.execute(_MORE, (count,))

    def query() -> None:
        answer = requests.post(f"{url}/task_result_query", json=_KEY | {"task_id": created["task_id"]}, timeout=120)
        assert answer.json()["status"] in ("waiting", "running"), answer.text

    begun = time.monotonic()
    command, url = start(folder)
    query()
    found, pauses, stop = [time.monotonic() - begun], [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            asked = time.monotonic()
            query()
            pauses.append(time.monotonic() - asked)

    def timed(action: Callable[[], object]) -> None:
        begun = time.monotonic()
        action()
        found.append(time.monotonic() - begun)

    watching = threading.Thread(target=watch)
    watching.start()
    unfit = FakeMiner(url, workflow("txt2vid.1", [{"name": "text", "kind": "text"}]), register=False)
    timed(unfit.register)
    timed(unfit.ask)
    with ThreadPoolExecutor(16) as pool:
        timed(lambda: list(pool.map(lambda _: FakeMiner(url, "txt2vid.1").ask(), range(300))))
    stop.set()
    watching.join()
    command.close()
    return [*found, max(pauses)]


def main(counts: list[int]) -> None:
    """Print the table."""
    print(f"{'waiting':>9} {'start':>8} {'register':>9} {'request':>8} {'300 miners':>11} {'longest pause':>14}")
    for count in [0, *counts]:
        with tempfile.TemporaryDirectory() as folder:
            start_, register, request, miners, pause = measure(Path(folder), count)
        print(
            f"{count:9,} {start_:6.2f} s {register * 1000:6.0f} ms {request * 1000:5.0f} ms {miners:9.2f} s "
            f"{pause * 1000:11.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [100_000])
