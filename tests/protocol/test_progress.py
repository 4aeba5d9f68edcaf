"""What a server says of a task's progress is shown, and what makes no sense is ignored quietly."""

from __future__ import annotations

import base64
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pictures import png
from xalora_client import TaskProgress, WorkflowTaskResult
from xalora_client.protocol.answers import LARGEST_PREVIEW, read_progress
from xalora_client.protocol.parameters import encode_data_uri

JPEG = b"\xff\xd8\xff\xe0 and so on"


def read(**answer):
    return read_progress({"value": 12, "maximum": 30} | answer)


def of(answer):
    """The progress in a whole answer about a task."""
    return WorkflowTaskResult.from_answer(answer, task_id="t1", server="https://sequencer.example")


def test_all_of_it():
    uri = encode_data_uri(JPEG, "image/jpeg")
    assert read(title="KSampler", preview=uri) == TaskProgress(12.0, 30.0, "KSampler", JPEG)
    assert read(preview=encode_data_uri(png(), "image/png")).preview == png()
    assert read().share == 0.4


@pytest.mark.parametrize(
    "numbers",
    [
        {"value": math.nan}, {"value": math.inf}, {"value": -1}, {"value": "12"}, {"value": True}, {"value": None},
        {"value": 10**400}, {"maximum": math.nan}, {"maximum": 0}, {"maximum": -5}, {"maximum": None}, {"maximum": []},
    ],
    ids=repr,
)  # fmt: skip
def test_numbers_that_make_no_sense(numbers):
    assert read(**numbers) is None


def test_more_than_all_is_all():
    assert read(value=31) == TaskProgress(30.0, 30.0)


@pytest.mark.parametrize(
    "preview",
    [
        "https://example.com/a.jpg",
        "data:image/jpeg;base64,***",
        "data:image/jpeg",
        "",
        7,
        ["data:image/jpeg;base64,"],
        encode_data_uri(b"<svg onload='alert(1)'/>", "image/jpeg"),
        encode_data_uri(b"GIF89a", "image/jpeg"),
        encode_data_uri(JPEG + bytes(LARGEST_PREVIEW), "image/jpeg"),
    ],
    ids=lambda preview: str(preview)[:30],
)
def test_what_is_no_picture_is_left_out_and_the_rest_stays(preview):
    assert read(preview=preview) == TaskProgress(12.0, 30.0)


def test_a_title_is_one_short_line():
    assert read(title="KSam\x1b[31m\npler " + "x" * 10_000).title == "KSam [31m pler " + "x" * 44 + "…"
    assert read(title={"a": 1}).title == ""


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda each: st.lists(each)
       | st.dictionaries(st.sampled_from(["value", "maximum", "title", "preview"]) | st.text(), each)))  # fmt: skip
def test_no_value_is_a_reason_to_lose_the_answer(value):
    progress = of({"status": "running", "progress": value}).progress
    assert progress is None or 0 <= progress.share <= 1


def test_only_a_task_that_runs_has_progress():
    steps = {"value": 1, "maximum": 2}
    assert of({"status": "running", "progress": steps}).progress == TaskProgress(1.0, 2.0)
    assert of({"status": "finished", "progress": steps}).progress is None
    assert of({"status": "running", "progress": 50}).progress is None


def test_what_another_server_means_by_these_names_is_kept():
    answer = {"progress": 50, "revision": "v7", "long_poll_seconds": None}
    assert of({"status": "running"} | answer).extra == answer


def test_a_preview_is_not_in_what_is_printed():
    assert base64.b64encode(JPEG).decode() not in repr(read(preview=encode_data_uri(JPEG, "image/jpeg")))
    assert json.dumps(JPEG.decode("latin-1"))[1:-1] not in repr(read(preview=encode_data_uri(JPEG, "image/jpeg")))
