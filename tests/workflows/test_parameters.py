"""Values that a workflow does not take are refused, and the error says what it takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xalora_client import InvalidParameterError
from xalora_client.workflows import Capability, Parameter, WorkflowKey

PARAMETERS = {
    each.name: each
    for each in (
        Parameter("prompt", "text", "a fox"),
        Parameter("length", "whole", 37, 1, 100, 4),
        Parameter("seed", "whole", 0),
        Parameter("guidance", "number", 3.5, 0, 100),
        Parameter("scale", "number", 1.0),
        Parameter("tiled", "flag", False),
        Parameter("lora_name", "choice", None, choices=("ink.safetensors", "ink.v2", "old", "old.safetensors")),
        Parameter("batch", "choice", 1, choices=(1, 2)),
        Parameter("image", "image"),
    )
}
CAPABILITY = Capability(WorkflowKey("txt2img", "3"), PARAMETERS)
REQUIRED = {"lora_name": "ink", "image": "https://example.com/a.png"}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("prompt", ["", "ä\n🦊"], [None, 1, True, ["a"], "\ud800"]),
        ("length", [1, 37, 97], [0, 2, 101, 37.0, "37", True, None, 10**400]),
        ("seed", [0, -5, 2**53 - 1], [2**53, 0.5]),
        ("guidance", [0, 3.5, 100], [-0.1, 101, float("nan"), float("inf"), "1", True, 10**400]),
        ("scale", [-1e300, 1e300], [float("inf"), 10**400, None]),
        ("tiled", [True, False], [0, 1, "true", None]),
        ("lora_name", ["ink", "ink.safetensors", "ink.v2", "old"], ["Ink", "", "ink.safetensors.safetensors", 1, None]),
        ("batch", [1, 2], [3, "1", True]),
        (
            "image",
            ["http://a/b", "HTTPS://a/b", "data:image/png;base64,"],
            ["a.png", "", 1, None, "file:///etc/passwd"],
        ),
    ],
)
def test_each_kind_takes_its_values_and_no_others(name, good, bad):
    for value in good:
        CAPABILITY.resolve({**REQUIRED, name: value})
    for value in bad:
        with pytest.raises(InvalidParameterError, match=f"^{name} is .*Allowed: ") as refused:
            CAPABILITY.resolve({**REQUIRED, name: value})
        assert refused.value.field == name


def test_the_ending_of_a_model_file_is_added_only_where_it_is_missing():
    resolve = PARAMETERS["lora_name"].resolve
    assert [resolve(each) for each in ("ink", "ink.safetensors", "ink.v2", "old")] == [
        "ink.safetensors", "ink.safetensors", "ink.v2", "old",
    ]  # fmt: skip


def test_the_values_to_use_are_returned_without_those_that_were_not_sent():
    assert CAPABILITY.resolve(REQUIRED) == REQUIRED | {"lora_name": "ink.safetensors"}


def test_a_name_that_is_not_bound_is_refused_with_what_is():
    capability = Capability(WorkflowKey("txt2vid", "1"), {name: PARAMETERS[name] for name in ("prompt", "seed")})
    with pytest.raises(InvalidParameterError) as refused:
        capability.resolve({"cfg": 7})
    assert str(refused.value) == "Workflow txt2vid.1 does not take cfg. It takes: prompt, seed."


def test_a_value_that_must_be_sent_is_asked_for():
    with pytest.raises(InvalidParameterError) as refused:
        CAPABILITY.resolve({"image": "data:,"})
    assert str(refused.value) == (
        "Workflow txt2img.3 needs a value for lora_name. Allowed: one of ink.safetensors, ink.v2, old, old.safetensors."
    )


def test_long_lists_are_cut():
    many = Parameter("lora_name", "choice", choices=tuple(f"{n}.safetensors" for n in range(500)))
    with pytest.raises(InvalidParameterError, match=r"19\.safetensors and 480 more"):
        many.resolve("x")


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=PARAMETERS)
def test_a_parameter_survives_json(parameter):
    assert Parameter.from_json(json.loads(json.dumps(parameter.to_json()))) == parameter


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
FIELDS = {
    "name": st.just("a") | JSON,
    "kind": st.sampled_from(["whole", "number", "choice", "text"]) | JSON,
    "minimum": JSON,
    "step": JSON,
    "choices": JSON,
}


@given(st.fixed_dictionaries({}, optional=FIELDS) | JSON, JSON)
def test_any_capability_is_read_or_refused(data, value):
    """A miner is on the network: what it announces is of any shape, and so is what is checked with it."""
    try:
        capability = Capability.from_json({"task_type": "a", "parameters": [data]})
    except ValueError:
        return
    for parameter in capability.parameters.values():
        try:
            parameter.resolve(value)
        except InvalidParameterError:
            assert parameter.allowed


@pytest.mark.parametrize(
    "data",
    [
        None, [], {}, {"task_type": ""}, {"task_type": "a\n"}, {"task_type": "a" * 101}, {"task_type": 1},
        {"task_type": "a", "workflow_id": 1}, {"task_type": "a", "parameters": {}},
        {"task_type": "a", "parameters": [{"name": "x", "kind": "whole", "minimum": 0.5}]},
        {"task_type": "a", "parameters": [{"name": "x", "kind": "whole", "step": 0}]},
        {"task_type": "a", "parameters": [{"name": "x", "kind": "number", "minimum": 10**400}]},
        {"task_type": "a", "parameters": [{"name": "x", "kind": "number", "maximum": float("nan")}]},
        {"task_type": "a", "parameters": [{"name": "x\n", "kind": "text"}]},
    ],
)  # fmt: skip
def test_what_is_no_capability_is_refused(data):
    with pytest.raises(ValueError, match=r"[a-z]"):
        Capability.from_json(data)


@pytest.mark.parametrize("slashes", ["/\\", "\\/"])
def test_a_model_in_a_folder_is_found_by_the_slashes_of_another_system(slashes):
    own, other = slashes
    choice = Parameter(
        "lora_name", "choice", choices=(f"a{own}b{own}ink.safetensors", f"x{own}y.gguf", f"x{other}y.gguf")
    )
    for sent in (f"a{other}b{other}ink.safetensors", f"a{other}b{other}ink", f"a{own}b{own}ink"):
        assert choice.resolve(sent) == f"a{own}b{own}ink.safetensors"
    assert choice.resolve(f"x{other}y.gguf") == f"x{other}y.gguf"  # Just that is there.
