"""Errors are fit to be shown, and travel between processes."""

from __future__ import annotations

import ast
import pickle

import pytest

import xalora_client
from tests.support.processes import ROOT
from xalora_client import (
    APIStatusError,
    CustomTask,
    InvalidParameterError,
    NetworkError,
    NotFoundError,
    ResponseError,
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


def test_more_is_said_in_a_new_error():
    first = NotFoundError("gone", status_code=404, task_id="t1")
    more = first.derived(what="Later: gone", advice="Ask Ada.", params={"x": 1})
    assert (str(more), more.status_code, type(more)) == ("Later: gone (task t1). Ask Ada.", 404, NotFoundError)
    assert "Later" not in str(first)
    assert first.params == {"message": "gone"}


def test_a_code_may_say_what_happened_and_what_to_do():
    error = NotFoundError("gone", status_code=404).derived(
        what=None, code="task_unknown_to_server", params={"task_id": "t1", "message": "gone"}
    )
    assert str(error).startswith("An earlier run submitted this task, and the server no longer knows it: gone. To run")


def test_no_error_is_changed_after_it_was_raised():
    """Read in the code: nothing but an error's own constructor assigns to one."""
    facts = {"what", "task_id", "advice", "own_advice", "code", "params", "transient", "sent", "remedy", "retry_after"}
    changed = [
        f"{path.name}:{node.lineno}"
        for folder in ("xalora_client", "nodes")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in facts
        if isinstance(node.value, ast.Name) and node.value.id != "self"
    ]
    assert changed == []


@pytest.mark.parametrize(
    ("error", "transient", "sent"),
    [
        (NetworkError("refused", sent="no"), True, "no"),
        (NetworkError("broke off"), True, "maybe"),
        (NetworkError("no such name", sent="no", transient=False), False, "no"),
        *[(APIStatusError("x", status_code=code), False, "no") for code in (307, 400, 401, 402, 404, 413, 422)],
        *[(APIStatusError("x", status_code=code), True, "no") for code in (425, 429)],
        *[(APIStatusError("x", status_code=code), True, "maybe") for code in (408, 500, 502, 503, 504)],
        (APIStatusError("x", status_code=503, retry_after=0.0), True, "no"),
        *[(APIStatusError("x", status_code=code), False, "maybe") for code in (302, 409, 418)],
        (ResponseError("not JSON"), False, "maybe"),
        (StorageError("full"), False, "no"),
        (InvalidParameterError("x", 1, "2"), False, "no"),
    ],
)
def test_the_facts_that_decide_on_sending_again(error, transient, sent):
    assert (error.transient, error.sent) == (transient, sent)
