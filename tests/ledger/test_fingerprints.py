"""When two tasks are one intent, and what is kept of a task."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ledger_steps import SERVER, WHO, claim, records_of
from xalora_client import CustomTask, InvalidParameterError, Text2VideoTask, UpscalerTask, WorkflowTask
from xalora_client.ledger import TaskIdentity
from xalora_client.ledger.fingerprint import LONGEST_TEXT
from xalora_client.protocol.requests import Credentials


class OddTask(WorkflowTask):
    task_type = "odd"
    task_details = None

    def __init__(self, details):
        super().__init__()
        self.task_details = details


def data_uri(content, media_type="image/png"):
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def fingerprint(server, task, who):
    return TaskIdentity.of(server, task, who).fingerprint


def test_what_counts_in_a_fingerprint():
    task = Text2VideoTask("a rabbit", width=848)
    base = fingerprint(SERVER, task, WHO)
    assert len(base) == 64
    same = Text2VideoTask("a rabbit", width=848, job_id_prefix="other", timeout_seconds=60, workflow_id=None)
    assert fingerprint(SERVER, same, Credentials("consumer-1", "another-key")) == base
    others = [
        fingerprint("https://other.example", task, WHO),
        fingerprint(SERVER, task, Credentials("consumer-2", "secret-key")),
        fingerprint(SERVER, Text2VideoTask("a rabbit", width=832), WHO),
        fingerprint(SERVER, Text2VideoTask("a rabbit", width=848, workflow_id="1"), WHO),
        fingerprint(SERVER, CustomTask("other", {"prompt": "a rabbit", "width": 848}), WHO),
    ]
    assert len({base, *others}) == 6
    assert fingerprint(SERVER, CustomTask("txt2vid", {"width": 848.0, "prompt": "a rabbit"}), WHO) == base


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


def exact(value):
    """Tell values apart as JSON does: true is not 1, but 1.0 is."""
    match value:
        case bool():
            return ("bool", value)
        case list():
            return tuple(map(exact, value))
        case dict():
            return ("object", frozenset((name, exact(each)) for name, each in value.items()))
    return value


@given(json_values, json_values)
def test_equal_parameters_and_only_they_have_equal_fingerprints(one, other):
    prints = [TaskIdentity.of(SERVER, CustomTask("kind", {"value": value}), WHO).fingerprint for value in (one, other)]
    assert (prints[0] == prints[1]) == (exact(one) == exact(other))


def test_media_counts_by_its_bytes():
    content = os.urandom(3000)
    task = UpscalerTask(data_uri(content))
    what = TaskIdentity.of(SERVER, task, WHO)
    assert what.parameters["image"].keys() == {"sha256", "bytes", "media_type"}
    assert (what.parameters["image"]["bytes"], what.parameters["image"]["media_type"]) == (3000, "image/png")
    wrapped = "DATA:image/x-png;charset=utf-8;BASE64," + base64.encodebytes(content).decode().replace("+", "%2B")
    assert fingerprint(SERVER, UpscalerTask(wrapped), WHO) == what.fingerprint
    assert fingerprint(SERVER, UpscalerTask(data_uri(content + b"x")), WHO) != what.fingerprint


@pytest.mark.parametrize("uri", ["data:", "data:,a%20b", "data:image/png;base64,!!!x", "data:;base64,é", "data:x"])
def test_odd_data_uris_count_too(uri):
    what = TaskIdentity.of(SERVER, UpscalerTask(uri), WHO)
    assert what.fingerprint != TaskIdentity.of(SERVER, UpscalerTask(f"{uri}abcd"), WHO).fingerprint
    assert set(what.parameters["image"]) == {"sha256", "bytes", "media_type"}


def test_long_texts_are_kept_by_hash():
    texts = ["x" * LONGEST_TEXT, "x" * (LONGEST_TEXT + 1), "x" * LONGEST_TEXT + "y"]
    kept = [TaskIdentity.of(SERVER, CustomTask("kind", {"text": text}), WHO) for text in texts]
    assert kept[0].parameters["text"] == texts[0]
    assert kept[1].parameters["text"]["characters"] == LONGEST_TEXT + 1
    assert len({each.fingerprint for each in kept}) == 3


def test_other_details_than_parameters_are_kept_whole():
    assert TaskIdentity.of(SERVER, OddTask({"parameters": {}, "more": (1, 2.5)}), WHO).parameters == {
        "parameters": {},
        "more": [1, 2.5],
    }
    assert TaskIdentity.of(SERVER, OddTask([1]), WHO).parameters == [1]


@pytest.mark.parametrize("details", [{"x": object()}, {1: "x"}, {"x": float("nan")}, {"x": b"bytes"}])
def test_details_that_are_not_json_are_refused(details):
    with pytest.raises(InvalidParameterError, match="task_details"):
        TaskIdentity.of(SERVER, OddTask(details), WHO)


def test_endless_details_are_refused():
    details = {}
    details["x"] = details
    with pytest.raises(InvalidParameterError, match="task_details"):
        TaskIdentity.of(SERVER, OddTask(details), WHO)


def test_no_key_and_no_media_on_the_disk(ledger, home):
    content = os.urandom(300)
    parameters = {"secret-key": "my secret-key!", "list": ["secret-key"], "image": data_uri(content)}
    task = CustomTask("kind", parameters, api_key="task-own-key")
    for number, who in enumerate((WHO, Credentials("c", "task-own-key"))):
        ledger.created(claim(ledger, TaskIdentity.of(SERVER, task, who)), f"t{number}")
    assert ledger.find("t0").parameters["***"] == "my ***!"
    written = b"".join(path.read_bytes() for path in home.glob("ledger*"))
    assert b"a rabbit" not in written
    assert b"my ***!" in written
    for secret in (b"task-own-key", base64.b64encode(content)[:60]):
        assert secret not in written
    ledger.forget("t1")  # There the key was another's, and "secret-key" only words.
    assert "secret-key" not in str(records_of(ledger))


def test_short_keys_are_not_looked_for():
    what = TaskIdentity.of(SERVER, CustomTask("kind", {"text": "a b c"}), Credentials("c", "b"))
    assert what.parameters == {"text": "a b c"}
