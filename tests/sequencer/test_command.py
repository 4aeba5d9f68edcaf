"""``xalora sequencer``, as a process of its own."""

from __future__ import annotations

import re
import sys

import pytest
import requests

from tests.support.fake_miner import FakeMiner
from tests.support.processes import Command


@pytest.fixture
def command(tmp_path):
    """A function that starts the command; all end with the test."""
    started = []

    def start(*arguments, **environment):
        started.append(
            Command("sequencer", "--port", 0, "--data", tmp_path / "data", *arguments,
                    cwd=tmp_path, home=tmp_path / "home", **environment)
        )  # fmt: skip
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_it_says_where_it_listens_and_takes_keys_from_the_environment(command):
    process = command(XALORA_SEQUENCER_KEYS="alice#key-a\nbob#key-b", XALORA_MINER_KEY="key-m")
    line = process.first_line()
    url = line.removeprefix("Xalora sequencer listening on ")
    assert url.startswith("http://127.0.0.1:")

    FakeMiner(url, "txt2vid.1", key="key-m")
    assert FakeMiner(url, "txt2vid.1", register=False).register().status_code == 401
    for consumer, key, status in (("alice", "key-a", 200), ("bob", "key-b", 200), ("bob", "key-a", 401)):
        body = {"consumer_id": consumer, "api_key": key, "task_type": "txt2vid", "workflow_id": "1"}
        answer = requests.post(f"{url}/resource_request", json=body, timeout=30)
        assert answer.status_code == status
    process.interrupt()
    process.process.wait(10)
    assert process.output() == f"{line}\n"
    assert "Traceback" not in process.errors()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither the signal nor such modes")
def test_a_service_ends_it_in_order_and_others_read_nothing(command, tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    process = command()
    url = process.first_line().removeprefix("Xalora sequencer listening on ")
    miner = FakeMiner(url, "txt2vid.1")
    body = {"consumer_id": "a", "api_key": "b", "job_id": "j", "task_type": "txt2vid", "workflow_id": "1"}
    requests.post(f"{url}/task_create", json=body | {"task_details": {"parameters": {"prompt": "x"}}}, timeout=30)
    miner.take()
    modes = {path.name: path.stat().st_mode & 0o077 for path in [tmp_path / "data", *(tmp_path / "data").rglob("*")]}
    assert {name: mode for name, mode in modes.items() if mode} == {}
    process.process.terminate()
    assert process.process.wait(20) == 143
    assert [path.name for path in (tmp_path / "data").glob("*.sqlite3-*")] == []
    assert "Traceback" not in process.errors()


def test_arguments_beat_the_environment(command):
    process = command("--api-key", "eve#key-e", "--miner-key", "other", XALORA_MINER_KEY="key-m")
    url = process.first_line().removeprefix("Xalora sequencer listening on ")
    FakeMiner(url, "txt2vid.1", key="other")
    answer = requests.post(f"{url}/resource_request", json={"consumer_id": "a", "api_key": "b"}, timeout=30)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "XALORA_SEQUENCER_KEYS"),
        (("--budget", "0"), "--budget is 0"),
        (("--api-key", "nothing"), "consumer#key"),
        (("--public-url", "https://gpu.example.com/?path"), "without a user and a query"),
        (("--workflows", "nowhere"), "no folder nowhere"),
    ],
)
def test_what_cannot_be_served_is_an_error(command, arguments, said):
    process = command(*arguments)
    assert process.process.wait(30) == 2
    assert said in process.errors()
    assert process.output() == ""


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--host", "0.0.0.0"], r"http://(?!127|0\.)[\w.-]+:{port}"),
        (["--host", "::"], r"http://(?!127|\[::1?\])[\w.:\[\]-]+:{port}"),
        (["--host", "0.0.0.0", "--public-url", "https://gpu.example.com"], "https://gpu.example.com"),
        (["--public-url", "https://gpu.example.com"], "https://gpu.example.com"),
    ],
)
def test_it_says_how_other_machines_reach_it_and_what_to_type_there(command, arguments, address):
    process = command(*arguments, XALORA_SEQUENCER_KEYS="alice#key-a bob#key-b", XALORA_MINER_KEY="key-m")
    address = address.format(port=process.first_line().rpartition(":")[2])
    line = process.said(rf"export XALORA_WORKFLOW_URL=({address}) XALORA_API_KEY='alice#KEY'\n")
    process.said(rf"XALORA_MINER_KEY=KEY xalora miner --sequencer {re.escape(line[1])} --comfyui ")
    assert re.search("key-[abm]", process.errors()) is None


def test_a_sequencer_for_this_machine_alone_names_no_others(command):
    process = command()
    process.first_line()
    process.interrupt()
    process.wait()
    assert "Other machines" not in process.errors()


def test_one_sequencer_per_folder(command):
    command().first_line()
    second = command()
    assert second.process.wait(30) == 2
    assert "Another sequencer uses the data folder" in second.errors()


def test_a_killed_sequencer_loses_nothing(command, caller):
    first = command()
    client = caller(first.first_line().removeprefix("Xalora sequencer listening on "))
    miner, other = FakeMiner(client.url, "txt2vid.1"), FakeMiner(client.url, "txt2vid.1")
    running, uploaded, waiting = (
        client.create("txt2vid", {"workflow_id": "1", "job_id": f"sdk-workflow-{n}"}, prompt="x") for n in range(3)
    )
    task, half = miner.take(), other.take()
    key = other.upload(half).json()["result"]
    first.process.kill()
    first.process.wait()

    client.url = command().first_line().removeprefix("Xalora sequencer listening on ")
    for each in (miner, other):
        each.move_to(client.url).register()
    assert other.submit(half, result=key).status_code == 200
    assert miner.beat(task) == {"lease_seconds": 30}
    statuses = [client.query(each)["status"] for each in (running, uploaded, waiting)]
    assert statuses == ["running", "finished", "waiting"]
    assert client.result(uploaded)
    assert other.take()["task_id"] == waiting
