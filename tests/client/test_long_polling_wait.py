"""Long polls of one wait, against a script and a clock: when they are sent, and when no longer."""

from __future__ import annotations

import asyncio
import json
import random
from itertools import pairwise

import pytest

from xalora_client import AdvancedOptions, NetworkError, RequestTimeoutError, TaskTimeoutError, Text2VideoTask
from xalora_client.client.polling import BURST, LONGEST_WAIT, MOST_OPEN
from xalora_client.client.session import Session
from xalora_client.client.wait import create_and_wait, wait
from xalora_client.protocol.requests import Credentials, Response, Sequencer

TASK = Text2VideoTask("a rabbit")
CREATED = (0.1, {"task_id": "t1", "revision": 0, "long_poll_seconds": 25})
CUT = NetworkError("cut")
PLAIN = "plain"


def running(revision, **more):
    return {"status": "running", "revision": revision, "long_poll_seconds": 25, **more}


DONE = {"status": "finished", "revision": 99, "long_poll_seconds": 25}


class Script:
    """A server and a clock. Each answer takes its seconds, or raises; ``asked`` has each query's wait and revision."""

    def __init__(self, *answers, server="https://sequencer.example"):
        self.answers = list(answers)
        self.now = 0.0
        self.asked = []
        self.moments = []
        self.sequencer = Sequencer(server, Credentials("c", "secret-key"))

    async def send(self, request, timeout):
        if request.url.endswith("query"):
            self.asked.append((request.body["wait_seconds"], request.body["after"]) if request.wait_seconds else PLAIN)
            self.moments.append(self.now)
        took, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.now += min(took, timeout)
        if took > timeout:
            raise RequestTimeoutError("slow")
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return Response(status, {}, json.dumps(body).encode(), self.now)

    def sleep(self, seconds):
        self.now += seconds

    def session(self):
        options = AdvancedOptions(clock=lambda: self.now, sleep=self.sleep, rng=random.Random(3))
        return Session(self.sequencer, transport=self, options=options)

    def make(self, timeout=300.0, interval=None, on_update=None):
        return asyncio.run(create_and_wait(self.session(), TASK, timeout, interval, on_update)).status

    def wait(self, timeout=300.0):
        return asyncio.run(wait(self.session(), "t1", timeout, None, None)).status


def test_queries_wait_for_the_next_revision():
    """Each goes on from what is known, the answers take their time, and nothing is slept in between."""
    script = Script(CREATED, (24.0, running(1)), (0.5, running(2)), (25.1, running(2)), (3.0, DONE))
    assert script.make() == "finished"
    assert script.asked == [(25.0, 0), (25.0, 1), (25.0, 2), (25.0, 2)]
    assert script.now == pytest.approx(0.1 + 24 + 0.5 + 25.1 + 3)


def test_other_servers_are_asked_as_ever():
    script = Script(
        (0.1, {"task_id": "t1"}), (0.1, {"status": "running", "revision": "v7"}), (0.1, {"status": "finished"})
    )
    script.make()
    assert script.asked == [PLAIN, PLAIN]


@pytest.mark.parametrize(
    "strange",
    [{"revision": True}, {"revision": -1}, {"revision": 1.5}, {"long_poll_seconds": "25"}, {"long_poll_seconds": 0}],
    ids=repr,
)
def test_an_announcement_that_makes_no_sense_is_none(strange):
    script = Script((0.1, CREATED[1] | strange), (0.1, running(1) | strange), (0.1, DONE))
    script.make()
    assert script.asked == [PLAIN, PLAIN]


def test_a_fixed_interval_is_the_callers_word():
    script = Script(CREATED, (0.1, running(1)), (0.1, DONE))
    script.make(interval=10)
    assert script.asked == [PLAIN, PLAIN]
    assert script.moments == pytest.approx([10.1, 20.2])


def test_a_wait_for_a_known_task_learns_from_its_first_answer():
    script = Script((0.1, running(7)), (9.0, DONE))
    assert script.wait() == "finished"
    assert script.asked == [PLAIN, (25.0, 7)]
    assert script.now == pytest.approx(9.1, abs=0.2)


def test_a_server_that_stops_offering_it_is_asked_as_ever():
    script = Script(CREATED, (5.0, {"status": "running"}), (0.1, {"status": "finished"}))
    script.make()
    assert script.asked == [(25.0, 0), PLAIN]


@pytest.mark.parametrize("cut", [CUT, (504, {"message": "gateway"})], ids=["closed", "504"])
def test_what_cuts_long_polls_twice_is_not_asked_to_wait_again(cut):
    """After each cut the next question is whether there is an answer at all."""
    cuts = [(10.0, cut), (0.1, running(1)), (10.0, cut), (0.1, running(1)), (0.1, running(2)), (0.1, DONE)]
    script = Script(CREATED, *cuts)
    assert script.make() == "finished"
    assert script.asked == [(25.0, 0), PLAIN, (25.0, 1), PLAIN, PLAIN, PLAIN]


@pytest.mark.parametrize(
    "trouble",
    [NetworkError("refused", sent="no"), (429, {}), None],
    ids=["a restart", "too many requests", "a success between"],
)
def test_what_is_no_cut_does_not_count(trouble):
    between = [(3.0, running(2))] if trouble is None else [(0.1, trouble), (0.1, running(2))]
    script = Script(CREATED, (10.0, CUT), (0.1, running(1)), *between, (1.0, running(3)), (0.1, CUT), (0.1, running(3)))
    script.answers += [(2.0, DONE)]
    script.make()
    assert script.asked[-1] == (25.0, 3)


def test_a_connection_that_went_silent_is_given_up_after_the_wait():
    script = Script(CREATED, (1000.0, running(1)), (0.1, running(1)), (0.1, DONE))
    script.make()
    assert script.moments[1] == pytest.approx(25 + 15, abs=1)


def test_a_server_that_answers_at_once_without_news_is_not_hammered():
    script = Script(CREATED, (0.01, running(0)))
    with pytest.raises(TaskTimeoutError):
        script.make(timeout=60)
    assert script.asked[:3] == [(25.0, 0), (25.0, 0), PLAIN]
    assert len(script.asked) < 20


def test_after_a_change_the_next_question_is_asked_at_once():
    script = Script(CREATED, (0.0, running(1)), (0.0, running(2)), (0.3, running(3)), (0.0, running(4)), (9.0, DONE))
    assert script.make() == "finished"
    assert script.moments == pytest.approx([0.1, 0.1, 0.1, 0.4, 0.4])
    assert script.asked == [(25.0, number) for number in range(5)]


def test_news_all_the_time_are_fetched_twice_a_second_in_the_long_run():
    script = Script(CREATED, *[(0.001, running(number)) for number in range(1, 200)], (0.001, DONE))
    script.make()
    assert script.moments[BURST - 1] < 0.2
    later = script.moments[BURST - 1 :]
    assert all(after - before == pytest.approx(0.5, abs=0.01) for before, after in pairwise(later))


def test_a_quiet_while_lets_some_follow_each_other_again():
    changes = [(0.001, running(number)) for number in range(1, 20)]
    script = Script(
        CREATED, *changes, (24.0, running(20)), *[(0.001, running(20 + n)) for n in range(1, 10)], (0.1, DONE)
    )
    script.make()
    quick = [after - before < 0.1 for before, after in pairwise(script.moments)]
    assert quick[: BURST - 1] == quick[20 : 20 + BURST - 1] == [True] * (BURST - 1)
    assert not any(quick[BURST - 1 : 19])


def test_the_wait_ends_before_the_deadline_and_the_last_look_is_no_timeout_of_the_network():
    script = Script(CREATED, (25.0, running(1)), (3.8, running(1)), (0.1, running(1)))
    with pytest.raises(TaskTimeoutError, match="its status is running"):
        script.make(timeout=30)
    assert script.asked[:2] == [(25.0, 0), (3.8, 1)]
    assert script.now <= 30 + 1e-6


def test_the_timeout_of_a_task_that_no_miner_takes_says_why():
    script = Script(CREATED, (0.1, running(1, status="waiting", msg="no miner is free")))
    with pytest.raises(TaskTimeoutError, match="its status is waiting: no miner is free"):
        script.make(timeout=30)


def test_no_server_makes_a_client_wait_longer_than_proxies_allow():
    script = Script((0.1, CREATED[1] | {"long_poll_seconds": 3600}), (1.0, DONE))
    script.make()
    assert script.asked == [(LONGEST_WAIT, 0)]


def test_so_many_tasks_at_once_have_long_polls_and_the_others_are_polled():
    """Each needs a connection, and a process may have a thousand tasks."""
    server = "https://crowded.example"
    stuck, all_stuck = [], asyncio.Event()

    class Stuck(Script):
        """Its second answer never comes."""

        async def send(self, request, timeout):
            answer = await super().send(request, timeout)
            if request.url.endswith("query") and len(self.asked) == 2:
                stuck.append(self)
                if len(stuck) == MOST_OPEN + 1:
                    all_stuck.set()
                await asyncio.Event().wait()
            return answer

    async def main():
        scripts = [Stuck((0.1, running(1)), server=server) for _ in range(MOST_OPEN + 1)]
        tasks = [asyncio.create_task(wait(each.session(), "t1", 300.0, None, None)) for each in scripts]
        await all_stuck.wait()
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [each.asked[1] for each in scripts]

    asked = asyncio.run(main())
    assert asked.count((25.0, 1)) == MOST_OPEN
    assert asked.count(PLAIN) == 1
    script = Script((0.1, running(1)), (1.0, DONE), server=server)
    script.wait()
    assert script.asked[1] == (25.0, 1)  # Their places are free again.
