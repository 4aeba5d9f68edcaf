"""Tasks are checked when they are built, and results are read in every documented form."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xalora_client
from xalora_client import (
    CustomTask,
    FluxLoraTask,
    InvalidParameterError,
    TaskStatus,
    Text2VideoTask,
    UpscalerTask,
    WorkflowTask,
    WorkflowTaskResult,
    XaloraError,
    errors,
)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"prompt": ""}, "prompt"), ({"prompt": "  \n"}, "prompt"), ({"prompt": None}, "prompt"),
        ({"prompt": 3}, "prompt"), ({"prompt": "\ud800"}, "prompt"),
        ({"width": 8}, "width"), ({"width": 849}, "width"), ({"width": 848.0}, "width"), ({"width": True}, "width"),
        ({"width": 16384}, "width"), ({"height": "480"}, "height"), ({"height": 0}, "height"),
        ({"length": 36}, "length"), ({"length": 0}, "length"), ({"length": -3}, "length"),
        ({"steps": 0}, "steps"), ({"fps": 0}, "fps"), ({"quality": 101}, "quality"),
        ({"seed": -1}, "seed"), ({"seed": 2**53}, "seed"),
        ({"timeout_seconds": -1}, "timeout_seconds"), ({"timeout_seconds": 1.5}, "timeout_seconds"),
        ({"workflow_id": ""}, "workflow_id"), ({"workflow_id": 1}, "workflow_id"),
        ({"consumer_id": " "}, "consumer_id"), ({"job_id_prefix": ""}, "job_id_prefix"), ({"api_key": ""}, "api_key"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_field_value_and_what_is_allowed(options, field):
    with pytest.raises(InvalidParameterError, match=rf"^{field} is .*Allowed: ") as caught:
        Text2VideoTask(**{"prompt": "a rabbit", **options})
    assert caught.value.field == field


@pytest.mark.parametrize("length", [1, 5, 37, 121])
def test_lengths_of_the_form_4k_plus_1(length):
    assert Text2VideoTask("x", length=length).task_details["parameters"]["length"] == length


@given(st.integers(0, 2**53 - 1), st.integers(1, 256).map(lambda n: n * 16))
def test_everything_in_range_is_sent_as_it_is(seed, width):
    task = Text2VideoTask("x", seed=seed, width=width)
    assert task.task_details == {"parameters": {"prompt": "x", "seed": seed, "width": width}}


@pytest.mark.parametrize("address", ["", "ftp://x/y.png", "/home/me/x.png", "file:///etc/passwd", None])
def test_an_upscale_wants_an_address(address):
    with pytest.raises(InvalidParameterError, match="image_url"):
        UpscalerTask(address)


@pytest.mark.parametrize(
    "options", [{"lora_name": ""}, {"guidance": math.nan}, {"guidance": -1}, {"noise_seed": 2**53}]
)
def test_flux_values(options):
    with pytest.raises(InvalidParameterError):
        FluxLoraTask(**{"prompt": "p", "lora_name": "l.safetensors", **options})


def test_flux_takes_its_own_default_size_though_no_multiple_of_16():
    task = FluxLoraTask("p", "l", width=680, height=1024, guidance=3)
    assert task.task_details["parameters"]["width"] == 680


@pytest.mark.parametrize("parameters", [[], "x", {1: 2}, {"a": math.nan}, {"a": object()}, {"a": "\ud800"}])
def test_custom_parameters_are_json(parameters):
    with pytest.raises(InvalidParameterError, match="parameters"):
        CustomTask("t", parameters)


def test_custom_parameters_cannot_be_changed_from_outside():
    inner = [1]
    task = CustomTask("t", {"a": inner})
    inner.append(2)
    assert task.task_details == {"parameters": {"a": [1]}}


def test_a_kind_of_ones_own_needs_no_constructor():
    class Sketch(WorkflowTask):
        task_type = "sketch"

        def __init__(self, line):
            self.line = line

        @property
        def task_details(self):
            return {"parameters": {"line": self.line}}

    task = Sketch("wavy")
    assert (task.task_type, task.workflow_id, task.timeout_seconds) == ("sketch", None, None)
    with pytest.raises(TypeError, match="abstract"):
        WorkflowTask()


def test_a_tasks_key_is_not_in_its_repr():
    assert "hidden-key" not in repr(Text2VideoTask("x", api_key="hidden-key"))


def read(**answer):
    return WorkflowTaskResult.from_answer(answer, task_id="asked", server="https://s.example/api")


@pytest.mark.parametrize(
    ("result", "url"),
    [
        ("https://m.example/a b.webp", "https://m.example/a b.webp"),
        ({"url": "http://m.example/x.mp4"}, "http://m.example/x.mp4"),
        ("x.mp4", "https://s.example/api/x.mp4"),
        ("/media/x y.mp4", "https://s.example/media/x%20y.mp4"),
        ({"url": "x.mp4"}, "https://s.example/api/x.mp4"),
        ("", None), (None, None), ({}, None), ([], None), (3, None),
        ("file:///etc/passwd", None), ("data:text/plain,x", None), ("http://[bad", None),
    ],
)  # fmt: skip
def test_the_media_url_is_found_in_each_form(result, url):
    assert read(status="finished", result=result).media_url == url


def test_an_unfinished_task_has_no_media():
    assert read(status="failed", result="https://m.example/x").media_url is None


def test_fields_are_typed_and_unknown_ones_kept():
    result = read(
        task_id="t", status="running", create_timestamp="1700000000.5", inference_latency=3, upload_latency="soon",
        timeout_seconds=True, workflow_id=1, msg=["no"], gpu="H100", nested={"a": 1},
    )  # fmt: skip
    assert result.status is TaskStatus.RUNNING
    assert not result.is_final
    assert (result.create_timestamp, result.inference_latency, result.workflow_id) == (1700000000.5, 3.0, "1")
    assert (result.upload_latency, result.timeout_seconds, result.msg) == (None, None, None)
    assert result.extra == {"gpu": "H100", "nested": {"a": 1}}


def test_a_status_reads_as_its_word():
    assert f"{TaskStatus.FINISHED}" == "finished"
    assert read(status="odd").status == "odd"


def test_every_error_survives_pickling_and_says_three_things():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, XaloraError)]
    for kind in kinds:
        if kind is InvalidParameterError:
            error = kind("width", "x" * 200, "less")
        else:
            error = kind("It broke", task_id="t9", advice="Do this.")
            assert str(error) == "It broke (task t9). Do this."
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == str(error)
        assert len(str(error)) < 200


def test_the_facade_is_sorted_and_complete():
    names = xalora_client.__all__
    assert names == sorted(names)
    assert all(hasattr(xalora_client, name) for name in names)
    public = {name for name, kind in vars(errors).items() if isinstance(kind, type) and name.endswith("Error")}
    assert public <= set(names)
