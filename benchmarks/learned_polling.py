"""What learned polling gains over adaptive polling, on kinds of tasks that behave well and on others.

Each kind is a stream of tasks, on a simulated clock; a query takes 0.2 s on it. The client's own wait is driven for
real over a scripted transport, twice for each task: with adaptive delays, and with those learned from the up to 100
tasks before it. What it learns is what the ledger would write down: not the true duration, but the middle between the
last look that found the task open and the one that found it finished. The first three tasks, of which there is
nothing to learn yet, do not count; on "uniform" the first hundred do not, and "every 10 s" is the reference client.

``recorded.json`` holds durations of real tasks, in seconds and in their order: what a sandbox on two cores took for
videos of 848 x 480, one kind after the other. ``xalora tasks --json`` tells you your own.

    python -m benchmarks.learned_polling [--streams 6] [--tasks 150] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from xalora_client.client.advanced import AdvancedOptions
from xalora_client.client.create import CreatedTask
from xalora_client.client.polling import ENOUGH_TO_LEARN, learned_delays, poll_delays
from xalora_client.client.session import Deadline, Session
from xalora_client.client.wait import Wait
from xalora_client.client.waiters import Waiter
from xalora_client.protocol.requests import Credentials, Sequencer

from .simulated import Server

HISTORY = 100
SEQUENCER = Sequencer("http://sequencer.example", Credentials("c", "k"))

Draw = Callable[[random.Random, int], float]


def queueing(dice: random.Random, _: int) -> float:
    """A steady render behind a queue that is empty two times in three."""
    return dice.gauss(42, 1.5) + (dice.expovariate(1 / 45) if dice.random() < 1 / 3 else 0)


def two_modes(first: float, second: float, share: float) -> Draw:
    """Two lengths of video, say."""
    return lambda dice, _: dice.gauss(first, first / 25) if dice.random() < share else dice.gauss(second, second / 25)


STEADY: dict[str, Draw] = {
    "steady, 8 s": lambda dice, _: dice.gauss(8, 0.3),
    "steady, 30 s": lambda dice, _: dice.gauss(30, 1),
    "steady, 90 s": lambda dice, _: dice.gauss(90, 2),
    "steady, 300 s": lambda dice, _: dice.gauss(300, 4),
}
OTHERS: dict[str, Draw] = {
    "bimodal, 15 and 120 s": two_modes(15, 120, 0.7),
    "bimodal, 40 and 300 s": two_modes(40, 300, 0.5),
    "heavy tail, log-normal 30 s": lambda dice, _: math.exp(dice.gauss(math.log(30), 1)),
    "heavy tail, Pareto 10 s": lambda dice, _: 10 * dice.paretovariate(1.5),
    "steady behind a queue": queueing,
    "300 s, then 100 s": lambda dice, number: dice.gauss(300, 5) if number < 50 else dice.gauss(100, 3),
    "100 s, then 300 s": lambda dice, number: dice.gauss(100, 3) if number < 50 else dice.gauss(300, 5),
}


RECORDED: dict[str, list[float]] = json.loads(Path(__file__).with_name("recorded.json").read_text())


@dataclass
class Tally:
    """What noticing the end took, task by task."""

    delays: list[float] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)

    def add(self, server: Server) -> None:
        self.delays.append(server.delay())
        self.queries.append(server.queries)

    @property
    def delay(self) -> float:
        return fmean(self.delays)

    @property
    def requests(self) -> float:
        return fmean(self.queries)


def wait(duration: float, delays: Callable[[Server], Iterator[float]], dice: random.Random) -> Server:
    """Let the client wait for one task."""
    server = Server(duration)
    options = AdvancedOptions(clock=server.clock, sleep=server.sleep, rng=dice)
    session = Session(SEQUENCER, transport=server, options=options)

    async def main() -> None:
        waiting = Wait(session, CreatedTask("t1", SEQUENCER.credentials), Waiter(""), Deadline.after(1e6, server.clock))
        waiting.delays = delays(server)
        await waiting.run()

    asyncio.run(main())
    return server


def every_ten_seconds(server: Server) -> Iterator[float]:
    """The reference client asks at once and then every 10 s."""
    yield 0.0
    while True:
        yield 10.0


def compare(draw: Draw, streams: int, tasks: int, dice: random.Random) -> tuple[Tally, Tally]:
    """Both ways of polling on the same tasks: adaptive, learned."""
    adaptive, learned = Tally(), Tally()
    for _ in range(streams):
        history: list[float] = []
        for number in range(tasks):
            duration = max(0.5, draw(dice, number))
            before = history[-HISTORY:]
            theirs = wait(duration, lambda _: poll_delays(None, dice), dice)
            ours = wait(duration, lambda server, seen=before: learned_delays(seen, server.clock, dice), dice)
            history.append((ours.open_at + ours.now) / 2)
            if number >= ENOUGH_TO_LEARN:
                adaptive.add(theirs)
                learned.add(ours)
    return adaptive, learned


def uniform(streams: int, tasks: int, dice: random.Random) -> tuple[Tally, Tally]:
    """Uniform on 20 to 120 s: every 10 s, and learned from a hundred tasks."""
    fixed, learned = Tally(), Tally()
    for _ in range(streams):
        history = [dice.uniform(20, 120) for _ in range(HISTORY)]
        # One from each of as many equal parts, in any order: uniform, with less luck in it.
        for part in dice.sample(range(tasks), tasks):
            duration = 20 + 100 * (part + dice.random()) / tasks
            fixed.add(wait(duration, every_ten_seconds, dice))
            ours = wait(
                duration,
                lambda server, seen=tuple(history): learned_delays(seen, server.clock, dice),
                dice,
            )
            learned.add(ours)
            history = [*history[1:], (ours.open_at + ours.now) / 2]
    return fixed, learned


def in_order(durations: list[float]) -> Draw:
    return lambda _, number: durations[number]


def row(name: str, base: Tally, learned: Tally) -> None:
    print(
        f"{name:30}{base.delay:>8.2f} s{learned.delay:>8.2f} s{learned.delay / base.delay:>7.2f}"
        f"{base.requests:>11.1f}{learned.requests:>9.1f}{learned.requests / base.requests:>7.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare adaptive and learned polling on a simulated clock.")
    parser.add_argument("--streams", type=int, default=6)
    parser.add_argument("--tasks", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    print(f"{arguments.streams} streams of {arguments.tasks} tasks of each kind; mean over the tasks")
    print(f"{'':30}{'delay':>10}{'learned':>10}{'ratio':>7}{'requests':>11}{'learned':>9}{'ratio':>7}")
    met = True
    kinds = [(name, draw, arguments.tasks) for name, draw in (STEADY | OTHERS).items()]
    kinds += [(name, in_order(durations), len(durations)) for name, durations in RECORDED.items()]
    for name, draw, tasks in kinds:
        adaptive, learned = compare(draw, arguments.streams, tasks, dice)
        row(name, adaptive, learned)
        if name in STEADY:
            met &= learned.delay < 1 and learned.requests < adaptive.requests
        else:
            met &= learned.delay <= 1.25 * adaptive.delay and learned.requests <= 1.25 * adaptive.requests
    print(f"steady: under 1 s with fewer requests; others: at most a quarter worse: {'met' if met else 'not met'}")
    print("against every 10 s:")
    fixed, learned = uniform(arguments.streams, 5 * arguments.tasks, dice)
    row("uniform, 20 to 120 s", fixed, learned)
    met = learned.delay <= fixed.delay / 3 and learned.requests <= 2 * fixed.requests
    print(f"at most a third of the delay with at most twice the requests: {'met' if met else 'not met'}")


if __name__ == "__main__":
    main()
