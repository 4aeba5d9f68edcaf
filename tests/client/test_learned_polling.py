"""When a kind of task is known, its next one is looked at when it may end."""

from __future__ import annotations

import asyncio
import doctest
import json
import math
import random
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xalora_client.client import polling as timing
from xalora_client.client.advanced import AdvancedOptions
from xalora_client.client.create import CreatedTask
from xalora_client.client.session import Deadline, Session
from xalora_client.client.wait import Wait
from xalora_client.client.waiters import Waiter
from xalora_client.protocol.requests import Credentials, Response, Sequencer

TAKEN_OFF = 1 - timing.JITTER
seconds = st.floats(0.01, 5000)
samples = st.lists(seconds, min_size=3, max_size=100)


def polls(durations, until, start=0.0, answer=0.0, seed=1):
    """The moments of the polls of a task whose wait starts at ``start``."""
    now = start
    delays = timing.learned_delays(durations, lambda: now, random.Random(seed))
    moments = []
    while now < until:
        now += next(delays)
        moments.append(now)
        now += answer
    return moments


@given(samples, st.floats(0, 20_000), st.floats(0, 90), st.integers())
@settings(deadline=None)
def test_no_pause_is_too_short_or_too_long(durations, start, answer, seed):
    now = start
    delays = timing.learned_delays(durations, lambda: now, random.Random(seed))
    for _ in range(40):
        overdue = now >= max(durations)
        delay = next(delays)
        assert 0.5 * TAKEN_OFF <= delay <= (timing.SLOWEST_POLL if overdue else timing.LONGEST_BLIND)
        now += delay + answer


@given(samples, st.integers())
@settings(deadline=None)
def test_the_longest_is_looked_for_at_once_and_then_as_a_new_task(durations, seed):
    longest = max(durations)
    moments = [moment for moment in polls(durations, longest + 60, seed=seed) if moment >= longest]
    assert moments[0] <= longest + 2 * timing.FIRST_POLL
    for earlier, later in pairwise(moments):
        grown = timing.FIRST_POLL + (timing.POLL_GROWTH - 1) * (earlier - longest)
        assert later - earlier <= min(timing.SLOWEST_POLL, grown) + 1e-6


@given(st.lists(seconds, max_size=2) | st.lists(st.sampled_from([0.0, -1.0, math.inf, math.nan]), min_size=3))
def test_too_little_to_learn_from_is_adaptive(durations):
    learned = timing.learned_delays(durations, lambda: 0.0, random.Random(4))
    assert list(islice(learned, 20)) == list(islice(timing.poll_delays(None, random.Random(4)), 20))


def test_sparse_before_and_every_second_around_the_end():
    durations = [99.0, 100.0, 100.5, 101.0, 102.0, 99.5, 100.2, 100.8]
    moments = polls(durations, 104)
    assert sum(moment < 95 for moment in moments) <= 5
    around = [moment for moment in moments if 98.5 <= moment <= 102]
    assert all(later - earlier <= 1.3 for earlier, later in pairwise(around))


def test_between_two_modes_it_looks_away():
    durations = [20, 20.5, 21, 19.5, 20.2, 300, 302, 298, 301, 299]
    moments = polls(durations, 305)
    assert sum(23 <= moment <= 290 for moment in moments) <= 17
    assert sum(297 <= moment <= 303 for moment in moments) >= 4


@pytest.mark.parametrize("start", [0.0, 50.0, 99.0, 100.4, 150.0, 4000.0])
def test_a_wait_may_begin_at_any_time(start):
    durations = [99, 100, 101]
    first = polls(durations, start + 1e-9, start=start)[0]
    if start < 99:
        assert first <= 101
    else:
        assert first - start <= timing.SLOWEST_POLL


@pytest.mark.parametrize("answer", [0.2, 0.4])
def test_what_an_answer_takes_is_waited_already(answer):
    durations = [20.0 + part for part in range(100)]
    free = [len(polls(durations, 110, seed=seed)) for seed in range(50)]
    taking = [len(polls(durations, 110, answer=answer, seed=seed)) for seed in range(50)]
    assert sum(taking) == pytest.approx(sum(free), rel=0.03)


def test_a_slow_server_is_left_half_the_pause():
    durations = [100.0 + part / 100 for part in range(1000)]
    moments = polls(durations, 109, start=100, answer=5.0)
    assert len(moments) == 2
    assert moments[1] - moments[0] - 5.0 >= 0.5 * TAKEN_OFF


def test_a_clock_that_was_set_back_is_no_trouble():
    delays = timing.learned_delays([10, 11, 12], lambda: -500.0, random.Random(1))
    assert 0.4 <= next(delays) <= 12


class World:
    """A task that takes ``duration``; answers take no time."""

    def __init__(self, duration):
        self.duration = duration
        self.now = 0.0
        self.queries = 0

    async def send(self, request, timeout):
        self.queries += 1
        status = "finished" if self.now >= self.duration else "running"
        return Response(200, {}, json.dumps({"status": status}).encode(), self.now)

    def sleep(self, seconds):
        self.now += seconds


def noticed(duration, delays, dice):
    """Drive the client's own wait; returns the delay and the queries."""
    world = World(duration)
    sequencer = Sequencer("http://sequencer.example", Credentials("c", "k"))
    options = AdvancedOptions(clock=lambda: world.now, sleep=world.sleep, rng=dice)
    session = Session(sequencer, transport=world, options=options)

    async def main():
        wait = Wait(
            session, CreatedTask("t1", sequencer.credentials), Waiter(""), Deadline.after(1e6, lambda: world.now)
        )
        wait.delays = delays(lambda: world.now)
        await wait.run()

    asyncio.run(main())
    return world.now - duration, world.queries


KINDS = {
    "steady": lambda dice: dice.gauss(60, 2),
    "bimodal": lambda dice: dice.gauss(15, 1) if dice.random() < 0.7 else dice.gauss(120, 5),
    "heavy tail": lambda dice: 10 * dice.paretovariate(1.5),
    "uniform": lambda dice: dice.uniform(20, 120),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [3, 10, 100])
def test_it_beats_adaptive_polling(kind, known):
    dice = random.Random(known)
    ours, theirs = [], []
    for _ in range(15):
        durations = [KINDS[kind](dice) for _ in range(known)]
        for _ in range(12):
            duration = KINDS[kind](dice)
            ours.append(noticed(duration, lambda clock, d=durations: timing.learned_delays(d, clock, dice), dice))
            theirs.append(noticed(duration, lambda _: timing.poll_delays(None, dice), dice))
    (delay, queries), (their_delay, their_queries) = (
        [sum(column) / len(column) for column in zip(*each, strict=True)] for each in (ours, theirs)
    )
    assert delay <= 1.25 * their_delay
    assert queries <= 1.25 * their_queries
    if kind == "steady":
        assert delay < 1
        assert queries < their_queries


def test_the_worked_example_is_right():
    assert doctest.testmod(timing).failed == 0
    assert doctest.testmod(timing).attempted > 0
