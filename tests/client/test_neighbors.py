"""Two calls of one process that wait for the same task: when one leaves, the other still gets the result."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.fake_sequencer import Answer, FakeSequencer, status
from tests.support.processes import poll
from xalora_client import AsyncClient, Client, Text2VideoTask

TASK = Text2VideoTask("a rabbit")
FINISHED = status("finished", result="https://media.example/a.mp4")


@pytest.fixture
def held(sequencer: FakeSequencer):
    """A sequencer whose creates and queries wait until ``go_on`` of theirs is set; tasks then are finished."""
    sequencer.go_on = {"task_create": threading.Event(), "task_result_query": threading.Event()}
    for endpoint, answer in {
        "task_create": sequencer.answers["/task_create"][0],
        "task_result_query": FINISHED,
    }.items():
        sequencer.script(
            endpoint, lambda _, endpoint=endpoint, answer=answer: sequencer.go_on[endpoint].wait(20) and answer
        )
    yield sequencer
    for event in sequencer.go_on.values():
        event.set()


def make(client, **options):
    return client.execute_workflow_and_wait_for_result(TASK, **options)


def by_id(client):
    return client.wait_for_result("t1")


async def stop(waiting):
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def until(happened):
    await asyncio.to_thread(poll, happened)


@pytest.mark.parametrize("leaves_first", [True, False])
@pytest.mark.parametrize("other", [make, by_id])
@pytest.mark.parametrize("is_one_client", [True, False])
def test_who_waits_on_has_the_result(held, home, leaves_first, other, is_one_client):
    held.go_on["task_create"].set()

    async def main():
        options = {"api_key": "a#b", "workflow_url": held.url, "home": home, "ledger": True}
        async with AsyncClient(**options) as client, AsyncClient(**options) as second:
            ours = asyncio.create_task(make(client))
            await until(lambda: held.count("task_result_query") >= 1)
            theirs = asyncio.create_task(other(client if is_one_client else second))
            await until(lambda: held.count("task_result_query") >= 2)
            leaver, stayer = (ours, theirs) if leaves_first else (theirs, ours)
            await stop(leaver)
            held.go_on["task_result_query"].set()
            assert (await stayer).status == "finished"

    asyncio.run(main())
    assert held.count("task_create") == 1
    assert held.count("task_cancel") == 0


def test_who_waits_for_another_ones_create_has_its_task(held, home):
    async def main():
        async with AsyncClient("a#b", held.url, home=home, ledger=True) as client:
            first = asyncio.create_task(make(client))
            await until(lambda: held.count("task_create") == 1)
            second = asyncio.create_task(make(client))
            await asyncio.sleep(0.3)  # It has found that the first is creating the task.
            first.cancel()
            held.go_on["task_create"].set()
            held.go_on["task_result_query"].set()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await second).status == "finished"

    asyncio.run(main())
    assert held.count("task_create") == 1
    assert held.count("task_cancel") == 0


def test_threads_count_as_well(held, home):
    held.go_on["task_create"].set()

    def leave(_):
        poll(lambda: held.count("task_result_query") >= 1)  # The other one has taken the task up.
        raise KeyboardInterrupt

    def make_and_leave(client):
        with pytest.raises(KeyboardInterrupt):
            make(client, on_update=leave)

    with Client("a#b", held.url, home=home, ledger=True) as client, ThreadPoolExecutor() as threads:
        leaving = threads.submit(make_and_leave, client)
        poll(lambda: held.count("task_create") == 1)
        staying = threads.submit(make, client)
        leaving.result(20)
        held.go_on["task_result_query"].set()
        assert staying.result(20).status == "finished"
    assert held.count("task_cancel") == 0


def test_the_last_one_that_leaves_cancels_it(held, home):
    held.go_on["task_create"].set()

    async def main():
        async with AsyncClient("a#b", held.url, home=home, ledger=True) as client:
            waiting = [asyncio.create_task(make(client)) for _ in range(3)]
            await until(lambda: held.count("task_result_query") >= 3)
            for each in waiting[:2]:
                await stop(each)
            assert held.count("task_cancel") == 0
            await stop(waiting[2])

    asyncio.run(main())
    assert held.count("task_cancel") == 1


def test_tasks_of_their_own_are_canceled_on_their_own(held, home):
    held.script("task_create", Answer({"task_id": "t1"}), Answer({"task_id": "t2"}))

    async def main():
        async with AsyncClient("a#b", held.url, home=home, ledger=True) as client:
            ours, theirs = (asyncio.create_task(make(client, reuse=False)) for _ in range(2))
            await until(lambda: held.count("task_result_query") >= 2)
            await stop(ours)
            assert held.count("task_cancel") == 1
            held.go_on["task_result_query"].set()
            await theirs

    asyncio.run(main())
