"""Values that make no sense, wherever a request may have one: refused or ignored, and never sent on."""

from __future__ import annotations

import json
import uuid

import pytest
import requests

from tests.support.fake_miner import in_thread, workflow

NUMBERS = [
    "-1", "-0.0", "0", "0.5", "1e400", "-1e400", "1e308", "1e-400", "1" + "0" * 400, "-1" + "0" * 4000, "9" * 5000,
    str(2**63), str(-(2**63) - 1), "NaN", "Infinity", "-Infinity", "true", "null", '"5"', '"NaN"', "[1]", "{}", "01",
    r'"\ud800"', r'"\u0000"', r'"\u001b[2J\n"', '"' + "9" * 200_000 + '"',
]  # fmt: skip
JSON = {"Content-Type": "application/json"}


def strict(answer):
    """What was answered. NaN and Infinity are no JSON."""

    def refuse(name):
        raise AssertionError(f"{name} was sent: {answer.text[:300]}")

    return json.loads(answer.text, parse_constant=refuse)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:12])
def test_it_is_refused_or_ignored(sequencer, number):
    server = sequencer()
    miner = server.miner(workflow("sums.1", [{"name": "a", "kind": "number"}, {"name": "n", "kind": "whole"}]))
    task_id = server.make("sums.1", a=1, n=1)
    task = miner.take()
    uploaded = miner.upload(task).json()["result"]
    consumer = {"consumer_id": server.consumer_id, "api_key": server.api_key}
    name = {"erc20_address": miner.name, "instance": miner.instance}
    lease = {"task_id": task_id, "lease": task["lease"]}

    def send(endpoint, **body):
        """Post a body in which "#" is the number, as it is written."""
        text = json.dumps(body).replace('"#"', number)
        answer = requests.post(f"{server.url}/{endpoint}", data=text, headers=JSON, timeout=10)
        assert answer.status_code in (200, 400, 401, 404, 409, 413), (body, answer.status_code, answer.text)
        told = strict(answer)
        assert answer.ok or 0 < len(told["message"]) < 2500
        strict(server.post("task_result_query", task_id=told.get("task_id") or task_id))

    def create(task_type="sums", **body):
        job = {"job_id": uuid.uuid4().hex, "task_type": task_type, "workflow_id": "1"}
        send("task_create", **consumer | job | {"task_details": {"parameters": {"a": 1, "n": 1}}} | body)

    for field in ("timeout_seconds", "workflow_id", "task_type", "job_id", "consumer_id", "api_key", "task_details"):
        create(**{field: "#"})
    send("miner_request", erc20_address="public", workflow_ids=["7", "#"])
    create(workflow_id="7", task_details={"parameters": {"anything": ["#"], "else": "#"}})  # Nobody can check these.
    for parameters in ("#", {"a": "#", "n": 1}, {"a": 1, "n": "#"}, {"a": ["#"], "n": {"x": "#"}}):
        create(task_details={"parameters": parameters})
    for field in ("sha256", "size", "content_type"):
        image = {"sha256": "0" * 64, "size": 5, "content_type": "image/png"}
        send("image_upload", **consumer | image | {field: "#"})
    for limit in ("default", "minimum", "maximum", "step", "choices"):
        for kind in ("whole", "number", "choice"):
            parameter = {"name": "a", "kind": kind, "choices": [1], limit: ["#"] if limit == "choices" else "#"}
            offered = {"task_type": "strange", "workflow_id": "1", "parameters": [parameter]}
            send(
                "miner_register", erc20_address="strange", instance="0e", workflows=[offered], software={"device": "#"}
            )
            create("strange", task_details={"parameters": {"a": "#"}})
    for field in ("erc20_address", "instance", "workflow_ids"):
        send("miner_request", **name | {"workflow_ids": ["#"]} | {field: "#"})
    for field in ("after", "task_id", "api_key"):
        send("task_result_query", **consumer | {"task_id": task_id, "after": -1, "wait_seconds": 0} | {field: "#"})
    send("task_result_query", **consumer, task_id=task_id, after=-1, wait_seconds="#")

    for progress in ("#", {"value": "#", "maximum": 5}, {"value": 1, "maximum": "#"}, {"value": "#", "maximum": "#"}):
        send("miner_heartbeat", **name | lease, progress=progress)
        told = server.query(task_id).get("progress", {})
        assert all(0 <= told.get(each, 0) < 1e300 for each in ("value", "maximum"))
    for field in ("task_id", "lease", "erc20_address"):
        send("miner_heartbeat", **name | lease | {field: "#"})
    end = {"miner_id": miner.name, "success": True, "result": uploaded, **lease}
    for field in ("task_id", "lease", "miner_id", "result"):
        send("miner_submit", **end | {field: "#"})
    page = requests.get(server.url, headers={"Accept": "text/html"}, timeout=10)
    assert page.status_code == 200
    send("miner_submit", **end, inference_latency="#", upload_latency="#")
    miner.submit(task, result=uploaded)
    found = server.query(task_id)
    assert found["status"] == "finished"
    assert all(0 <= found.get(each, 0) < 1e9 for each in ("inference_latency", "upload_latency"))
    # 501 without the extra that metrics need.
    assert requests.get(f"{server.url}/metrics", timeout=10).status_code in (200, 501)


@pytest.mark.parametrize("seconds", ["9" * 99, "1" + "0" * 400])
@pytest.mark.parametrize("endpoint", ["miner_request", "task_result_query"])
def test_no_wait_is_longer_than_it_may_be(sequencer, poll, endpoint, seconds):
    server = sequencer()
    miner = server.miner()
    body = {"erc20_address": miner.name, "instance": miner.instance, "wait_seconds": "#", "after": "#"}
    if endpoint == "task_result_query":
        body |= {"api_key": server.api_key, "task_id": server.make()}
    text = json.dumps(body).replace('"#"', seconds)
    asking = in_thread(requests.post, f"{server.url}/{endpoint}", data=text, headers=JSON, timeout=30)
    poll(server.waiting_miners)
    server.advance(25)
    assert asking.result(10).status_code == 200
