"""Errors are fit to be shown, and travel between processes."""

from __future__ import annotations

import pickle

import pytest

import xalora_client
from xalora_client import (
    CustomTask,
    InvalidParameterError,
    NotFoundError,
    StorageError,
    TaskFailedError,
    UpscalerTask,
    XaloraError,
)
from xalora_client.errors import one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines", "two lines"),
        ("bell\x07 and \x1b[31mred", "bell and [31mred"),
        ("right \u202eto\u202c left", "right to left"),
        ("half \ud83d a character", "half a character"),
        ("gr\u00fc\u00dfe \U0001f407", "gr\u00fc\u00dfe \U0001f407"),
    ],
)
def test_text_from_outside_is_one_plain_line(text, shown):
    assert one_line(text) == shown


def test_long_text_is_cut():
    assert one_line("x" * 1_000_000, 10) == "xxxxxxxxx\u2026"
    assert len(one_line("a " * 1_000_000)) <= 300


KINDS = [each for each in vars(xalora_client).values() if isinstance(each, type) and issubclass(each, XaloraError)]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_pickle(kind):
    error = kind("field", 5, "a number") if kind is InvalidParameterError else kind("It failed", task_id="t1")
    error = error.derived(advice="Try again.")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))


def test_details_pickle_too():
    copy = pickle.loads(pickle.dumps(NotFoundError("gone", status_code=404, retry_after=2.0)))
    assert (copy.status_code, copy.retry_after, copy.message) == (404, 2.0, "gone")
    copy = pickle.loads(pickle.dumps(InvalidParameterError("field", lambda: 5, "a number")))
    assert "lambda" in copy.value
    assert pickle.loads(pickle.dumps(TaskFailedError("no", result={"a": 1}))).result == {"a": 1}


def test_a_full_disk_is_no_bad_value():
    assert not issubclass(StorageError, ValueError)


def test_tasks_compare_and_print_by_what_they_send():
    task = CustomTask("a", {"x": 1}, workflow_id="3")
    assert task == CustomTask("a", {"x": 1}, workflow_id="3")
    for other in (CustomTask("b", {"x": 1}, workflow_id="3"), CustomTask("a", {"x": 2}, workflow_id="3"), "a"):
        assert task != other
    assert task != CustomTask("a", {"x": 1})
    assert repr(task) == "CustomTask(task_type='a', task_details={'parameters': {'x': 1}}, workflow_id='3')"
    assert "secret" not in repr(CustomTask("a", api_key="secret"))
    assert len(repr(UpscalerTask("data:image/png;base64," + "A" * 1_000_000))) < 300
