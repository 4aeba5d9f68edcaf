"""The protocol's public miner, as recorded: no register, no heartbeat, no lease; it asks every two seconds."""

from __future__ import annotations

import pytest
import requests

from tests.support.pictures import png


class PublicMiner:
    name = "0x1111111111111111111111111111111111111111"

    def __init__(self, url, *workflow_ids):
        self.url = url
        self.workflow_ids = list(workflow_ids)

    def ask(self):
        body = {"erc20_address": self.name, "workflow_ids": self.workflow_ids}
        answer = requests.post(f"{self.url}/miner_request", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def submit(self, task_id, result, success=True, msg=""):
        body = {
            "success": success,
            "task_id": task_id,
            "miner_id": self.name,
            "result": result,
            "inference_latency": 12.5,
            "upload_latency": 0.5,
            "msg": msg,
        }
        return requests.post(f"{self.url}/miner_submit", json=body, timeout=30)


@pytest.fixture
def server(sequencer):
    return sequencer(allow_private_images=True)


def test_its_whole_flow(server):
    miner = PublicMiner(server.url, "1", "2")
    assert "task_id" not in miner.ask()
    task_id = server.make("txt2vid.2", prompt="a fox", length=37)
    task = miner.ask()
    assert (task["task_id"], task["task_type"], task["workflow_id"]) == (task_id, "txt2vid", "2")
    assert task["task_details"] == {"parameters": {"prompt": "a fox", "length": 37}}
    key = requests.put(task["credential"]["upload_url"], data=png(), timeout=30).json()["result"]
    assert miner.submit(task_id, key).status_code == 200
    state = server.query(task_id)
    assert (state["status"], state["inference_latency"]) == ("finished", 12.5)
    assert requests.get(state["result"], timeout=30).content == png()
    assert miner.submit(task_id, key).status_code == 409  # without a lease nothing tells that it is the same


def test_its_failure_is_final(server):
    miner = PublicMiner(server.url, "1")
    miner.ask()
    task_id = server.make()
    miner.ask()
    assert miner.submit(task_id, "", success=False, msg="Upload failed").status_code == 200
    assert (server.query(task_id)["status"], server.query(task_id)["msg"]) == ("failed", "Upload failed")


def test_it_gets_one_task_at_a_time_and_its_asking_keeps_the_lease(server):
    miner = PublicMiner(server.url, "1")
    miner.ask()
    first, second = server.make(), server.make()
    assert miner.ask()["task_id"] == first
    for _ in range(10):
        server.advance(20)
        answer = miner.ask()
        assert "running" in answer["msg"]
        assert "task_id" not in answer
    assert [server.query(each)["status"] for each in (first, second)] == ["running", "waiting"]


def test_its_asking_does_not_keep_the_lease_forever(server):
    """It goes on asking although the task never reached it."""
    miner = PublicMiner(server.url, "1")
    miner.ask()
    task_id = server.make()
    assert miner.ask()["attempt"] == 1
    for attempt in (2, 3):
        for _ in range(180):
            server.advance(20)
            assert "running" in miner.ask()["msg"]
        server.advance(20)
        assert miner.ask()["attempt"] == attempt
    for _ in range(180):
        server.advance(20)
        miner.ask()
    server.advance(20)
    assert "task_id" not in miner.ask()
    assert "3 attempts" in server.query(task_id)["msg"]


def test_when_it_stops_asking_its_task_goes_to_another(server):
    miner = PublicMiner(server.url, "1")
    miner.ask()
    task_id = server.make()
    miner.ask()
    server.advance(31)
    assert server.miner("txt2vid.1").take()["task_id"] == task_id


def test_it_cannot_end_what_it_does_not_hold(server):
    miner = PublicMiner(server.url, "1")
    miner.ask()
    task_id = server.make()
    assert miner.submit(task_id, "x").status_code == 409
    holder = server.miner("txt2vid.1")
    holder.take()
    assert miner.submit(task_id, "", success=False).status_code == 409
    assert server.query(task_id)["status"] == "running"


def test_it_gets_an_address_for_an_image(server, website, poll):
    website.pages["/cat.png"] = png(5, 5)
    miner = PublicMiner(server.url, "9")
    miner.ask()
    task_id = server.make("upscaler.9", image=f"{website.url}/cat.png")
    task = poll(lambda: (said := miner.ask()).get("task_id") and said)
    assert task["task_id"] == task_id
    assert requests.get(task["task_details"]["parameters"]["image"], timeout=30).content == png(5, 5)


def test_with_a_miner_key_it_is_not_let_in(sequencer):
    server = sequencer(miner_keys=("a-secret-of-miners",))
    body = {"erc20_address": PublicMiner.name, "workflow_ids": ["1"]}
    assert requests.post(f"{server.url}/miner_request", json=body, timeout=30).status_code == 401


def test_parameters_may_be_deep(sequencer):
    """A sequencer does not look into those of a workflow that a public miner only named."""
    server = sequencer()
    miner = PublicMiner(server.url, "1")
    miner.ask()
    deep: dict = {}
    for _ in range(50):
        deep = {"a": deep}
    task_id = server.make("txt2vid.1", prompt="a", x=deep)
    assert miner.ask()["task_id"] == task_id
