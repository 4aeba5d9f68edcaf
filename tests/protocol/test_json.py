"""Tasks and answers as JSON: what comes back is equal, and the key is not in it."""

import json

import pytest

from tests.support.pictures import png
from xalora_client import (
    CustomTask,
    FluxLoraTask,
    InvalidParameterError,
    TaskProgress,
    TaskStatus,
    Text2VideoTask,
    UpscalerTask,
    WorkflowTask,
    WorkflowTaskResult,
)

OPTIONS = {"consumer_id": "me", "job_id_prefix": "mine", "timeout_seconds": 60, "workflow_id": "7"}
TASKS = {
    "video": Text2VideoTask("a rabbit", length=5, **OPTIONS),
    "picture": FluxLoraTask("a gecko", "x.safetensors", guidance=3.5, noise_seed=2**53 - 1),
    "address": UpscalerTask("https://example.com/a.png"),
    "custom": CustomTask("edit", {"a": [1, None, {"b": "ü"}]}, **OPTIONS),
    "custom of a known kind": CustomTask("txt2vid", {"prompt": "a", "own": 1}),
    "custom without what a known kind needs": CustomTask("txt2img", {"prompt": "a"}),
}


def round_trip(value):
    return type(value).from_json(json.loads(json.dumps(value.to_json())))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_comes_back(name):
    assert round_trip(TASKS[name]) == TASKS[name]


def test_it_never_has_the_key():
    task = Text2VideoTask("a rabbit", api_key="secret-key")
    assert "secret-key" not in json.dumps(task.to_json())
    assert round_trip(task).api_key is None


@pytest.mark.parametrize("task", [UpscalerTask, lambda image: CustomTask("edit", {"image": image})])
def test_an_image_goes_along(tmp_path, task):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    made = task(path)
    kept = json.dumps(made.to_json())
    path.unlink()
    again = WorkflowTask.from_json(json.loads(kept))
    assert again.task_details["parameters"]["image"].startswith("data:image/png;base64,")
    with pytest.raises(InvalidParameterError, match="can be read"):
        made.to_json()


class OfTheUsers(WorkflowTask):
    task_type = "edit"
    task_details = {"parameters": {"strength": 0.5}}  # noqa: RUF012 - as users write it


def test_a_class_of_the_users_sends_the_same():
    again = WorkflowTask.from_json(OfTheUsers(workflow_id="2").to_json())
    assert again == CustomTask("edit", {"strength": 0.5}, workflow_id="2")


@pytest.mark.parametrize(
    "wrong",
    [None, [], "x", {}, {"task_type": "a"}, {"task_type": "a", "task_details": []},
     {"task_type": "a", "task_details": {"other": 1}}, {"task_type": "a", "task_details": {"parameters": [1]}},
     {"task_type": "", "task_details": {"parameters": {}}}, {"task_type": 5, "task_details": {"parameters": {}}},
     {"task_type": None, "task_details": {"parameters": {}}}, {"task_details": {"parameters": {}}},
     {"task_type": "txt2vid", "task_details": {"parameters": {"prompt": 5}}},
     {"task_type": "a", "task_details": {"parameters": {}}, "timeout_seconds": "x"}],
    ids=repr,
)  # fmt: skip
def test_what_is_no_task_is_refused(wrong):
    with pytest.raises(InvalidParameterError):
        WorkflowTask.from_json(wrong)


@pytest.mark.parametrize(
    "answer",
    [
        WorkflowTaskResult("t1", TaskStatus.FINISHED, result={"url": "https://e.com/a"}, media_url="https://e.com/a"),
        WorkflowTaskResult("t1", TaskStatus.RUNNING, progress=TaskProgress(3, 30, "KSampler"), extra={"x": [1]}),
        WorkflowTaskResult("t1", "somewhere", more_media_urls=("https://e.com/b",), retry_after=1.5, revision=4),
    ],
    ids=["finished", "running", "odd"],
)
def test_an_answer_comes_back(answer):
    assert round_trip(answer) == answer
    assert round_trip(answer).is_final == answer.is_final


def test_a_preview_stays_behind():
    answer = WorkflowTaskResult("t1", TaskStatus.RUNNING, progress=TaskProgress(3, 30, preview=b"\x89PNG"))
    assert round_trip(answer).progress == TaskProgress(3, 30)


@pytest.mark.parametrize("wrong", [None, 5, [], {}, {"task_id": "t1"}, {"status": "running", "x": 1}, "ab"], ids=repr)
def test_what_is_no_answer_is_refused(wrong):
    with pytest.raises(InvalidParameterError):
        WorkflowTaskResult.from_json(wrong)
