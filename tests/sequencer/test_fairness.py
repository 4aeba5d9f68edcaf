"""Whose turn it is, what one consumer may have waiting, and what a bad miner can do."""

from __future__ import annotations

import pytest

from tests.sequencer.conftest import Caller
from tests.support.fake_miner import FakeMiner, workflow


def caller(server, key: str) -> Caller:
    """Another consumer of the same sequencer."""
    other = Caller(server.url)
    other.api_key = key
    return other


def make(consumer, count: int = 1, name: str = "txt2vid.1", **more) -> list[str]:
    task_type, _, workflow_id = name.partition(".")
    return [consumer.create(task_type, {"workflow_id": workflow_id, **more}, prompt="a") for _ in range(count)]


def run_all(miner, count: int) -> list[str]:
    """Take and finish so many tasks; their ids in order."""
    done = []
    for _ in range(count):
        task = miner.take()
        miner.finish(task)
        done.append(task["task_id"])
    return done


@pytest.mark.parametrize("workflows", [("txt2vid.1",), ("txt2vid.1", "txt2vid.2")])
def test_consumers_take_turns(sequencer, workflows):
    """However many tasks one has waiting, and for however many workflows."""
    server = sequencer()
    miner = server.miner("txt2vid.1", "txt2vid.2")
    first = [make(server, 1, workflows[number % len(workflows)])[0] for number in range(30)]
    late, later = make(caller(server, "b"), 2), make(caller(server, "c"))
    order = run_all(miner, 8)
    assert order == [first[0], late[0], later[0], first[1], late[1], *first[2:5]]


def test_who_was_idle_gets_one_turn_and_no_more(sequencer):
    server = sequencer()
    miner = server.miner()
    make(server, 20)
    run_all(miner, 10)
    late = make(caller(server, "b"), 5)
    order = run_all(miner, 6)
    assert [order.index(task_id) for task_id in late[:3]] == [0, 2, 4]


def test_turns_are_the_same_after_a_restart(sequencer):
    first = sequencer()
    first.miner()
    many, one = make(first, 200), make(caller(first, "b"))
    first.stop()
    second = sequencer(now=first.clock.now)
    assert run_all(second.miner(), 3) == [many[0], one[0], many[1]]


def test_priority_is_among_ones_own_tasks(sequencer):
    server = sequencer()
    miner = server.miner()
    other = make(caller(server, "b"), 2, priority=100)
    low, plain, high = make(server, priority=-5), make(server), make(server, priority=5)
    assert run_all(miner, 5) == [other[0], *high, other[1], *plain, *low]


@pytest.mark.parametrize("value", [101, -101, 1.5, "1", True, [], 10**400])
def test_a_priority_that_is_none_is_refused(sequencer, value):
    server = sequencer()
    server.miner()
    body = {"prompt": "a"}
    answer = server.try_create("txt2vid", body, workflow_id="1", priority=value)
    assert answer.status_code == 400
    assert "priority" in answer.json()["message"]


def test_more_than_may_wait_is_refused_and_loses_nothing(sequencer):
    server = sequencer(max_waiting=3)
    miner = server.miner()
    made = make(server, 3)
    refused = server.try_create("txt2vid", {"prompt": "a"}, workflow_id="1", job_id="again")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
    assert "3 tasks of this key wait" in refused.json()["message"]
    make(caller(server, "b"))
    task = miner.take()
    accepted = server.try_create("txt2vid", {"prompt": "a"}, workflow_id="1", job_id="again")
    assert accepted.status_code == 200
    assert server.try_create("txt2vid", {"prompt": "a"}, workflow_id="1").status_code == 429
    server.cancel(made[1])
    make(server)
    server.advance(31)  # The one that was begun waits again.
    assert task["task_id"] == made[0]
    assert server.try_create("txt2vid", {"prompt": "a"}, workflow_id="1").status_code == 429


def silent(miner: FakeMiner, task) -> None:
    """Takes and says nothing more."""


def fails(miner: FakeMiner, task) -> None:
    miner.submit(task, success=False, msg="KSampler: no kernel image is available")


def fails_in_a_node(miner: FakeMiner, task) -> None:
    error = {"node_id": "3", "title": "KSampler", "class_type": "KSampler", "message": "no kernel image is available"}
    miner.submit(task, success=False, msg="KSampler: no kernel image is available", error=error)


def is_unable(miner: FakeMiner, task) -> None:
    miner.submit(task, success=False, give_back="unable", msg="out of memory")


def stops(miner: FakeMiner, task) -> None:
    miner.submit(task, success=False, give_back="stopping")


def dies(miner: FakeMiner, task) -> None:
    miner.submit(task, success=False, give_back="died", msg="ComfyUI went away")


def loses(miner: FakeMiner, task) -> None:
    miner.submit(task, success=False, give_back="lost")


def sends_junk(miner: FakeMiner, task) -> None:
    assert miner.upload(task, b"no picture").status_code == 415
    miner.submit(task, success=False)


@pytest.mark.parametrize(
    ("ruin", "most_failed"),
    [(silent, 0), (fails, 0), (fails_in_a_node, 2), (is_unable, 0), (stops, 0), (dies, 0), (loses, 0), (sends_junk, 0)],
)
def test_one_bad_miner_ruins_little(sequencer, ruin, most_failed):
    """It asks ten times as often as the good one."""
    server = sequencer()
    bad, good = server.miner(), server.miner()
    made = make(server, 50)
    for _ in range(300):
        for _ in range(10):
            task = bad.ask()
            if "task_id" in task:
                bad.beat(task)
                ruin(bad, task)
        task = good.ask()
        if "task_id" in task:
            good.finish(task)
        else:
            ended = [server.query(task_id)["status"] for task_id in made]
            if "waiting" not in ended and "running" not in ended:
                break
            server.advance(31)  # The lease of the silent one ends.
            while "task_id" in (task := good.ask()):
                good.finish(task)
    assert ended.count("failed") <= most_failed
    assert ended.count("finished") == len(ended) - ended.count("failed")


def test_a_task_of_which_comfyui_dies_ends_at_the_second(sequencer):
    server = sequencer()
    miners = [server.miner() for _ in range(3)]
    (task_id,) = make(server)
    for miner in miners[:2]:
        dies(miner, miner.take())
    state = server.query(task_id)
    assert state["status"] == "failed"
    assert "ComfyUI ended 2 times" in state["msg"]
    assert "ComfyUI went away" in state["msg"]
    assert "task_id" not in miners[2].ask()


def test_what_a_miner_cannot_run_goes_to_another_once(sequencer):
    server = sequencer()
    miners = [server.miner() for _ in range(3)]
    (task_id,) = make(server)
    is_unable(miners[0], miners[0].take())
    assert "task_id" not in miners[0].ask()
    is_unable(miners[1], miners[1].take())
    assert (server.query(task_id)["status"], server.query(task_id)["msg"]) == ("failed", "out of memory")


def test_an_error_of_a_node_is_final(sequencer):
    server = sequencer()
    miner, _ = server.miner(), server.miner()
    (task_id,) = make(server)
    fails_in_a_node(miner, miner.take())
    assert server.query(task_id)["status"] == "failed"


def test_what_the_only_miner_cannot_run_fails_at_once(sequencer):
    server = sequencer()
    miner = server.miner()
    server.miner(workflow("txt2vid.1", [{"name": "text", "kind": "text"}]))  # It takes other parameters.
    (task_id,) = make(server)
    is_unable(miner, miner.take())
    assert (server.query(task_id)["status"], server.query(task_id)["msg"]) == ("failed", "out of memory")


def test_the_only_miner_works_on_however_often_it_fails(sequencer):
    server = sequencer()
    miner = server.miner()
    made = make(server, 6)
    for _ in made[:5]:
        fails(miner, miner.take())
    assert run_all(miner, 1) == made[5:]


def test_a_faulty_task_is_not_held_against_the_miners(sequencer):
    """What fails everywhere is the fault of the task."""
    server = sequencer()
    miners = [server.miner() for _ in range(2)]
    faulty = make(server, 20)
    while any(server.query(task_id)["status"] == "waiting" for task_id in faulty):
        for miner in miners:
            task = miner.ask()
            if "task_id" in task:
                fails(miner, task)
    made = make(server, 2)
    assert [run_all(miner, 1) for miner in miners] == [made[:1], made[1:]]


@pytest.mark.parametrize(("jump", "passed"), [(100 * 86_400, 10), (3600, 10), (-3600, 31), (-100 * 86_400, 31)])
def test_a_clock_that_is_set_changes_no_lease(sequencer, jump, passed):
    server = sequencer()
    miner, other = server.miner(), server.miner()
    (task_id,) = make(server, timeout_seconds=3600)
    task = miner.take()
    server.clock.jump(jump)
    server.advance(passed)
    assert server.query(task_id)["status"] == ("running" if passed < 30 else "waiting")
    if passed > 30:
        task = other.take()
        assert 3500 < task["seconds_left"] <= 3600
    (other if passed > 30 else miner).finish(task)
    server.clock.jump(-jump)
    assert server.query(task_id)["status"] == "finished"
