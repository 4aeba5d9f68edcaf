"""Long polls over real HTTP: the end is seen at once, nobody waits behind them, and an interruption ends them."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest

from tests.support.fake_sequencer import Answer, status
from xalora_client import AsyncClient, Client, Text2VideoTask
from xalora_client.http.limiter import ORDINARY_AT_ONCE
from xalora_client.ledger import Ledger

TASK = Text2VideoTask("a rabbit")
OFFER = {"revision": 0, "long_poll_seconds": 25}
PATIENCE = 20.0


class Held:
    """Long polls stay open until ``release``; ``full`` is set when ``count`` of them are open at once."""

    def __init__(self, sequencer, count=1):
        self.count = count
        self.open = 0
        self.lock = threading.Lock()
        self.full = threading.Event()
        self.freed = threading.Event()
        numbers = iter(range(1, 1000))
        sequencer.script("task_create", lambda _: Answer({"task_id": f"t{next(numbers)}", **OFFER}))
        sequencer.script("task_result_query", self)

    def __call__(self, seen):
        if "wait_seconds" not in seen.body:
            return status("running", **OFFER)
        with self.lock:
            self.open += 1
            if self.open == self.count:
                self.full.set()
        self.freed.wait(PATIENCE)
        return status("finished", result="https://media.example/x.mp4", revision=1, long_poll_seconds=25)


@pytest.fixture
def held(sequencer):
    made = Held(sequencer)
    yield made
    made.freed.set()


def test_the_end_is_seen_at_once(subject, sequencer, held):
    """No clock of the test passes: the answer itself is what is waited for."""
    threading.Thread(target=lambda: held.full.wait(PATIENCE) and held.freed.set()).start()
    result = subject.do(lambda c: c.execute_workflow_and_wait_for_result(TASK))
    assert result.status == "finished"
    assert [seen.body for seen in sequencer.seen[1:]] == [
        {"task_id": "t1", "api_key": "secret-key", "wait_seconds": 25, "after": 0}
    ]
    assert sum(subject.clock.sleeps) == 0


def test_the_ledger_knows_how_long_it_took(subject, sequencer, home, held):
    threading.Thread(target=lambda: held.full.wait(PATIENCE) and held.freed.set()).start()
    began = time.time()
    subject.do(lambda c: c.execute_workflow_and_wait_for_result(TASK), ledger=True)
    with Ledger(home, sequencer.url) as ledger:
        (ran,) = ledger.durations("txt2vid", None)
    assert 0 <= ran <= time.time() - began


def test_64_tasks_starve_neither_creates_nor_each_other(sequencer):
    """All are open at once, many more than the requests that are sent at once, and a create still comes through."""
    held = Held(sequencer, count=64)

    async def main():
        async with AsyncClient("a#b", sequencer.url) as client:
            waits = [asyncio.create_task(client.execute_workflow_and_wait_for_result(TASK)) for _ in range(64)]
            assert await asyncio.to_thread(held.full.wait, PATIENCE)
            assert held.open == 64 > ORDINARY_AT_ONCE
            await asyncio.wait_for(client.execute_workflow(TASK), PATIENCE)
            await asyncio.wait_for(client.query_task_result("t1"), PATIENCE)
            held.freed.set()
            return await asyncio.gather(*waits)

    assert {each.status for each in asyncio.run(main())} == {"finished"}


def test_an_interruption_cancels_at_once(sequencer, held):
    async def main():
        async with AsyncClient("a#b", sequencer.url) as client:
            waiting = asyncio.create_task(client.execute_workflow_and_wait_for_result(TASK))
            assert await asyncio.to_thread(held.full.wait, PATIENCE)
            began = time.monotonic()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return time.monotonic() - began

    assert asyncio.run(main()) < 2
    assert sequencer.paths()[-1] == "task_cancel"


def test_so_does_ctrl_c(sequencer, held):
    def press():
        held.full.wait(PATIENCE)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=press).start()
    began = time.monotonic()
    with Client("a#b", sequencer.url) as client, pytest.raises(KeyboardInterrupt):
        client.execute_workflow_and_wait_for_result(TASK)
    assert time.monotonic() - began < PATIENCE / 2
    assert sequencer.paths()[-1] == "task_cancel"


def test_a_task_of_an_earlier_run_learns_from_the_first_answer(subject, sequencer, held):
    first = subject.do(lambda c: c.execute_workflow(TASK), ledger=True)
    held.freed.set()
    result = subject.do(lambda c: c.execute_workflow_and_wait_for_result(TASK), ledger=True)
    assert (result.task_id, result.status) == (first, "finished")
    assert sequencer.count("task_create") == 1
    assert [seen.body.get("wait_seconds") for seen in sequencer.seen[1:]] == [None, 25]
