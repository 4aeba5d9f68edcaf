"""What the ledger costs: opening and claiming in a ledger of 100,000 tasks, and two processes at once.

python -m benchmarks.ledger [--tasks 100000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from xalora_client import CustomTask, TaskStatus, WorkflowTaskResult
from xalora_client.ledger import Ledger, Listing, Step, TaskIdentity
from xalora_client.ledger import task_record as rows
from xalora_client.protocol.requests import Credentials

ROOT = Path(__file__).parents[1]
SERVER = "https://sequencer.example"
WHO = Credentials("consumer", "secret-key")
ALLOWED = 0.020
TIMES = 30

RACER = """
import sys, time
sys.path.insert(0, {root!r})
from dataclasses import replace
from pathlib import Path
from xalora_client import CustomTask
from xalora_client.protocol.requests import Credentials
from xalora_client.ledger import TaskIdentity, Ledger, Step
sys.stdin.readline()
with Ledger(Path({home!r})) as ledger:
    for number in range(50):
        task = CustomTask("race", {{"number": number}})
        identity = TaskIdentity.of("https://sequencer.example", task, Credentials("c", "k"))
        job_id = f"{name}-{{number}}"
        while (claim := ledger.claim(identity, job_id, reuse=True, source="cli")).step is Step.IN_PROGRESS:
            time.sleep(0.001)
        if claim.step is Step.NEW:
            ledger.created(claim, f"task-{{number}}")
            print(number)
"""


def identity(number: int) -> TaskIdentity:
    parameters = {"prompt": f"a rabbit in a wood, number {number}", "width": 848, "height": 480, "seed": number}
    return TaskIdentity.of(SERVER, CustomTask("txt2vid", parameters, workflow_id="1"), WHO)


def fill(home: Path, tasks: int) -> None:
    """Write finished tasks, in one transaction."""
    answer = WorkflowTaskResult("", TaskStatus.FINISHED, result="https://media.example/x.mp4", inference_latency=60.0)
    with Ledger(home, SERVER) as ledger:

        def work(db: object) -> None:
            for number in range(tasks):
                record = rows.with_answer(rows.new(identity(number), f"job-{number}", "node", number), answer)
                known = replace(record, task_id=f"task-{number}", submitted=number, finished=number, ran=60)
                rows.insert(db, known)

        ledger._database.run(work)


def measure(home: Path, use: Callable[[Ledger, int], object]) -> tuple[float, float]:
    """Median and worst seconds from a ledger that is not open to an answer."""
    took = []
    for number in range(TIMES):
        begun = time.perf_counter()
        with Ledger(home, SERVER) as ledger:
            use(ledger, number)
            took.append(time.perf_counter() - begun)
    return median(took), max(took)


def attach(ledger: Ledger, number: int) -> None:
    claim = ledger.claim(identity(number * 3), "unused", reuse=True, source="node")
    assert claim.step is Step.REUSED


def submit(ledger: Ledger, number: int) -> None:
    claim = ledger.claim(identity(-1 - number), f"new-{number}", reuse=True, source="node")
    assert claim.step is Step.NEW
    claim.release()


def race(home: Path) -> list[int]:
    """Two processes claim the same 50 intents; returns the numbers that were new, by whoever."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER.format(root=str(ROOT), home=str(home), name=name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    return sorted(int(line) for racer in racers for line in racer.communicate()[0].split())


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the ledger.")
    parser.add_argument("--tasks", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        begun = time.perf_counter()
        fill(home, arguments.tasks)
        size = (home / "ledger.sqlite3").stat().st_size / 1e6
        print(f"{arguments.tasks} tasks, {size:.0f} MB, written in {time.perf_counter() - begun:.1f} s")
        uses: dict[str, Callable[[Ledger, int], object]] = {
            "open and find a finished task": attach,
            "open and write a new one down": submit,
            "open and list the newest 100": lambda *_: Listing(home).tasks(limit=100),
            "open and read 100 durations": lambda ledger, _: ledger.durations("txt2vid", "1"),
        }
        met = True
        for name, use in uses.items():
            middle, worst = measure(home, use)
            met &= middle < ALLOWED
            print(f"{name:32}{1000 * middle:>7.1f} ms{1000 * worst:>9.1f} ms at worst, of {TIMES}")
        print(f"under {1000 * ALLOWED:.0f} ms: {'met' if met else 'not met'}")
        new = race(home)
        print(
            f"two processes, 50 intents: {len(new)} creates, {'one each' if new == list(range(50)) else 'NOT one each'}"
        )


if __name__ == "__main__":
    main()
