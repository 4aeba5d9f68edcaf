"""The prompt of one run."""

from __future__ import annotations

import copy
import json

import pytest

from tests.support.object_infos import node, object_info
from xalora_client import InvalidParameterError
from xalora_client.workflows import Capability, Workflow, check


@pytest.fixture
def workflow(checked):
    return checked(
        node("LoadImage", "input:image", image="example.png"),
        node("Size", "input:side=width input:side=height", width=64, height=32, length=5),
        node("Lora", "input:lora_name", model=["1", 0], lora_name="ink.safetensors", strength=1),
        node("Save", "another", images=["1", 0], filename_prefix="c"),
        node("Save", "output", images=["1", 0], filename_prefix="d"),
    )


def test_values_are_placed_and_the_others_stay(workflow):
    prompt = workflow.prompt({"image": "a.png [temp]", "side": 128, "lora_name": "ink"}, run="r-1")
    assert prompt["1"] == {"class_type": "LoadImage", "inputs": {"image": "a.png [temp]"}}
    assert prompt["2"]["inputs"] == {"width": 128, "height": 128, "length": 5}
    assert prompt["3"]["inputs"]["lora_name"] == "ink.safetensors"
    assert workflow.prompt({"image": "b.png"}, run="r-2")["2"]["inputs"] == {"width": 64, "height": 32, "length": 5}


def test_every_file_gets_a_name_of_this_run(workflow):
    prompt = workflow.prompt({"image": "a.png"}, run="run-7")
    assert [prompt[each]["inputs"]["filename_prefix"] for each in ("4", "5", "save")] == [
        "c_run-7",
        "d_run-7",
        "a/b_run-7",
    ]


def test_what_a_removed_node_left_over_is_not_sent(checked):
    """ComfyUI accepts it, and then cannot run it."""
    workflow = checked(node("Fps", fps=24, old=["gone", 0], also=["start", 0]))
    assert workflow.faults == ()
    assert workflow.prompt({}, run="r")["1"]["inputs"] == {"fps": 24, "also": ["start", 0]}


@pytest.mark.parametrize(("prefix", "sent"), [(5, "5_r"), ({"__value__": "a"}, "a_r"), (["start", 0], "r")])
def test_every_kind_of_name_is_of_this_run(checked, prefix, sent):
    workflow = checked(node("Save", images=["start", 0], filename_prefix=prefix), saves=False)
    assert (workflow.faults, workflow.prompt({}, run="r")["1"]["inputs"]["filename_prefix"]) == ((), sent)


def test_the_file_itself_is_not_changed(workflow):
    before = copy.deepcopy(workflow.workflow.nodes)
    workflow.prompt({"image": "a.png", "side": 128}, run="r")["2"]["inputs"]["width"] = 7
    assert workflow.workflow.nodes == before


@pytest.mark.parametrize(
    "values", [{}, {"image": "a", "side": 7}, {"image": "a", "cfg": 7}, {"image": "a", "lora_name": "x"}]
)
def test_values_that_the_workflow_does_not_take_are_refused(workflow, values):
    with pytest.raises(InvalidParameterError):
        workflow.prompt(values, run="r")


@pytest.mark.parametrize("run", ["", "../x", "a/b", "a b", "%date%", "a" * 101, "ä"])
def test_a_run_is_named_by_harmless_characters(workflow, run):
    with pytest.raises(ValueError, match="not a name of a run"):
        workflow.prompt({"image": "a.png"}, run=run)


def test_what_is_announced_is_what_the_other_side_reads(workflow):
    capability = Capability.from_json(json.loads(json.dumps(workflow.capability.to_json())))
    assert (str(capability.key), capability.parameters) == ("txt2img.3", workflow.parameters)
    assert capability == workflow.capability


@pytest.mark.parametrize(
    ("declaration", "written", "sent"),
    [
        ([["sdxl/base.safetensors"]], "sdxl\\base.safetensors", "sdxl/base.safetensors"),
        ([["sdxl\\base.safetensors"], {}], "sdxl/base.safetensors", "sdxl\\base.safetensors"),
        (["COMBO", {"options": ["a/b/c.gguf", "x"]}], "a\\b/c.gguf", "a/b/c.gguf"),
        ([["a\\b", "a/b"]], "a/b", "a/b"),
        ([["a/b"], {"multiselect": True}], {"__value__": ["a\\b"]}, {"__value__": ["a/b"]}),
        ([["x.png"], {"image_upload": True}], "sub\\deep\\y.png [output]", "sub/deep/y.png [output]"),
        ([["clips\\x.mp4"]], "clips/x.mp4", "clips\\x.mp4"),
        (["STRING", {}], "a\\b", "a\\b"),
    ],
)
def test_a_file_written_with_the_other_slashes_is_the_one_that_comfyui_lists(info, declaration, written, sent):
    """Windows puts a backslash between folder and file, in its lists and in what it exports."""
    info["Any"] = {"input": {"required": {"file": declaration}}, "output": ["IMAGE"]}
    nodes = {"1": node("Any", file=written), "2": node("Save", images=["1", 0], filename_prefix="x")}
    workflow = check(Workflow.from_nodes("txt2img.json", copy.deepcopy(nodes)), info)
    assert workflow.faults == ()
    assert workflow.prompt({}, run="r")["1"]["inputs"]["file"] == sent


def test_so_it_is_as_the_default_of_a_parameter_and_as_what_is_sent(checked):
    info = object_info(loras=("paint/ink.safetensors", "line.safetensors"))
    lora = node("Lora", "input:lora_name", model=["start", 0], lora_name="paint\\ink.safetensors", strength=1)
    workflow = checked(lora, info=info)
    assert workflow.parameters["lora_name"].default == "paint/ink.safetensors"
    for sent in ({}, {"lora_name": "paint\\ink"}, {"lora_name": "paint\\ink.safetensors"}):
        assert workflow.prompt(sent, run="r")["1"]["inputs"]["lora_name"] == "paint/ink.safetensors"


@pytest.mark.parametrize("written", ["..\\y.png", "C:\\y.png", "\\\\host\\y.png", "\\y.png", "C:/y.png"])
def test_a_picture_outside_of_comfyui_s_folders_is_refused_with_any_slashes(checked, written):
    assert "has no image" in str(checked(node("LoadImage", image=written)).faults)
