"""The recorded vectors are sent exactly, by both clients."""

import json
import re
from pathlib import Path

import pytest

from xalora_client import CustomTask, FluxLoraTask, Text2VideoTask, UpscalerTask

VECTORS = json.loads((Path(__file__).parent / "wire_vectors.json").read_text())["vectors"]

CALLS = {
    "text2video: prompt only": lambda c: c.execute_workflow(Text2VideoTask("a rabbit")),
    "text2video: every option, per-task consumer and key": lambda c: c.execute_workflow(
        Text2VideoTask(
            "a rabbit", width=848, height=480, length=37, steps=30, seed=704883238463297, fps=24, quality=80,
            workflow_id="1", timeout_seconds=600, job_id_prefix="pfx", consumer_id="other", api_key="k2",
        )
    ),
    "upscaler": lambda c: c.execute_workflow(
        UpscalerTask("https://example.com/sample.jpg", timeout_seconds=300)
    ),
    "flux lora": lambda c: c.execute_workflow(
        FluxLoraTask(
            "p", "gecko.safetensors", width=680, height=1024, steps=15, guidance=3.5, aspect_ratio="custom",
            workflow_id="3",
        )
    ),
    "text2video: timeout_seconds 0 is omitted": lambda c: c.execute_workflow(
        Text2VideoTask("x", timeout_seconds=0)
    ),
    "wait: first query": lambda c: c.wait_for_result("t4"),
    "query": lambda c: c.query_task_result("abc"),
    "cancel": lambda c: c.cancel_task("abc"),
    "resource request": lambda c: c.resource_request("c", "1", "txt2vid"),
}  # fmt: skip


def test_every_vector_has_its_call():
    assert {vector["name"] for vector in VECTORS} == set(CALLS)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_sent_as_recorded(vector, subject, sequencer):
    subject.do(CALLS[vector["name"]], api_key=vector["client_api_key"])
    (seen,) = sequencer.seen
    expected = vector["request"]
    body = dict(seen.body)
    if "job_id" in expected["body"]:
        pattern = re.escape(expected["body"]["job_id"]).replace(re.escape("<10 hex>"), "[0-9a-f]{10}")
        assert re.fullmatch(pattern, body["job_id"])
        body["job_id"] = expected["body"]["job_id"]
    assert (seen.method, seen.path, seen.headers["content-type"]) == (
        expected["method"], expected["path"], expected["content_type"],
    )  # fmt: skip
    assert body == expected["body"]
    assert "authorization" not in seen.headers
    assert seen.headers["user-agent"] == "xalora-client/0.1.0"


def test_a_custom_task_is_sent_as_given(subject, sequencer):
    subject.do(lambda c: c.execute_workflow(CustomTask("img2img", {"a": [1, None, {"b": "ü"}]}, workflow_id="9")))
    body = sequencer.seen[0].body
    assert body["task_type"] == "img2img"
    assert body["task_details"] == {"parameters": {"a": [1, None, {"b": "ü"}]}}
    assert body["workflow_id"] == "9"
