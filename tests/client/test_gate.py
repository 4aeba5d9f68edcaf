"""A limited number of requests of one event loop is at one server at once, and cancels do not wait for the others."""

from __future__ import annotations

import asyncio
import os
import random
import threading

import pytest

from tests.support.fake_sequencer import Answer, FakeSequencer, status
from tests.support.pictures import png
from xalora_client import AsyncClient, Client, InputImage, NetworkError, RateLimitError, Text2VideoTask, UpscalerTask
from xalora_client.client import session
from xalora_client.http.limiter import ORDINARY_AT_ONCE

PATIENCE = 20.0
TASK = Text2VideoTask("a rabbit")


def create(client):
    return client.execute_workflow(TASK)


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
        async with AsyncClient("a#b", sequencer.url, retry_seconds=0.3) as client:
            calls = (client.query_task_result("t1") for _ in range(3 * ORDINARY_AT_ONCE))
            return await asyncio.gather(*calls, return_exceptions=True)

    with sequencer.silent("task_result_query"), monkeypatch.context() as impatient:
        impatient.setattr(session, "QUERY_TIMEOUT", 0.2)
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


LATER = ["70", "100000", "999999999", "Fri, 31 Dec 9999 23:59:59 GMT"]


class TestPace:
    """What one call is told slows the others of its key down, but no longer than they can wait."""

    @pytest.fixture(params=LATER)
    def told(self, request, subject, sequencer):
        """One call was told to wait, for longer than it can."""
        busy = Answer({"message": "slow down"}, 429, {"Retry-After": request.param})
        sequencer.script("task_create", busy, Answer({"task_id": "t1"}))
        with pytest.raises(RateLimitError, match=r"slow down; it asks to wait [\d,]+ s") as caught:
            subject.do(create, ledger=True)
        assert "may have been created" not in str(caught.value)
        assert subject.clock.sleeps == []
        return sequencer

    @pytest.mark.parametrize("seconds", [10, 60, 600])
    def test_the_next_create_waits_and_is_sent(self, subject, told, seconds):
        updates = []
        done = subject.do(
            lambda c: c.execute_workflow_and_wait_for_result(TASK, timeout=seconds, on_update=updates.append),
            ledger=True,
        )
        assert done.status == "finished"
        assert subject.clock.sleeps[0] == pytest.approx(min(seconds, 60) / 2, abs=0.01)
        assert "the server asked for a pause, trying again in" in updates[0].describe()

    def test_later_there_is_nothing_to_wait_for(self, subject, told):
        subject.clock.now += 60
        assert subject.do(create, ledger=True) == "t1"
        assert subject.clock.sleeps == []

    def test_another_key_is_not_meant(self, subject, told):
        assert subject.do(create, api_key="somebody#else") == "t1"
        assert subject.clock.sleeps == []

    def test_nor_another_server(self, subject, told):
        other = FakeSequencer()
        try:
            assert subject.do(create, workflow_url=other.url) == "t1"
        finally:
            other.close()
        assert subject.clock.sleeps == []

    def test_a_wait_for_what_is_paid_asks_again(self, subject, told):
        told.script("task_result_query", Answer({}, 429, {"Retry-After": LATER[2]}), status("finished"))
        assert subject.do(lambda c: c.wait_for_result("t1", timeout=600)).status == "finished"
        assert subject.clock.now < 1200

    def test_so_does_an_upload(self, subject, told):
        told.script("", Answer({"image_upload": True}))
        told.script("image_upload", Answer({}, 503, {"Retry-After": LATER[2]}), Answer({"image": "http://x/y.png"}))
        done = subject.do(lambda c: c.execute_workflow(UpscalerTask(InputImage.from_bytes(png()))))
        assert done == "t1"
        assert subject.clock.now < 1200
