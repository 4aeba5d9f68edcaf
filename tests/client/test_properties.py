"""What holds for any server and any timing."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xalora_client import AdvancedOptions, NetworkError, Text2VideoTask, XaloraError, errors
from xalora_client.client import create, polling, portal, wait
from xalora_client.client.session import Deadline, Session, cancel, query
from xalora_client.http.retry import backoff
from xalora_client.protocol.requests import Credentials, Response, Sequencer

SEQUENCER = Sequencer("https://sequencer.example", Credentials("c", "secret-key"))
TASK = Text2VideoTask("a rabbit", job_id_prefix="same")


class World:
    """A server and a clock made of a script. Each request takes the time the script says."""

    def __init__(self, script, blocking: bool):
        self.script = list(script)
        self.blocking = blocking
        self.now = 0.0
        self.trace = []

    def clock(self):
        return self.now

    def _send(self, request, timeout):
        took, outcome = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        body = {name: value for name, value in request.body.items() if name != "job_id"}
        self.trace.append(("send", request.url, body, round(timeout, 6)))
        if took > timeout:
            self.now += timeout
            raise errors.RequestTimeoutError("slow")
        self.now += took
        if isinstance(outcome, NetworkError):
            raise NetworkError(outcome.what, sent=outcome.sent)
        return replace(outcome, received=self.now)

    def _sleep(self, seconds):
        self.trace.append(("sleep", round(seconds, 6)))
        self.now += seconds

    async def send(self, request, timeout):
        return self._send(request, timeout)

    def session(self, seed):
        options = AdvancedOptions(clock=self.clock, sleep=self._sleep, rng=random.Random(seed))
        return Session(SEQUENCER, transport=self, options=options)

    def run(self, call):
        """As each client does: on a loop of its own, or through the portal of the blocking one."""
        return portal.run(call) if self.blocking else asyncio.run(call())


def response(status, body, **fields):
    return Response(status, fields, json.dumps(body).encode(), 0.0)


outcomes = st.sampled_from(
    [
        response(200, {"task_id": "t1", "status": "waiting", "msg": "m"}),
        response(200, {"task_id": "t1", "status": "running"}),
        response(200, {"task_id": "t1", "status": "odd"}),
        response(200, {"task_id": "t1", "status": "running"}, **{"retry-after": "11"}),
        response(200, {"task_id": "t1", "status": "finished", "result": "x.mp4"}),
        response(200, {"task_id": "t1", "status": "failed"}),
        response(200, {"task_id": "t1", "status": "canceled"}),
        response(200, []),
        response(400, {}),
        response(408, {}),
        response(429, {}),
        response(429, {}, **{"retry-after": "5"}),
        response(503, {}),
        response(503, {}, **{"retry-after": "2"}),
        NetworkError("refused", sent="no"),
        NetworkError("broken"),
    ]
)
scripts = st.lists(st.tuples(st.floats(0, 90), outcomes), min_size=1, max_size=30)
calls = st.sampled_from(
    [
        lambda session, timeout, interval: wait.create_and_wait(session, TASK, timeout, interval, None),
        lambda session, timeout, interval: wait.wait(session, "t1", timeout, interval, None),
        lambda session, timeout, interval: create.execute(session, TASK),
        lambda session, timeout, interval: query(session, "t1"),
        lambda session, timeout, interval: cancel(session, "t1"),
    ]
)


def outcome_of(world, call, timeout, interval, seed):
    session = world.session(seed)
    try:
        return world.run(lambda: call(session, timeout, interval))
    except XaloraError as error:
        return type(error), error.task_id


@settings(max_examples=200, deadline=None)
@given(scripts, calls, st.floats(0.1, 400), st.none() | st.floats(1, 30), st.integers())
def test_both_clients_leave_the_same_trace(script, call, timeout, interval, seed):
    worlds = [World(script, blocking) for blocking in (True, False)]
    ends = [outcome_of(world, call, timeout, interval, seed) for world in worlds]
    assert ends[0] == ends[1]
    assert worlds[0].trace == worlds[1].trace


@settings(max_examples=300, deadline=None)
@given(scripts, st.floats(0.1, 400), st.none() | st.floats(1, 30), st.integers())
def test_a_wait_never_outlives_its_deadline(script, timeout, interval, seed):
    world = World(script, blocking=False)
    outcome_of(world, lambda c, t, i: wait.wait(c, "t1", t, i, None), timeout, interval, seed)
    assert world.now <= timeout + 1e-6


@given(st.integers(), st.integers(0, 60))
def test_adaptive_delays_stay_in_bounds(seed, count):
    delays = polling.poll_delays(None, random.Random(seed))
    for number in range(count):
        full = min(8.0, 1.3**number)
        assert full * 0.85 - 1e-9 <= next(delays) <= full + 1e-9


@given(st.integers(), st.integers(0, 60))
def test_backoff_stays_in_bounds(seed, count):
    delays = backoff(random.Random(seed))
    assert all(0.4 <= next(delays) <= 10 for _ in range(count))


@given(st.one_of(st.floats(max_value=0), st.none(), st.text(), st.booleans()))
def test_bad_deadlines(seconds):
    with pytest.raises(ValueError, match="timeout"):
        Deadline.after(seconds, lambda: 0.0)
