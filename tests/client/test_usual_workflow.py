"""A kind without a workflow id and one with its usual id are one task, whoever asks; on the wire each is as written."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.support.fake_sequencer import DROP, Answer, status
from tests.support.processes import poll
from xalora_client import (
    AsyncClient,
    Client,
    CustomTask,
    FluxLoraTask,
    NetworkError,
    Text2VideoTask,
    UpscalerTask,
    XaloraError,
)
from xalora_client.client import waiters


def video(workflow_id=None):
    return Text2VideoTask("a rabbit", workflow_id=workflow_id)


def any_video(workflow_id=None):
    return CustomTask("txt2vid", {"prompt": "a rabbit"}, workflow_id=workflow_id)


def picture(workflow_id=None):
    return FluxLoraTask("a rabbit", "ink", workflow_id=workflow_id)


BOTH = [(video, "1"), (picture, "3"), (any_video, "1")]
ORDERS = [(None, True), (True, None)]


def creates(sequencer):
    return [seen.body for seen in sequencer.seen if seen.path == "/task_create"]


def create(sequencer, home, task, **options):
    with Client("a#b", sequencer.url, home=home, ledger=True) as client:
        return client.execute_workflow(task, **options)


@pytest.mark.parametrize(("make", "usual"), BOTH)
@pytest.mark.parametrize("ids", ORDERS, ids=["none first", "usual first"])
@pytest.mark.parametrize("state", ["running", "finished"])
def test_the_second_is_not_created(sequencer, home, make, usual, ids, state):
    first, second = (usual if given else None for given in ids)
    sequencer.script("task_result_query", status(state, result="https://media.example/x.mp4"))
    with Client("a#b", sequencer.url, home=home, ledger=True) as client:
        client.execute_workflow(make(first))
        if state == "finished":
            client.wait_for_result("t1")
    origins = []
    assert create(sequencer, home, make(second), on_update=lambda update: origins.append(update.origin)) == "t1"
    assert origins[-1] == {"running": "attach", "finished": "finished"}[state]
    (sent,) = creates(sequencer)
    assert sent.get("workflow_id") == first


@pytest.mark.parametrize("other", [video("2"), UpscalerTask("https://x/y.png"), Text2VideoTask("a fox")])
def test_others_are_created(sequencer, home, other):
    create(sequencer, home, video())
    create(sequencer, home, other)
    assert len(creates(sequencer)) == 2


def test_a_failed_one_is_created_again_as_written(sequencer, home):
    sequencer.script("task_result_query", status("failed"))
    for workflow_id in ("1", None):
        with Client("a#b", sequencer.url, home=home, ledger=True) as client, pytest.raises(XaloraError):
            client.execute_workflow_and_wait_for_result(video(workflow_id))
    assert [sent.get("workflow_id") for sent in creates(sequencer)] == ["1", None]


@pytest.mark.parametrize("ids", ORDERS, ids=["none first", "usual first"])
def test_one_that_may_have_arrived_is_sent_again_as_it_was(sequencer, home, ids):
    first, second = ("1" if given else None for given in ids)
    sequencer.script("task_create", DROP, Answer({"task_id": "t1"}))
    with pytest.raises(NetworkError):
        create(sequencer, home, video(first))
    create(sequencer, home, video(second))
    again, before = creates(sequencer)[-1], creates(sequencer)[0]
    assert again == before


def who_waits(server):
    """How many calls wait for each task of a server. Nothing outside shows it."""
    return [len(calls) for (_, name, _), calls in [*waiters._waiting.items()] if name == server.url]


@pytest.mark.parametrize("prompt", list("abcdef"))
@pytest.mark.parametrize("ids", [("1", None), (None, "1"), ("1", "1"), (None, None)])
def test_who_leaves_does_not_cancel_for_the_other(sequencer, home, prompt, ids):
    go_on = threading.Event()
    sequencer.script("task_create", lambda _: go_on.wait(20) and Answer({"task_id": "t1"}))

    async def both():
        async with AsyncClient("a#b", sequencer.url, home=home, ledger=True) as client:
            first = Text2VideoTask(prompt, workflow_id=ids[0])
            other = CustomTask("txt2vid", {"prompt": prompt}, workflow_id=ids[1])
            leaves = asyncio.create_task(client.execute_workflow_and_wait_for_result(first))
            await asyncio.to_thread(poll, lambda: sequencer.count("task_create") == 1)
            stays = asyncio.create_task(client.execute_workflow_and_wait_for_result(other))
            await asyncio.to_thread(poll, lambda: who_waits(sequencer) == [2])
            leaves.cancel()
            go_on.set()
            return await stays

    assert asyncio.run(both()).status == "finished"
    assert (sequencer.count("task_create"), sequencer.count("task_cancel")) == (1, 0)


def test_two_at_once_in_one_program_are_one_task(sequencer, home):
    ids = iter(["t1", "t2"])
    sequencer.script("task_create", lambda _: Answer({"task_id": next(ids)}))

    async def both():
        async with AsyncClient("a#b", sequencer.url, home=home, ledger=True) as client:
            return await asyncio.gather(*(client.execute_workflow(video(each)) for each in (None, "1", None, "1")))

    assert set(asyncio.run(both())) == {"t1"}
