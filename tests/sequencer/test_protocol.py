"""Endpoints, their answers and refusals, keys, and what is kept on disk."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing

import pytest
import requests

from tests.sequencer.conftest import Sandbox
from xalora_client import StorageError
from xalora_client.sequencer import database_file
from xalora_client.sequencer.queue import TaskQueue

JSON = {"Content-Type": "application/json"}


def test_create_and_query_answer_as_the_protocol_says(shared):
    before = time.time()
    options = {"workflow_id": "1", "timeout_seconds": 600}
    answer = shared.try_create(
        "txt2vid", {"prompt": "a rabbit", "width": 16, "height": 16, "length": 1, "steps": None}, **options
    )
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    task_id = answer.json()["task_id"]

    state = shared.wait(task_id)

    assert before - 1 < state.pop("create_timestamp") < time.time() + 1
    assert 0 < state.pop("inference_latency") < 20
    assert 0 <= state.pop("upload_latency") < 20
    assert state.pop("revision") > answer.json()["revision"] == 0
    assert state.pop("long_poll_seconds") == answer.json()["long_poll_seconds"] == 25
    assert state == {
        "task_id": task_id,
        "status": "finished",
        "result": f"{shared.url}/media/{task_id}.mp4",
        "task_type": "txt2vid",
        "task_details": {"parameters": {"prompt": "a rabbit", "width": 16, "height": 16, "length": 1}},
        "timeout_seconds": 600,
        "workflow_id": "1",
    }


def test_result_url_has_the_host_that_the_caller_used(shared):
    task_id = shared.video()
    shared.wait(task_id)
    answer = requests.post(
        f"{shared.url}/task_result_query",
        json={"task_id": task_id, "api_key": shared.api_key},
        headers={"Host": "localhost:81"},
        timeout=30,
    )
    assert answer.json()["result"].startswith("http://localhost:81/media/")


def test_unknown_parameters_are_ignored(shared):
    task_id = shared.video(quality=1, sparkle="much")
    assert "sparkle" not in shared.wait(task_id)["task_details"]["parameters"]


def test_resource_request_names_a_miner(shared):
    answer = shared.post("resource_request", consumer_id="c", workflow_id="1", task_type="txt2vid")
    assert answer.status_code == 200
    assert list(answer.json()) == ["miner_id"]
    assert shared.post("resource_request", consumer_id="c").status_code == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task_type": "txt2gold"}, "task_type is 'txt2gold'"),
        ({"task_type": None}, "task_type is None"),
        ({"task_type": ["txt2vid"]}, "Allowed: txt2vid, upscaler, txt2img"),
        ({"task_details": None}, "task_details is None"),
        ({"task_details": {"parameters": []}}, "task_details is"),
        ({"task_details": {"parameters": {}}}, "prompt is None"),
        ({"task_details": {"parameters": {"prompt": "x", "width": 17}}}, "a multiple of 16"),
        ({"task_details": {"parameters": {"prompt": "x", "length": 2}}}, "of the form 4k + 1"),
        ({"task_type": "upscaler", "task_details": {"parameters": {"image": "ftp://x"}}}, "http or https"),
        ({"timeout_seconds": -1}, "timeout_seconds is -1"),
        ({"workflow_id": ""}, "workflow_id is ''"),
        ({"job_id": None}, "job_id is None"),
        ({"job_id": 7}, "job_id is 7"),
    ],
)
def test_bad_parameters_are_refused_with_400(shared, change, said):
    answer = shared.try_create("txt2vid", {"prompt": "x"}, **change)
    assert answer.status_code == 400
    assert said in answer.json()["message"]


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"\xff\xfe{", b"[]", b'"text"', b"[" * 200_000], ids=lambda b: repr(b[:8])
)
def test_bodies_that_are_no_json_object_are_refused_with_400(shared, body):
    answer = requests.post(f"{shared.url}/task_create", data=body, headers=JSON, timeout=30)
    assert answer.status_code in (400, 413)
    assert "JSON" in answer.json()["message"] or "levels" in answer.json()["message"]


def test_bodies_over_128_mib_are_refused_with_413(shared):
    body = b'{"consumer_id": "c", "api_key": "k", "x": "' + b"x" * (128 * 2**20) + b'"}'
    try:
        answer = requests.post(f"{shared.url}/task_create", data=body, headers=JSON, timeout=30)
    except requests.ConnectionError:
        return  # refused in the middle of sending, and the connection closed
    assert answer.status_code == 413
    assert answer.json()["message"]


@pytest.mark.parametrize("api_key", [None, "", "  ", 7, "\ud800"])
@pytest.mark.parametrize("endpoint", ["task_create", "task_result_query", "task_cancel", "resource_request"])
def test_missing_keys_are_refused_with_401(shared, endpoint, api_key):
    answer = shared.post(endpoint, consumer_id="c", task_id="t", api_key=api_key)
    assert answer.status_code == 401
    assert "api_key" in answer.json()["message"]


@pytest.mark.parametrize("endpoint", ["task_create", "resource_request"])
def test_a_missing_consumer_is_refused_with_401(shared, endpoint):
    answer = shared.post(endpoint, consumer_id=None)
    assert answer.status_code == 401
    assert "consumer_id" in answer.json()["message"]


@pytest.mark.parametrize(("required", "consumer_id", "api_key"), [("me#k-1#2", "me", "k-1#2"), ("me-k", "me", "k")])
def test_a_required_key_is_the_only_one_accepted(sequencer, required, consumer_id, api_key):
    server = sequencer(api_keys=(required,))
    server.miner()
    right = {"consumer_id": consumer_id, "api_key": api_key}
    assert server.post("resource_request", **right).status_code == 200
    assert server.post("task_result_query", task_id="t", api_key=api_key).status_code == 404
    for wrong in ({"consumer_id": "other"}, {"api_key": "other"}, {"api_key": "schlüssel"}):
        answer = server.post("resource_request", **right | wrong)
        assert answer.status_code == 401
        assert "not known" in answer.json()["message"]
    assert server.post("task_cancel", task_id="t", api_key="other").status_code == 401


@pytest.mark.parametrize("endpoint", ["task_result_query", "task_cancel"])
def test_only_the_creating_key_knows_a_task(shared, endpoint):
    task_id = shared.video()
    assert shared.post(endpoint, task_id=task_id, api_key="another").status_code == 404
    answer = shared.post(endpoint, task_id="0" * 32)
    assert answer.status_code == 404
    assert answer.json() == {"message": "there is no such task"}
    assert shared.post(endpoint).status_code == 400
    assert shared.wait(task_id)["status"] == "finished"


def test_unknown_addresses_and_methods_answer_in_json(shared):
    assert requests.get(f"{shared.url}/nothing", timeout=30).json() == {"message": "Not Found"}
    answer = requests.get(f"{shared.url}/task_create", timeout=30)
    assert answer.status_code == 405
    assert answer.json() == {"message": "Method Not Allowed"}


def test_a_job_id_makes_one_task(shared):
    once = {"job_id": "sdk-workflow-0123456789"}
    first = shared.video(once)
    assert shared.video(once, prompt="something else") == first
    assert shared.video(once | {"consumer_id": "another"}) != first
    assert shared.video(once | {"api_key": "another"}) != first
    made = shared.rows(f"SELECT count(*) FROM tasks WHERE job_id = '{once['job_id']}'")
    assert made == [(3,)]


def test_long_data_uris_are_shortened_in_answers(shared):
    uri = "data:image/png;base64," + "A" * 1000
    shown = shared.wait(shared.create("upscaler", image=uri))["task_details"]["parameters"]["image"]
    assert shown.startswith("data:image/png;base64,AAA")
    assert len(shown) < 200
    assert str(len(uri)) in shown
    short = "data:,not an image"
    assert shared.query(shared.create("upscaler", image=short))["task_details"]["parameters"]["image"] == short


def test_signed_links_are_shown_without_their_signature(shared):
    link = "http://127.0.0.1:1/a.png?X-Amz-Date=20260101T000000Z&X-Amz-Signature=abc"
    task_id = shared.create("upscaler", image=link)
    assert shared.query(task_id)["task_details"]["parameters"]["image"] == "http://127.0.0.1:1/a.png"


def test_the_key_is_nowhere_in_the_data_folder(start):
    canary = "canary-4b1d9c"
    sandbox = start()
    sandbox.consumer_id, sandbox.api_key = "me", canary
    sandbox.wait(sandbox.video())
    sandbox.try_create("txt2vid", {}, task_id=sandbox.video())

    def found() -> list[str]:
        files = [path for path in sandbox.data.rglob("*") if path.is_file()]
        assert len(files) > 2
        return [path.name for path in files if canary.encode() in path.read_bytes()]

    assert found() == []  # with the write-ahead log still there
    sandbox.stop()
    assert found() == []


def test_a_broken_database_is_answered_in_json_and_ends_it(tmp_path, monkeypatch):
    async def never(_):
        await asyncio.Event().wait()

    # The request is to notice it first.
    monkeypatch.setattr(database_file, "_WATCH_SECONDS", 3600.0)
    monkeypatch.setattr(TaskQueue, "forget_old_tasks", never)
    sandbox = Sandbox(tmp_path)
    with closing(sqlite3.connect(sandbox.data / "sandbox.sqlite3")) as db:
        db.execute("DROP TABLE tasks")
    answer = sandbox.post("task_result_query", task_id="t")
    assert answer.status_code == 503
    assert answer.json() == {"message": "the sandbox cannot use its database"}
    with pytest.raises(StorageError, match="no such table"):
        sandbox.ended()


def test_queries_stay_quick_while_rendering(start):
    sandbox = start()
    tasks = [sandbox.video(width=848, height=480, length=145, prompt=f"{n}") for n in range(2)]
    for task_id in tasks:
        sandbox.wait(task_id, "running")
    seconds = []
    with requests.Session() as session:
        body = json.dumps({"task_id": tasks[0], "api_key": sandbox.api_key})
        for _ in range(50):
            begun = time.perf_counter()
            state = session.post(f"{sandbox.url}/task_result_query", data=body, headers=JSON, timeout=30).json()
            seconds.append(time.perf_counter() - begun)
    assert state["status"] == "running"
    assert sorted(seconds)[25] < 0.1
    assert max(seconds) < 1
