"""Who gets which task, and how it ends."""

from __future__ import annotations

import pytest
import requests

from tests.support.fake_miner import in_thread
from tests.support.pictures import png


def test_a_task_goes_from_the_consumer_to_a_miner_and_its_result_back(sequencer):
    server = sequencer()
    miner = server.miner()
    task_id = server.make(prompt="a hare", steps=7)
    assert server.query(task_id)["status"] == "waiting"

    task = miner.take()

    assert task["task_id"] == task_id
    assert (task["task_type"], task["workflow_id"], task["attempt"]) == ("txt2vid", "1", 1)
    assert task["task_details"] == {"parameters": {"prompt": "a hare", "steps": 7}}
    assert (task["lease_seconds"], task["seconds_left"], task["inputs"]) == (30, None, {})
    assert server.query(task_id)["status"] == "running"
    miner.finish(task)
    state = server.query(task_id)
    assert (state["status"], state["inference_latency"], state["upload_latency"]) == ("finished", 1.5, 0.25)
    assert requests.get(state["result"], timeout=30).content == png()
    assert miner.ask() == {"msg": "no task at the moment"}


def test_tasks_are_given_in_their_order_of_arrival(sequencer):
    server = sequencer()
    miners = [server.miner("txt2vid.1", "txt2img.3") for _ in range(3)]
    made = [server.make(each) for each in ("txt2vid.1", "txt2img.3", "txt2vid.1")]
    assert [miner.take()["task_id"] for miner in miners] == made


def test_a_miner_gets_the_oldest_that_it_can_run(sequencer):
    server = sequencer()
    video, both = server.miner("txt2vid.1"), server.miner("txt2vid.1", "upscaler")
    other, mine = server.make("upscaler"), server.make("txt2vid.1")
    assert video.take()["task_id"] == mine
    assert video.ask() == {"msg": "no task at the moment"}
    assert both.take()["task_id"] == other


def test_a_waiting_miner_gets_a_task_at_once(sequencer, poll):
    server = sequencer()
    miner = server.miner()
    waiting = miner.waits()
    task_id = server.make()
    assert waiting.result(10)["task_id"] == task_id  # the clock stands still: no wait was over


def test_a_wait_without_a_task_ends(sequencer, poll):
    server = sequencer()
    waiting = server.miner().waits(25)
    poll(lambda: server.waiting_miners() == 1)
    server.advance(25)
    assert waiting.result(10) == {"msg": "no task at the moment"}


def test_of_several_waiting_miners_the_one_with_the_models_loaded_gets_it(sequencer, poll):
    server = sequencer()
    first, second, third = (server.miner("txt2vid.1", "txt2img.3") for _ in range(3))
    for miner, name in ((first, "txt2img.3"), (second, "txt2vid.1"), (third, "txt2img.3")):
        server.make(name)
        miner.finish(miner.take())
        server.advance(1)
    waiting = {}
    for count, miner in enumerate((first, third, second), 1):
        waiting[miner] = miner.waits()
        poll(lambda count=count: server.waiting_miners() == count)
    task_id = server.make("txt2vid.1")
    assert waiting[second].result(10)["task_id"] == task_id
    task_id = server.make("txt2img.3")
    assert waiting[third].result(10)["task_id"] == task_id  # it ran that workflow later than the first


def test_a_request_whose_caller_is_gone_gets_no_task(sequencer, poll):
    server = sequencer()
    gone, here = server.miner(), server.miner()
    body = {"erc20_address": gone.name, "instance": gone.instance, "wait_seconds": 25}
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{server.url}/miner_request", json=body, timeout=0.3)
    waiting = here.waits()
    poll(lambda: server.waiting_miners() == 2)
    task_id = server.make()
    assert waiting.result(10)["task_id"] == task_id


def test_a_task_whose_answer_was_lost_is_given_again(sequencer):
    server = sequencer()
    miner = server.miner()
    server.make(), server.make()
    lost = miner.ask()  # and the answer never arrives
    assert miner.ask() == lost


def test_a_miner_gets_one_task_at_a_time(sequencer):
    server = sequencer()
    miner = server.miner()
    first, second = server.make(), server.make()
    task = miner.take()
    assert miner.ask() == {"msg": "no task at the moment"}
    miner.finish(task)
    assert [task["task_id"], miner.take()["task_id"]] == [first, second]


def test_what_a_workflow_says_of_its_failure_is_final(sequencer):
    server = sequencer()
    miner = server.miner()
    task_id = server.make()
    task = miner.take()
    msg = "KSampler (node 3): out of memory"
    error = {"node_id": "3", "title": "KSampler", "class_type": "KSampler", "message": "out of memory"}
    assert miner.submit(task, success=False, msg=msg, error=error).status_code == 200
    state = server.query(task_id)
    assert (state["status"], state["msg"]) == ("failed", msg)
    assert miner.submit(task, success=False, msg=msg).status_code == 200
    assert miner.ask() == {"msg": "no task at the moment"}


def test_cancel_reaches_the_miner_at_once(sequencer, poll):
    server = sequencer()
    miner = server.miner()
    task_id = server.make()
    task = miner.take()
    beating = in_thread(miner.beat, task, wait_seconds=10)
    poll(lambda: server.waiting_heartbeats() == 1)
    assert server.cancel(task_id) == "canceled"
    assert beating.result(10) == {"stop": "canceled"}
    assert miner.beat(task) == {"stop": "canceled"}
    assert miner.submit(task, result="x").status_code == 409
    assert miner.upload(task).status_code == 409
    assert server.query(task_id)["status"] == "canceled"


def test_a_canceled_task_that_waits_is_given_to_nobody(sequencer):
    server = sequencer()
    miner = server.miner()
    server.cancel(server.make())
    second = server.make()
    assert miner.take()["task_id"] == second


def test_timeout_counts_over_all_attempts_and_the_queue(sequencer):
    server = sequencer()
    miner = server.miner()
    running = server.make(more={"timeout_seconds": 100})
    waiting = server.make(more={"timeout_seconds": 100})
    server.advance(40)
    task = miner.take()
    assert task["seconds_left"] == 60
    server.advance(31)  # the lease is over
    again = miner.take()
    assert (again["task_id"], again["attempt"], again["seconds_left"]) == (running, 2, 29)
    server.advance(29)
    assert miner.beat(again) == {"stop": "timed out"}
    for task_id in (running, waiting):
        state = server.query(task_id)
        assert state["status"] == "failed"
        assert "timed out" in state["msg"]
    assert miner.ask() == {"msg": "no task at the moment"}


def test_a_result_that_was_not_uploaded_is_refused(sequencer):
    server = sequencer()
    miner = server.miner()
    task_id = server.make()
    task = miner.take()
    for result in (None, "0" * 64 + ".png", "../../etc/passwd", 7):
        answer = miner.submit(task, result=result)
        assert answer.status_code == 409
        assert "upload it first" in answer.json()["message"]
    miner.upload(task)
    assert miner.submit(task, result="../media").status_code == 409
    assert server.query(task_id)["status"] == "running"


def test_a_miner_can_do_nothing_with_a_task_that_it_does_not_hold(sequencer):
    server = sequencer()
    holder, other = server.miner(), server.miner()
    task_id = server.make()
    task = holder.take()
    stranger = {**task, "lease": "x" * 43}
    for thief, loot in ((other, task), (other, stranger), (holder, stranger)):
        assert thief.beat(loot) == {"stop": "lost"}
        assert thief.submit(loot, success=False, msg="mine").status_code == 409
        assert thief.submit(loot, give_back="stopping", success=False).status_code == 409
    assert other.submit({"task_id": task_id}, success=False).status_code == 409
    assert holder.submit({"task_id": task_id}, success=False).status_code == 409  # it has a lease, and must say it
    for token in ("x", "0" * 64, "..%2F..", task["lease"]):
        assert requests.put(f"{server.url}/miner_upload/{token}", data=png(), timeout=30).status_code in (404, 409)
    assert server.query(task_id)["status"] == "running"
    holder.finish(task)


def test_resource_request_names_a_miner_that_is_there(sequencer):
    server = sequencer()
    miner = server.miner("txt2vid.1")
    body = {"consumer_id": "c", "task_type": "txt2vid", "workflow_id": "1"}
    assert server.post("resource_request", **body).json() == {"miner_id": miner.name}
    assert server.post("resource_request", consumer_id="c").json() == {"miner_id": miner.name}
    server.advance(31)
    answer = server.post("resource_request", **body)
    assert answer.status_code == 503
    assert "no miner" in answer.json()["message"]


def test_what_a_miner_says_of_a_result_is_told(sequencer):
    server = sequencer()
    miner = server.miner()
    task_id = server.make()
    task = miner.take()
    key = miner.upload(task).json()["result"]
    assert miner.submit(task, result=key, msg="3 files were made; the first is the result").status_code == 200
    assert server.query(task_id)["msg"] == "3 files were made; the first is the result"
    task_id = server.make()
    miner.finish(miner.take())
    assert "msg" not in server.query(task_id)


OTHERS, OWN = {"msg": "its ComfyUI is busy"}, {"msg": "it runs <b>Xalora</b> nodes", "prompt_id": "p1"}


@pytest.mark.parametrize(
    ("states", "said", "blocked_by"),
    [
        ([], "no miner that runs this with these values is connected", None),
        ([OTHERS], "is free; miner-1: its ComfyUI is busy", None),
        ([OWN], "is free; miner-1: it runs <b>Xalora</b> nodes", ["p1"]),
        ([OWN, OWN | {"prompt_id": "p0"}], "miner-1: it runs", ["p0", "p1"]),
        ([OWN, OTHERS], "miner-1: it runs", None),
        ([OWN, None], None, None),
    ],
)
def test_a_task_that_no_miner_takes_now_says_why(sequencer, states, said, blocked_by):
    """In the create's answer, in the first query's, which does not wait, and in its timeout's."""
    server = sequencer()
    server.miner(name="gone")
    server.advance(3600)
    for number, state in enumerate(states, 1):
        miner = server.miner(name=f"miner-{number}")
        if state is not None:
            miner.post("miner_busy", {"erc20_address": miner.name, "instance": miner.instance, **state})
    made = server.try_create("txt2vid", {"prompt": "a hare"}, workflow_id="1", timeout_seconds=20).json()
    if said is None:
        assert made["msg"] == "queued in the sequencer"
        assert "msg" not in server.query(made["task_id"])
        return
    query = {"task_id": made["task_id"], "wait_seconds": 25, "after": made["revision"]}
    first = server.post("task_result_query", **query).json()  # The clock stands still: no wait would end.
    server.advance(20)
    last = server.query(made["task_id"])
    assert (first["status"], first.get("blocked_by"), last["status"]) == ("waiting", blocked_by, "failed")
    for answer in (made, first, last):
        assert said in answer["msg"]


def test_who_waits_already_is_told_when_a_miner_becomes_busy_and_when_it_no_longer_is(sequencer):
    server = sequencer()
    miner = server.miner()
    task_id, revision = server.make(), 0
    about = {"erc20_address": miner.name, "instance": miner.instance}
    changes = [(lambda: miner.post("miner_busy", about | OTHERS), "waiting"), (miner.ask, "running")]
    for change, status in changes:
        waiting = in_thread(server.post, "task_result_query", task_id=task_id, wait_seconds=25, after=revision)
        change()
        server.advance(1)
        answer = waiting.result(10).json()
        assert (answer["status"], "busy" in answer.get("msg", "")) == (status, status == "waiting")
        revision = answer["revision"]
    assert miner.post("miner_busy", about | OTHERS | {"instance": "0"}).json()["register"] is True


@pytest.mark.parametrize(("number", "said"), [(0, "the miner was lost; no miner that runs"), (1, "no miner that runs")])
def test_who_waits_already_is_told_that_the_only_miner_was_lost(sequencer, poll, number, said):
    """Of the task that it ran, and of the next, within five seconds."""
    server = sequencer()
    miner, started = server.miner(), server.clock.now
    task_id = [server.make(), server.make()][number]
    miner.take()
    server.advance(20)
    answer = server.query(task_id)
    while not answer.get("msg", "").startswith(said):
        answer = moved_until_answered(server, poll, task_id, answer["revision"])
        assert server.clock.now <= 35 + started


def moved_until_answered(server, poll, task_id, after):
    """The answer to a query that waits, while the clock goes on."""
    waiting = in_thread(server.post, "task_result_query", task_id=task_id, wait_seconds=25, after=after)
    for left in range(25, 0, -1):
        poll(lambda left=left: waiting.done() or server.clock.due_in(left))
        if waiting.done():
            break
        server.advance(1)
    return waiting.result(10).json()
