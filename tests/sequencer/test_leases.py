"""Miners that are lost, come back, or are late; and restarts of the sequencer."""

from __future__ import annotations

import time

import pytest
import requests

from tests.support.fake_miner import in_thread
from tests.support.pictures import png


def test_heartbeats_keep_a_lease(sequencer):
    server = sequencer()
    miner = server.miner()
    server.make()
    task = miner.take()
    for _ in range(5):
        server.advance(29)
        assert miner.beat(task) == {"lease_seconds": 30}
    miner.finish(task)


def test_a_waiting_heartbeat_ends_after_its_time(sequencer, poll):
    server = sequencer()
    miner = server.miner()
    server.make()
    task = miner.take()
    beating = in_thread(miner.beat, task, wait_seconds=10)
    poll(lambda: server.waiting_heartbeats() == 1)
    server.advance(10)
    assert beating.result(10) == {"lease_seconds": 30}
    server.advance(29)  # it was renewed at its end, too
    miner.finish(task)


def test_a_lost_task_goes_to_the_head_of_the_queue_as_a_new_attempt(sequencer):
    server = sequencer()
    lost, other = server.miner(), server.miner()
    first, second = server.make(), server.make()
    task = lost.take()
    server.advance(31)
    assert server.query(first)["status"] == "waiting"
    again = other.take()
    assert (again["task_id"], again["attempt"]) == (first, 2)
    assert again["prompt_id"] != task["prompt_id"]
    assert again["lease"] != task["lease"]
    other.finish(again)
    assert other.take()["task_id"] == second


def test_a_lost_task_goes_to_a_miner_that_waits(sequencer, poll):
    server = sequencer()
    lost, other = server.miner(), server.miner()
    task_id = server.make()
    lost.take()
    waiting = other.waits()
    poll(lambda: server.waiting_miners() == 1)
    server.advance(30)
    assert waiting.result(10)["task_id"] == task_id


def test_after_three_attempts_a_task_fails_and_says_why(sequencer):
    server = sequencer()
    miner = server.miner()
    task_id = server.make()
    prompts = set()
    for attempt in (1, 2, 3):
        task = miner.take()
        assert task["attempt"] == attempt
        prompts.add(task["prompt_id"])
        server.advance(31)
    assert len(prompts) == 3
    state = server.query(task_id)
    assert state["status"] == "failed"
    assert "3 attempts" in state["msg"]
    assert miner.ask() == {"msg": "no task at the moment"}
    assert miner.submit(task, result="x").status_code == 409


@pytest.mark.parametrize("sign", ["heartbeat", "upload", "submit"])
def test_a_lost_lease_is_taken_up_again_while_nobody_else_has_begun(sequencer, sign):
    server = sequencer()
    miner = server.miner()
    task_id = server.make()
    task = miner.take()
    uploaded = miner.upload(task).json()["result"]
    server.advance(31)
    assert server.query(task_id)["status"] == "waiting"
    if sign == "heartbeat":
        assert miner.beat(task) == {"lease_seconds": 30}
        assert server.query(task_id)["status"] == "running"
        assert server.miner().ask() == {"msg": "no task at the moment"}
    elif sign == "upload":
        assert miner.upload(task).json() == {"result": uploaded}
        assert server.query(task_id)["status"] == "running"
    assert miner.submit(task, result=uploaded).status_code == 200
    assert server.query(task_id)["status"] == "finished"


def test_a_late_submit_of_a_lost_attempt_changes_nothing(sequencer):
    server = sequencer()
    late, other = server.miner(), server.miner()
    task_id = server.make()
    old = late.take()
    uploaded = late.upload(old).json()["result"]
    server.advance(31)
    new = other.take()
    assert late.beat(old) == {"stop": "lost"}
    assert late.upload(old).status_code == 409
    assert late.submit(old, result=uploaded).status_code == 409
    assert late.submit(old, success=False, msg="failed").status_code == 409
    assert server.query(task_id)["status"] == "running"
    other.finish(new, png(9, 9))
    assert requests.get(server.query(task_id)["result"], timeout=30).content == png(9, 9)
    assert late.submit(old, result=uploaded).status_code == 409


def test_a_submit_may_come_twice(sequencer):
    server = sequencer()
    miner = server.miner()
    task_id = server.make()
    task = miner.take()
    uploaded = miner.upload(task).json()["result"]
    answers = [miner.submit(task, result=uploaded) for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 200]
    first = server.query(task_id)
    assert miner.submit(task, result=uploaded, inference_latency=99).status_code == 200
    assert server.query(task_id) == first


@pytest.mark.parametrize(("how", "attempt"), [("lost", 2), ("stopping", 1)])
def test_a_task_that_is_given_back_goes_to_the_next(sequencer, how, attempt):
    server = sequencer()
    miner, other = server.miner(), server.miner()
    task_id = server.make()
    task = miner.take()
    assert miner.submit(task, success=False, give_back=how, msg="ComfyUI is gone").status_code == 200
    assert miner.beat(task) == {"stop": "lost"}
    again = other.take()
    assert (again["task_id"], again["attempt"]) == (task_id, attempt)


def test_a_miner_of_an_unknown_instance_is_told_to_register(sequencer):
    server = sequencer()
    miner = server.miner(name="rig")
    assert server.miner(name="stranger", register=False).ask()["register"] is True
    twin = server.miner(name="rig", instance="another", register=False)
    assert twin.register().status_code == 409
    server.advance(31)
    assert twin.register().status_code == 200
    assert miner.ask()["register"] is True


def test_a_restart_loses_nothing(sequencer):
    first = sequencer()
    miner, other, third = first.miner(), first.miner(), first.miner()
    done = first.make()
    third.finish(third.take())
    running, uploading = first.make(), first.make()
    task, half = miner.take(), other.take()
    key = other.upload(half).json()["result"]
    waiting, canceled = first.make(more={"job_id": "sdk-workflow-w"}), first.make()
    first.cancel(canceled)
    media = requests.get(first.query(done)["result"], timeout=30).content
    first.stop()

    second = sequencer(now=first.clock.now + 3600)
    for each in (miner, other, third):
        assert each.move_to(second.url).ask()["register"] is True
        each.register()

    assert third.take()["task_id"] == waiting
    assert third.ask() == {"msg": "no task at the moment"}
    assert miner.beat(task) == {"lease_seconds": 30}
    miner.finish(second.moved(task))
    assert other.submit(half, result=key).status_code == 200
    statuses = [second.query(each)["status"] for each in (done, running, uploading, waiting, canceled)]
    assert statuses == ["finished", "finished", "finished", "running", "canceled"]
    assert requests.get(second.query(done)["result"], timeout=30).content == media
    assert second.make(more={"job_id": "sdk-workflow-w"}) == waiting


def test_after_a_restart_leases_and_timeouts_still_end(sequencer):
    first = sequencer()
    miner = first.miner()
    lost, late, short = first.make(), first.make(more={"timeout_seconds": 100}), first.make(more={"timeout_seconds": 5})
    miner.take()
    first.stop()

    second = sequencer(now=first.clock.now + 60)

    assert second.wait(short)["status"] == "failed"
    assert second.query(lost)["status"] == "running"
    second.advance(31)
    assert second.query(lost)["status"] == "waiting"
    assert second.query(late)["status"] == "waiting"
    second.advance(10)
    assert "timed out" in second.query(late)["msg"]
    again = second.miner().take()
    assert (again["task_id"], again["attempt"]) == (lost, 2)


@pytest.mark.parametrize("jump", [100 * 86_400.0, -100 * 86_400.0])
def test_timeouts_do_not_end_early_by_a_clock_that_is_wrong_at_a_start(sequencer, jump):
    first = sequencer()
    first.miner()
    first.advance(60)
    task_id = first.make(more={"timeout_seconds": 3600})
    first.advance(60)
    first.stop()
    second = sequencer(now=first.clock.now + jump)
    assert second.query(task_id)["status"] == "waiting"
    second.advance(3400)
    assert second.query(task_id)["status"] == "waiting"
    second.advance(300)
    assert "timed out" in second.query(task_id)["msg"]


def test_a_lost_attempt_is_taken_up_again_even_after_a_restart(sequencer):
    first = sequencer()
    miner = first.miner()
    task_id = first.make()
    task = miner.take()
    first.advance(31)
    assert first.query(task_id)["status"] == "waiting"
    first.stop()
    second = sequencer(now=first.clock.now)
    assert miner.move_to(second.url).beat(task) == {"lease_seconds": 30}
    second.advance(31)
    assert second.query(task_id)["status"] == "waiting"  # and lost again
    miner.finish(second.moved(task))
    assert second.query(task_id)["status"] == "finished"


def test_a_long_poll_does_not_hold_up_the_end(sequencer, poll):
    server = sequencer()
    miner = server.miner()
    server.make()
    task = miner.take()
    waits = [in_thread(miner.beat, task, wait_seconds=10), server.miner().waits()]
    poll(lambda: (server.waiting_heartbeats(), server.waiting_miners()) == (1, 1))
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 0.9
    assert waits[0].result(10) == {"lease_seconds": 30}


def test_a_task_whose_answer_never_arrives_is_not_given_forever(sequencer):
    server = sequencer()
    miner = server.miner()
    task_id = server.make()
    attempts = []
    for _ in range(12):
        attempts.append(miner.ask().get("attempt"))
        server.advance(10)
    assert attempts == [1, 1, 1, 2, 2, 2, 3, 3, 3, None, None, None]
    assert "3 attempts" in server.query(task_id)["msg"]
