"""Whoever stops waiting has the task cancelled, once and briefly, whatever was going on at that moment."""

import asyncio
import signal
import threading

import pytest

from tests.support.fake_sequencer import DROP, Answer, FakeSequencer, status
from tests.support.subject import KEY, Stop
from xalora_client import AdvancedOptions, AsyncClient, Client, NetworkError, Text2VideoTask
from xalora_client.http.transport import HttpTransport

TASK = Text2VideoTask("a rabbit")


@pytest.fixture
def running(sequencer):
    sequencer.script("task_result_query", status("running"))
    return sequencer


def make(client, **options):
    return client.execute_workflow_and_wait_for_result(TASK, **options)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Stop(), ValueError("observer"), NetworkError("from observer")])
def test_what_on_update_raises_cancels_the_task(subject, running, stop):
    def observe(update):
        if update.status == "running":
            raise stop

    with pytest.raises(type(stop)) as caught:
        subject.do(lambda c: make(c, on_update=observe))
    assert caught.value is stop
    assert running.paths() == ["task_create", "task_result_query", "task_cancel"]
    assert running.seen[-1].body == {"task_id": "t1", "api_key": "secret-key"}


@pytest.mark.parametrize("naps", [0, 1, 3])
def test_an_interrupted_sleep_cancels_the_task(subject, running, naps):
    subject.clock.interrupt = (naps, Stop())
    with pytest.raises(Stop):
        subject.do(make)
    assert running.count("task_cancel") == 1
    assert running.paths()[-1] == "task_cancel"


def test_the_tasks_own_key_cancels_it(subject, running):
    subject.clock.interrupt = (1, Stop())
    task = Text2VideoTask("x", api_key="its-own")
    with pytest.raises(Stop):
        subject.do(lambda c: c.execute_workflow_and_wait_for_result(task))
    assert [seen.body["api_key"] for seen in running.seen] == ["its-own"] * 3


@pytest.mark.parametrize("answer", [DROP, Answer({"message": "no"}, 500)])
def test_a_cancel_that_fails_does_not_hide_the_interruption(subject, running, answer, caplog):
    running.script("task_cancel", answer)
    subject.clock.interrupt = (1, Stop())
    with pytest.raises(Stop):
        subject.do(make)
    assert running.count("task_cancel") == 1
    assert "t1 may still be running" in caplog.text


def test_interruptions_that_do_not_cancel(subject, running):
    subject.clock.interrupt = (1, Stop())
    with pytest.raises(Stop):
        subject.do(make, should_cancel=lambda stop: not isinstance(stop, Stop))
    assert running.count("task_cancel") == 0


def cancelled_during(endpoint: str, sequencer: FakeSequencer, call) -> None:
    """Cancel the asyncio task while the endpoint's answer is still out."""
    arrived, go_on = threading.Event(), threading.Event()
    usual = sequencer.answers[f"/{endpoint}"][0]

    def hold(_):
        arrived.set()
        assert go_on.wait(10)
        return usual

    sequencer.script(endpoint, hold, usual)

    async def main() -> None:
        async with AsyncClient("a#b", sequencer.url) as client:
            waiting = asyncio.create_task(call(client))
            assert await asyncio.to_thread(arrived.wait, 10)
            waiting.cancel()
            await asyncio.sleep(0)
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(main())


@pytest.mark.parametrize("call", [make, lambda c: c.execute_workflow(TASK)], ids=["and wait", "only"])
def test_cancelled_while_the_create_is_in_flight(running, call):
    cancelled_during("task_create", running, call)
    assert running.paths() == ["task_create", "task_cancel"]


def test_cancelled_while_a_query_is_in_flight(running):
    cancelled_during("task_result_query", running, make)
    assert running.paths() == ["task_create", "task_result_query", "task_cancel"]


def test_a_wait_by_id_cancels_nothing(subject, running):
    subject.clock.interrupt = (0, Stop())
    with pytest.raises(Stop):
        subject.do(lambda c: c.wait_for_result("t1"))
    assert running.paths() == ["task_result_query"]


@pytest.mark.parametrize("answer", [DROP, Answer({"message": "no"}, 400), Answer({}, 429)])
def test_cancelled_while_a_create_is_in_flight_that_fails(running, answer):
    running.script("task_create", answer)
    cancelled_during("task_create", running, make)
    assert running.paths() == ["task_create"]


@pytest.mark.parametrize("call", [make, lambda c: c.execute_workflow(TASK)], ids=["and wait", "only"])
def test_ctrl_c_while_the_create_is_in_flight(running, call):
    pressed = threading.Event()

    def on_signal(*_):
        pressed.set()
        raise KeyboardInterrupt

    def press(_):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        assert pressed.wait(10)
        return Answer({"task_id": "t1"})

    running.script("task_create", press)
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        with Client("a#b", running.url) as client, pytest.raises(KeyboardInterrupt):
            call(client)
    finally:
        signal.signal(signal.SIGINT, before)
    assert running.paths() == ["task_create", "task_cancel"]


def test_a_flow_that_is_dropped_midway_is_silent(running):
    """Closing the coroutine is no interruption anybody can act on: nothing is sent and nothing is complained of."""

    async def main() -> None:
        async with AsyncClient("a#b", running.url) as client:
            waiting = client.wait_for_result("t1")
            waiting.send(None)
            waiting.close()

    asyncio.run(main())
    assert running.count("task_cancel") == 0


def test_a_loop_that_is_torn_down(sequencer):
    """Everything is cancelled at once, the create in flight included: there is nothing left to wait for."""
    arrived, go_on = threading.Event(), threading.Event()

    def hold(_):
        arrived.set()
        go_on.wait(20)
        return DROP

    sequencer.script("task_create", hold)

    async def main() -> None:
        async with AsyncClient("a#b", sequencer.url) as client:
            running = asyncio.create_task(client.execute_workflow(TASK))
            assert await asyncio.to_thread(arrived.wait, 10)
            for each in asyncio.all_tasks() - {asyncio.current_task()}:
                each.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            go_on.set()

    asyncio.run(main())
    assert sequencer.count("task_cancel") == 0


class Noting(HttpTransport):
    """The real transport; ``ended`` is set when the first request has ended."""

    def __init__(self):
        super().__init__()
        self.ended = asyncio.Event()

    async def send(self, request, timeout):
        try:
            return await super().send(request, timeout)
        finally:
            self.ended.set()


@pytest.mark.parametrize("turns", range(10))
def test_an_interruption_right_after_an_unclear_create_leaves_it_to_the_next_run(sequencer, home, turns):
    """Whichever turn of the loop it comes in: nobody holds the task, and it is sent again under its job id."""
    sequencer.script("task_create", DROP, Answer({"task_id": "t1"}))

    async def pause(seconds):
        raise AssertionError("another run seems to hold the task")

    async def go():
        transport = Noting()
        options = {"api_key": KEY, "workflow_url": sequencer.url, "home": home, "ledger": True}
        async with AsyncClient(**options, advanced=AdvancedOptions(transport=transport, sleep=pause)) as client:
            first = asyncio.ensure_future(client.execute_workflow(TASK))
            await transport.ended.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            first.cancel()
            with pytest.raises((asyncio.CancelledError, NetworkError)):
                await first
            return await client.execute_workflow(TASK)

    assert asyncio.run(go()) == "t1"
    assert len({seen.body["job_id"] for seen in sequencer.seen}) == 1
