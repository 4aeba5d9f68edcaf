"""The names of miners: one process has each, and a process that was killed has it no more."""

from __future__ import annotations

import pytest
import requests


@pytest.fixture
def server(sequencer):
    return sequencer()


def hang_up(server, endpoint, body):
    """Ask for something that takes a while, and be killed meanwhile."""
    with pytest.raises(requests.Timeout):
        requests.post(f"{server.url}/{endpoint}", json=body, timeout=0.3)


def again(server, miner):
    """The same miner, started again."""
    return server.miner(name=miner.name, instance="feed", register=False)


def test_a_name_is_taken_while_its_miner_waits(server, poll):
    miner = server.miner()
    waiting = miner.waits()
    poll(lambda: server.waiting_miners() == 1)
    assert again(server, miner).register().status_code == 409
    server.advance(25)
    assert waiting.result(10) == {"msg": "no task at the moment"}
    assert again(server, miner).register().status_code == 409
    server.advance(31)
    assert again(server, miner).register().status_code == 200


def test_an_idle_miner_that_was_killed_leaves_its_name(server, poll):
    miner = server.miner()
    about = {"erc20_address": miner.name, "instance": miner.instance, "workflow_ids": [], "wait_seconds": 25}
    hang_up(server, "miner_request", about)
    poll(lambda: again(server, miner).register().status_code == 200)
    task_id = server.make()
    assert again(server, miner).ask()["task_id"] == task_id
    assert miner.ask() == {"msg": "register first", "register": True}


def test_a_busy_miner_that_was_killed_leaves_its_name_and_its_task(server, poll):
    miner = server.miner()
    task_id = server.make()
    task = miner.take()
    lease = {"erc20_address": miner.name, "task_id": task_id, "lease": task["lease"], "wait_seconds": 10}
    hang_up(server, "miner_heartbeat", lease)
    successor = again(server, miner)
    poll(lambda: successor.register().status_code == 200)
    server.advance(10)  # the heartbeat's end is no sign of life
    server.advance(21)
    assert (successor.ask()["task_id"], server.query(task_id)["status"]) == (task_id, "running")
    assert miner.beat(task) == {"stop": "lost"}
