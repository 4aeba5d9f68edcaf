"""What miners and a sequencer send each other, and what is refused of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from xalora_client import InvalidParameterError, ResponseError
from xalora_client.protocol.miner import (
    LARGEST_PREVIEW,
    LONGEST_MESSAGE,
    LONGEST_NAME,
    MOST_WORKFLOWS,
    Assignment,
    Input,
    is_name,
    read_failure,
    read_ids,
    read_instance,
    read_name,
    read_progress,
    read_remark,
    read_seconds,
    read_software,
    read_workflows,
)

TASK = Assignment(
    task_id="t-1",
    task_type="upscaler",
    workflow_id=None,
    parameters={"image": "image/png, 75 bytes"},
    inputs={"image": Input("http://gpu.example/miner_input/abc-0", "image/png", 75)},
    prompt_id="00000000-0000-0000-0000-000000000001",
    lease="secret",
    seconds_left=None,
    upload_url="http://gpu.example/miner_upload/abc",
    attempt=2,
    lease_seconds=30.0,
)


@pytest.mark.parametrize("task", [TASK, replace(TASK, workflow_id="2", seconds_left=12.5, inputs={})])
def test_a_miner_reads_the_task_that_a_sequencer_writes(task):
    assert Assignment.from_json(json.loads(json.dumps(task.to_json()))) == task


def test_old_servers_send_the_details_as_text():
    answer = TASK.to_json()
    answer["task_details"] = json.dumps(answer["task_details"])
    assert Assignment.from_json(answer) == TASK


@pytest.mark.parametrize(
    "change",
    [{"prompt_id": "../history"}, {"task_details": 5}, {"inputs": {"image": {}}}, {"credential": None}],
    ids=lambda change: next(iter(change)),
)
def test_a_task_of_another_form_is_an_error_that_names_it(change):
    with pytest.raises(ResponseError, match="t-1"):
        Assignment.from_json(TASK.to_json() | change)


@pytest.mark.parametrize("name", [None, 5, "", "x" * (LONGEST_NAME + 1), "two\nlines", "\ud800"])
def test_a_name_is_short_and_printable(name):
    with pytest.raises(InvalidParameterError, match="erc20_address"):
        read_name({"erc20_address": name})
    assert read_name({"miner_id": "x" * LONGEST_NAME}, "miner_id") == "x" * LONGEST_NAME


@pytest.mark.parametrize("instance", [5, "", "a-b", "a" * (LONGEST_NAME + 1)])
def test_an_instance_is_letters_and_digits(instance):
    with pytest.raises(InvalidParameterError, match="instance"):
        read_instance({"instance": instance})
    assert read_instance({}) is None


@pytest.mark.parametrize("workflows", [None, {}, "1", [{}] * (MOST_WORKFLOWS + 1)])
def test_there_are_not_too_many_workflows(workflows):
    with pytest.raises(InvalidParameterError, match=str(MOST_WORKFLOWS)):
        read_workflows({"workflows": workflows})
    with pytest.raises(InvalidParameterError, match=str(MOST_WORKFLOWS)):
        read_ids({"workflow_ids": workflows})


def test_of_ids_those_that_can_be_ids_count():
    assert read_ids({"workflow_ids": ["1", 2, True, None, 1.5, "a b", "é", "x" * 101]}) == {"1", "2"}
    assert read_ids({}) == set()
    assert not is_name("")


def test_what_a_miner_says_is_cut_to_one_line():
    assert read_remark({"msg": "two\nlines"}) == "two lines"
    assert len(read_remark({"msg": "x" * 5000}) or "") == LONGEST_MESSAGE
    assert read_remark({"msg": 5}) is None
    assert read_failure({"msg": " ", "error": {"title": "Sampler", "message": "no memory"}}) == "Sampler: no memory"
    assert "did not say why" in read_failure({"error": 5})
    assert read_software({"software": {"comfyui": "0.33.0\n", "device": 5, "more": "x"}}) == {"comfyui": "0.33.0"}


@pytest.mark.parametrize("value", [None, True, "5", -1, float("nan"), float("inf"), 10**400])
def test_what_is_no_number_of_seconds_is_none(value):
    assert read_seconds({"seconds": value}, "seconds") is None
    assert read_progress({"value": value, "maximum": 5}) is None


def test_progress_has_a_short_title_and_a_small_picture():
    preview = "data:image/jpeg;base64," + "A" * (LARGEST_PREVIEW * 4 // 3)
    progress = {"value": 1, "maximum": 5, "title": "two\nlines", "node": "7", "preview": preview}
    assert read_progress(progress) == ({"value": 1, "maximum": 5, "title": "two lines"}, preview)
    assert read_progress(progress | {"preview": preview + "A" * 100}) == (read_progress(progress)[0], None)
    assert read_progress(progress | {"preview": "data:text/html;base64,AA"})[1] is None
    assert read_progress([]) is None
