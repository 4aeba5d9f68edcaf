"""A limited number of requests of one event loop is at one server at once, and cancels do not wait for the others."""

from __future__ import annotations

import asyncio
import os
import random
import threading

import pytest

from tests.support.fake_sequencer import Answer, FakeSequencer
from xalora_client import AsyncClient, Client, NetworkError, RateLimitError, Text2VideoTask
from xalora_client.client import session
from xalora_client.http.limiter import ORDINARY_AT_ONCE

PATIENCE = 20.0


class Crowd:
    """Lets nobody go until it is full, or until ``open``; ``most`` says how many were there at once."""

    def __init__(self):
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.full = threading.Event()
        self.open = threading.Event()

    def __call__(self, _):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == ORDINARY_AT_ONCE:
                self.full.set()
        self.open.wait(PATIENCE)
        with self.lock:
            self.now -= 1
        return Answer({"status": "running", "miner_id": "m1"})


@pytest.fixture
def crowd(sequencer):
    made = Crowd()
    sequencer.script("task_result_query", made)
    yield made
    made.open.set()


def test_all_clients_of_a_loop_together(sequencer, crowd):
    """Two clients with 20 calls each: nobody goes before the crowd is full, and it never has more."""

    async def ask():
        async with AsyncClient("a#b", sequencer.url) as one, AsyncClient("a#b", sequencer.url) as other:
            calls = [asyncio.create_task(each.query_task_result("t1")) for each in (one, other) for _ in range(20)]
            assert await asyncio.to_thread(crowd.full.wait, PATIENCE)
            crowd.open.set()
            await asyncio.gather(*calls)

    asyncio.run(ask())
    assert sequencer.count("task_result_query") == 40
    assert crowd.most == ORDINARY_AT_ONCE


def test_a_cancel_does_not_wait_behind_what_is_not_answered(sequencer, crowd):
    async def main():
        async with AsyncClient("a#b", sequencer.url) as client:
            stuck = [asyncio.create_task(client.query_task_result("t1")) for _ in range(3 * ORDINARY_AT_ONCE)]
            assert await asyncio.to_thread(crowd.full.wait, PATIENCE)
            said = await asyncio.wait_for(client.cancel_task("t1"), PATIENCE)
            for each in stuck:
                each.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            return said

    assert asyncio.run(main()) == "cancelled"
    assert sequencer.count("task_result_query") == ORDINARY_AT_ONCE


def test_those_who_give_up_leave_their_place(sequencer, subject, monkeypatch):
    """Also those who never came in, and those whose request was never sent."""

    async def many():
        async with AsyncClient("a#b", sequencer.url) as client:
            calls = (client.query_task_result("t1") for _ in range(3 * ORDINARY_AT_ONCE))
            return await asyncio.gather(*calls, return_exceptions=True)

    with sequencer.silent("task_result_query"), monkeypatch.context() as impatient:
        impatient.setattr(session, "QUERY_TIMEOUT", 0.2)
        impatient.setattr(session, "CALL_TIMEOUT", 0.3)
        ends = asyncio.run(many())
    assert all(isinstance(each, NetworkError) for each in ends)
    assert any(each.sent == "no" for each in ends)  # Those who only waited.
    sequencer.script("task_result_query", Answer({"status": "running"}))
    assert subject.do(lambda c: c.query_task_result("t1")).status == "running"


def test_places_are_not_lost_to_cancellations_at_any_moment(sequencer):
    """Afterwards as many requests as ever are at the server at once, and no more."""

    async def main():
        async with AsyncClient("a#b", sequencer.url) as client:
            dice = random.Random(7)
            for _ in range(10):
                calls = [asyncio.create_task(client.query_task_result("t1")) for _ in range(2 * ORDINARY_AT_ONCE)]
                for each in dice.sample(calls, len(calls)):
                    for _ in range(dice.randrange(4)):
                        await asyncio.sleep(0)
                    each.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            # The server may still have queries that were canceled, so other requests are counted.
            crowd = Crowd()
            sequencer.script("resource_request", crowd)
            calls = [asyncio.create_task(client.resource_request()) for _ in range(2 * ORDINARY_AT_ONCE)]
            assert await asyncio.to_thread(crowd.full.wait, PATIENCE)
            crowd.open.set()
            assert set(await asyncio.gather(*calls)) == {"m1"}
            assert crowd.most == ORDINARY_AT_ONCE

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_slots_of_its_own(sequencer, crowd):
    """Those in the parent who hold a slot are not in the child to give it back."""

    async def fill():
        async with AsyncClient("a#b", sequencer.url) as client:
            stuck = [asyncio.create_task(client.query_task_result("t1")) for _ in range(ORDINARY_AT_ONCE)]
            assert await asyncio.to_thread(crowd.full.wait, PATIENCE)
            child = os.fork()
            if child == 0:
                os._exit(0 if _asks_in(sequencer.url) else 1)
            code = await asyncio.to_thread(os.waitpid, child, 0)
            for each in stuck:
                each.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            return code[1]

    assert asyncio.run(fill()) == 0


def _asks_in(url):
    with Client("a#b", url) as client:
        return client.cancel_task("t1") == "cancelled" and client.execute_workflow(Text2VideoTask("a rabbit")) == "t1"


class TestPace:
    def test_a_429_slows_the_others_too(self, subject, sequencer):
        """One call is told to wait and gives up; the next one waits for it."""
        busy = Answer({"message": "slow down"}, 429, {"Retry-After": "70"})
        sequencer.script("task_result_query", busy, Answer({"status": "running"}))
        with pytest.raises(RateLimitError, match="slow down"):
            subject.do(lambda c: c.query_task_result("t1"))
        with pytest.raises(RateLimitError, match="asked to wait for another 70 s"):
            subject.do(lambda c: c.query_task_result("t2"))
        assert sequencer.count("task_result_query") == 1
        subject.clock.now += 30
        assert subject.do(lambda c: c.query_task_result("t2")).status == "running"
        assert subject.clock.sleeps == [40]

    def test_a_create_that_was_slowed_down_was_not_sent(self, subject, sequencer):
        sequencer.script("task_result_query", Answer({}, 429, {"Retry-After": "100"}))
        with pytest.raises(RateLimitError):
            subject.do(lambda c: c.query_task_result("t1"))
        with pytest.raises(RateLimitError) as caught:
            subject.do(lambda c: c.execute_workflow(Text2VideoTask("a rabbit")), ledger=True)
        assert "may have been created" not in str(caught.value)
        assert sequencer.count("task_create") == 0
        subject.clock.now += 100
        assert subject.do(lambda c: c.execute_workflow(Text2VideoTask("a rabbit")), ledger=True) == "t1"

    def test_no_server_slows_a_process_down_for_ever(self, subject, sequencer):
        sequencer.script(
            "task_result_query", Answer({}, 429, {"Retry-After": "999999999"}), Answer({"status": "running"})
        )
        with pytest.raises(RateLimitError):
            subject.do(lambda c: c.query_task_result("t1"))
        subject.clock.now += 120
        assert subject.do(lambda c: c.query_task_result("t1")).status == "running"

    def test_other_servers_are_not_meant(self, subject, sequencer):
        sequencer.script("task_result_query", Answer({}, 429, {"Retry-After": "100"}))
        with pytest.raises(RateLimitError):
            subject.do(lambda c: c.query_task_result("t1"))
        other = FakeSequencer()
        try:
            assert subject.do(lambda c: c.query_task_result("t1"), workflow_url=other.url).status == "finished"
        finally:
            other.close()
        assert subject.clock.sleeps == []
