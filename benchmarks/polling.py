"""How long a finished task waits to be noticed, and what noticing costs: fixed polling against ours.

Both sides run in one go over the same tasks, whose durations are uniform on 20 to 120 s, on a simulated clock; a
query takes 0.2 s on it. "Reference" asks at once and then every 10 s, as npm's heurist 0.0.43 does. "Adaptive" is
the client's own wait, run for real over a scripted transport; "learned" is the same with a ledger, which knows how
long the tasks before took (the first three, which find nothing to learn from, are not counted). "Best blind" is no
client: it is what a schedule made for exactly these durations could reach at most with as many queries as each row
says, and shows what no guessing can beat.

    python -m benchmarks.polling [--tasks 2000] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import tempfile
from bisect import bisect_left
from pathlib import Path
from statistics import fmean

from xalora_client import Text2VideoTask
from xalora_client.client.advanced import AdvancedOptions
from xalora_client.client.session import Session
from xalora_client.client.wait import create_and_wait
from xalora_client.ledger import Ledger
from xalora_client.protocol.requests import Credentials, Sequencer

from .simulated import ROUND_TRIP, Server

SHORTEST, LONGEST = 20.0, 120.0
REFERENCE_INTERVAL = 10.0
TIMEOUT = 300.0


def reference(duration: float) -> Server:
    """Query at once, then sleep, as the reference client's loop does."""
    server = Server(duration)
    server.create()
    while not server.query():
        server.sleep(REFERENCE_INTERVAL)
    return server


def adaptive(duration: float, dice: random.Random) -> Server:
    """The client's own wait."""
    server = Server(duration)
    sequencer = Sequencer("http://sequencer.example", Credentials("c", "k"))
    options = AdvancedOptions(clock=server.clock, sleep=server.sleep, rng=dice)
    session = Session(sequencer, transport=server, options=options)
    asyncio.run(create_and_wait(session, Text2VideoTask("a rabbit"), TIMEOUT, None, None))
    return server


def learned(durations: list[float], dice: random.Random) -> list[Server]:
    """The client's own wait with a ledger, one task after the other."""
    servers: list[Server] = []
    began = 0.0
    with tempfile.TemporaryDirectory() as home:
        for duration in durations:
            server = Server(duration)
            sequencer = Sequencer("http://sequencer.example", Credentials("c", "k"))
            with Ledger(
                Path(home), sequencer.url, clock=lambda began=began, server=server: began + server.now
            ) as ledger:
                session = Session(
                    sequencer,
                    name=sequencer.url,
                    transport=server,
                    ledger=ledger,
                    options=AdvancedOptions(clock=server.clock, sleep=server.sleep, rng=dice),
                )
                asyncio.run(create_and_wait(session, Text2VideoTask("a rabbit"), TIMEOUT, None, None, reuse=False))
            began += server.now + 1.0
            servers.append(server)
    return servers[3:]


def best_blind(queries: float) -> tuple[float, float]:
    """Mean delay of the best schedule fixed in advance for these durations, and the mean queries it really makes.

    For densely asked schedules the best density of queries grows as the square root of the hazard rate, here
    1 / (LONGEST - t): a task that is still running is ever more likely to finish now. Before SHORTEST nothing is
    asked. Integrated, query i of n comes at LONGEST - (LONGEST - SHORTEST) * (1 - i/n)**2; n is chosen (also
    between whole numbers) so that the mean number of queries is the one given.
    """
    low, high = 1.0, 200.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _of_schedule(middle)[1] < queries else (low, middle)
    return _of_schedule((low + high) / 2)


def _of_schedule(size: float) -> tuple[float, float]:
    span = LONGEST - SHORTEST
    times = [LONGEST - span * (1 - i / size) ** 2 for i in range(1, math.ceil(size))] + [LONGEST]
    steps = 20_000
    delays, queries = 0.0, 0
    for step in range(steps):
        duration = SHORTEST + span * (step + 0.5) / steps
        at = bisect_left(times, duration)
        delays += times[at] - duration
        queries += at + 1
    return delays / steps + ROUND_TRIP / 2, queries / steps


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare fixed and adaptive polling on a simulated clock.")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--learned-tasks", type=int, default=400, help="of these; each is written to a real ledger")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    durations = [dice.uniform(SHORTEST, LONGEST) for _ in range(arguments.tasks)]
    results = {
        "reference": [reference(duration) for duration in durations],
        "adaptive": [adaptive(duration, dice) for duration in durations],
        "learned": learned(durations[: arguments.learned_tasks], dice),
    }
    means = {
        name: (fmean(each.delay() for each in servers), fmean(each.queries for each in servers))
        for name, servers in results.items()
    }
    base_delay, base_queries = means["reference"]
    rows = [
        ("reference: every 10 s", *means["reference"]),
        ("adaptive: 1 s growing by 1.3 to 8 s", *means["adaptive"]),
        (f"learned, over {arguments.learned_tasks} tasks", *means["learned"]),
        ("best blind, as many as adaptive", *best_blind(means["adaptive"][1])),
        ("best blind, as many as reference", *best_blind(base_queries)),
        ("best blind, twice the reference", *best_blind(2 * base_queries)),
    ]
    print(f"{arguments.tasks} tasks of {SHORTEST:g} to {LONGEST:g} s, mean over all; ratios to the reference")
    print(f"{'':38}{'delay':>9}{'ratio':>8}{'queries':>10}{'ratio':>8}")
    for name, delay, queries in rows:
        print(f"{name:38}{delay:>7.2f} s{delay / base_delay:>8.2f}{queries:>10.2f}{queries / base_queries:>8.2f}")
    for name in ("adaptive", "learned"):
        delay, queries = means[name]
        met = delay <= base_delay / 3 and queries <= 2 * base_queries
        print(f"{name}: at most a third of the delay with at most twice the queries is {'met' if met else 'not met'}")


if __name__ == "__main__":
    main()
