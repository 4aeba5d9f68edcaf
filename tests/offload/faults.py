"""``python -m tests.offload.faults [--times N] [--fast] [WORD...]``: each fault so many times, and a table.

A client's task runs over real processes: sequencer, miner, and a fake ComfyUI. In its middle something breaks. In
the end the client must have its own picture, and one run must be charged. Words choose faults by their names; with
``--fast`` leases are short. Exits with 1 where something is not so.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.offload.scenarios import FAULTS
from tests.offload.scene import Fault, Outcome, carry_out
from tests.offload.world import SmallDisk, World

TASK_SECONDS = 1.5
FAST = 4.0
"""With this speed of the sequencer's clock, a lease lasts 7.5 s."""


@contextmanager
def made_for(fault: Fault, speed: float) -> Iterator[World]:
    """A world in which the fault can be made."""
    with tempfile.TemporaryDirectory(prefix="xalora-faults-") as name:
        folder = Path(name)
        disk = SmallDisk.mount(folder / "sequencer" / "data") if fault.has_small_disk else None
        try:
            world = World(folder, fault.boxes, TASK_SECONDS, speed)
            try:
                yield world
            finally:
                world.close()
        finally:
            if disk is not None:
                disk.unmount()


def repeat(fault: Fault, times: int, speed: float) -> list[Outcome]:
    """Make the fault so many times, in one world as long as nothing is wrong."""
    outcomes: list[Outcome] = []
    while len(outcomes) < times:
        with made_for(fault, speed) as world:
            while len(outcomes) < times and not world.has_failed:
                outcomes.append(carry_out(fault, world))
    return outcomes


def main() -> int:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--times", type=int, default=5)
    arguments.add_argument("--fast", action="store_true", help="a sequencer with short leases")
    arguments.add_argument("words", nargs="*", metavar="WORD")
    given = arguments.parse_args()
    columns = f"{'times':>5} {'tasks':>5} {'right':>5} {'runs':>5} {'charged':>7} {'attempts':>8} {'seconds':>7}"
    print(f"{'fault':42} {columns}")
    failed = 0
    for fault in FAULTS:
        if not all(word in fault.name for word in given.words):
            continue
        if fault.missing:
            print(f"{fault.name:42} not made: {fault.missing}")
            continue
        outcomes = repeat(fault, given.times, FAST if given.fast else 1.0)
        numbers = [sum(getattr(each, name) for each in outcomes) for name in ("tasks", "right", "runs", "charged")]
        tasks, right, runs, charged = numbers
        attempts = sum(each.attempts for each in outcomes)
        seconds = statistics.median(each.seconds for each in outcomes)
        print(
            f"{fault.name:42} {len(outcomes):5} {tasks:5} {right:5} {runs:5} {charged:7} {attempts:8} {seconds:7.1f}",
            flush=True,
        )
        for number, outcome in enumerate(outcomes, 1):
            for line in outcome.wrong:
                failed += 1
                print(f"    ! the {number}. time: {line}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
