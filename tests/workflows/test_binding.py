"""Titles bind parameters to widgets, and what they say wrongly is reported with its file and node."""

from __future__ import annotations

import json

import pytest

from tests.support.object_infos import node, object_info
from xalora_client.workflows import Parameter

SAMPLE = {"model": ["start", 0], "seed": 5, "steps": 20, "sampler": "euler", "tiled": False}
SIZE = {"width": 64, "height": 64, "length": 5}


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\u200b", "\n"])
def test_a_word_binds_the_widget_of_its_name(checked, blank):
    title = blank.join(["", "My", "sampler", "input:seed", "input:steps", ""])
    workflow = checked(node("Sample", title, **SAMPLE))
    assert workflow.faults == ()
    assert workflow.bindings == {"seed": (("1", "seed"),), "steps": (("1", "steps"),)}


def test_a_word_binds_the_only_value_of_a_node_whatever_it_is_called(checked):
    workflow = checked(node("Prompt", "input:prompt", text="a fox", clip=["start", 0]))
    assert (workflow.faults, workflow.bindings) == ((), {"prompt": (("1", "text"),)})
    assert workflow.parameters["prompt"].default == "a fox"


def test_a_word_may_name_the_widget(checked):
    workflow = checked(node("Sample", "input:noise_seed=seed", **SAMPLE))
    assert workflow.bindings == {"noise_seed": (("1", "seed"),)}


def test_several_nodes_and_widgets_may_take_one_parameter(checked):
    workflow = checked(
        node("Size", "input:side=width input:side=height", **SIZE), node("Size", "input:side=width", **SIZE)
    )
    assert workflow.bindings == {"side": (("1", "width"), ("1", "height"), ("2", "width"))}


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("input:prompt", "input:prompt could be any of seed, steps, sampler, tiled: write input:prompt=WIDGET"),
        ("input:model", "input:model: model comes from another node; bind it there"),
        ("input:x=model", "input:x: model comes from another node; bind it there"),
        ("input:x=cfg", "input:x=cfg: the node has no value cfg; it has seed, steps, sampler, tiled"),
        ("input:", "'input:' binds nothing: write input:NAME, with spaces only between words"),
        ("input: seed", "'input:' binds nothing: write input:NAME, with spaces only between words"),
        ("input:seed,input:steps", "'input:seed,input:steps' binds nothing"),
        ("Input:seed", "'Input:seed' binds nothing"),
        ("INPUTS=seed", "'INPUTS=seed' binds nothing"),
        ("input：seed", "'input：seed' binds nothing"),
        ("Sampler (input:seed)", "'(input:seed)' binds nothing"),
        ("[input:seed input:steps]", "'[input:seed' binds nothing"),
        ("„input:seed“", "'„input:seed“' binds nothing"),
        ("input :seed", "'input :seed' binds nothing"),
        ("input\u200b:seed", "'input :seed' binds nothing"),
        ("Sampler,input:seed", "'Sampler,input:seed' binds nothing"),
        ("input:seed =steps", "'input:seed =steps' is cut by a space: write input:NAME=WIDGET in one word"),
        ("input:seed = steps", "'input:seed =' is cut by a space"),
        ("input:a=seed input:b=seed", "input:a and input:b both set seed: remove one"),
    ],
)
def test_what_a_title_says_wrongly_is_reported(fault, title, said):
    assert fault(node("Sample", title, **SAMPLE)).startswith(f"txt2img.3.json: node 1 ({title}): {said}")


def test_a_node_without_values_binds_nothing(fault):
    assert "input:x binds nothing: the node has no value of its own" in fault(
        node("Preview", "input:x", images=["start", 0])
    )


@pytest.mark.parametrize("title", ["The input of my Outputs, inputs and so on", "user_input: x", "Output: input"])
def test_ordinary_titles_bind_nothing(checked, title):
    workflow = checked(node("Sample", title, **SAMPLE))
    assert (workflow.parameters, workflow.faults) == ({}, ())


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Sampler input:seed input:steps", "Sampler"), ("input:x=seed My  one output", "My one"),
        ("output input:seed", "Sample"), ("My Output", "My Output"), ("输入 input:seed", "输入"),
    ],
)  # fmt: skip
def test_words_that_bind_are_not_shown_to_users(checked, title, shown):
    assert checked(node("Sample", title, **SAMPLE)).titles["1"] == shown


def test_the_same_word_twice_means_once(checked):
    workflow = checked(node("Sample", "input:seed input:seed", **SAMPLE))
    assert (workflow.faults, workflow.bindings) == ((), {"seed": (("1", "seed"),)})


def test_a_file_name_is_never_bound(fault):
    said = fault(node("Save", "input:filename_prefix", images=["start", 0], filename_prefix="x"), saves=False)
    assert "filename_prefix cannot be bound" in said


def test_an_export_without_titles_is_no_use(fault):
    bare = {"class_type": "Save", "inputs": {"images": ["start", 0], "filename_prefix": "x"}}
    assert "no node has a title, so nothing is bound" in fault(bare, saves=False)


def test_a_node_without_title_is_named_by_its_class(checked):
    workflow = checked({"class_type": "Preview", "inputs": {"images": ["start", 0]}}, node("Fps", "input:fps", fps=24))
    assert workflow.titles == {"1": "Preview", "2": "Fps", "start": "Start", "save": "Save"}


def save(title="Save"):
    return node("Save", title, images=["start", 0], filename_prefix="x")


def test_the_only_node_that_saves_has_the_result(checked):
    assert checked(save(), saves=False).outputs == ("1",)


def test_the_marked_node_has_the_result(checked):
    workflow = checked(save(), save("My output"), saves=False)
    assert (workflow.outputs, workflow.faults) == (("2",), ())


@pytest.mark.parametrize("nodes", [[], [save()], [node("Fps", fps=24)]])
@pytest.mark.parametrize("is_known", [True, False])
def test_any_output_of_comfyui_may_have_the_result(checked, info, nodes, is_known):
    """Savers of packs need no ``filename_prefix``. What a run makes is its own all the same."""
    title = "output" if nodes or not is_known else "Their saver"
    saver = node("Preview", title, images=["start", 0])
    workflow = checked(saver, *nodes, saves=False, info=info if is_known else None)
    assert (workflow.outputs, workflow.faults) == (("1",), ())
    assert workflow.prompt({}, run="a")["1"] != workflow.prompt({}, run="b")["1"]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([save(), save()], "nodes 1, 2 save files: put 'output' into the title of the one with the result"),
        ([save("output"), save("output")], "'output' marks nodes 1, 2: a task has one result, so mark one of them"),
        ([node("Fps", fps=24)], "no node saves a file: add Save Image or Save Video"),
        ([save(), node("Fps", "output", fps=24)], "'output' marks a node that is no output of ComfyUI"),
        ([node("Preview", images=["start", 0])] * 2, "nodes 1, 2 save files"),
    ],
)
def test_there_is_one_result(fault, nodes, said):
    assert said in fault(*nodes, saves=False)


@pytest.mark.parametrize(
    ("prefix", "is_outside"),
    [
        ("/tmp/x", True), ("../x", True), ("a/../../x", True), ("C:\\x", True), ("\\\\host\\x", True), ("..", True),
        ("..\\x", True), ("a/../x", False), ("..x", False), ("%date:yyyy-MM-dd%/a", False), ("", False), (5, False),
    ],
)  # fmt: skip
def test_a_file_name_stays_in_the_output_folder(checked, prefix, is_outside):
    faults = checked(node("Save", images=["start", 0], filename_prefix=prefix), saves=False).faults
    assert ["leads out of ComfyUI's output folder" in str(fault) for fault in faults] == [True] * is_outside


@pytest.mark.parametrize(
    ("titles", "said"),
    [
        (["input:x=seed", "input:x=sampler"], "input:x also sets seed of node 1, but one widget takes a whole number"),
        (["input:x=tiled", "input:x=seed"], "but one widget takes true or false, the other a whole number"),
    ],
)
def test_widgets_that_no_value_fits_cannot_share_a_parameter(fault, titles, said):
    assert said in fault(*(node("Sample", title, **SAMPLE) for title in titles))


def test_a_shared_parameter_allows_what_all_its_widgets_allow(checked):
    """Steps of 4 from 1 and of 6 from 7 meet at 13, 25, ...; a whole number meets one with decimals."""
    workflow = checked(
        node("Size", "input:length input:width", **SIZE),
        node("MochiSize", "input:length", length=7),
        node("Scale", "input:width", width=16, image=["start", 0]),
        node("Fps", "input:rate", fps=24),
        node("Count", "input:rate", count=24),
    )
    assert workflow.faults == ()
    length, width, rate = (workflow.parameters[name] for name in ("length", "width", "rate"))
    assert (length.minimum, length.maximum, length.step) == (13, 90, 12)
    assert (width.minimum, width.maximum, width.step) == (16, 64, 8)
    assert (rate.kind, rate.minimum, rate.maximum) == ("whole", 1, 120)


UPLOADS = [
    ("LoadImage", "image", [["a.png"], {"image_upload": True}]),
    (
        "LoadImageOutput",
        "image",
        ["COMBO", {"image_upload": True, "image_folder": "output", "remote": {"route": "/x"}}],
    ),
    ("LoadVideo", "file", ["COMBO", {"options": ["a.mp4"], "video_upload": True}]),
    ("LoadAudio", "audio", [[], {"audio_upload": True}]),
    ("Load3D", "model_file", ["COMBO", {"options": ["none"], "file_upload": True}]),
    ("Painter", "mask", ["STRING", {"image_upload": True}]),
    ("Mine", "source", [["x", "A.PNG [output]"]]),
    ("Mine", "source", ["COMBO", {"options": ["clips/b.webm"]}]),
    ("LoadLatent", "latent", [["a.latent"]]),
    ("LoadFolder", "folder", [["trips"]]),
    ("Mine", "video", [["c.mov"], {}]),
]


@pytest.mark.parametrize(("class_type", "widget", "declaration"), UPLOADS)
def test_a_file_of_comfyui_is_never_chosen_by_its_name(checked, class_type, widget, declaration):
    """It is an image: a file that comes with the task."""
    info = object_info() | {class_type: {"input": {"required": {widget: declaration}}}}
    workflow = checked(node(class_type, f"input:x={widget}", **{widget: "a.png [temp]"}), info=info)
    assert [str(fault) for fault in workflow.faults] == []
    assert workflow.parameters["x"] == Parameter("x", "image")


TEXT = ["STRING", {}]
PATHS = [
    ("LoadImageFromPath", "image", TEXT), ("Mine", "image_path", TEXT), ("Mine", "filePath", TEXT),
    ("Mine", "directory", TEXT), ("Mine", "output_folder", TEXT), ("Save", "filename", TEXT), ("Mine", "prefix", TEXT),
    ("VHS_LoadVideoPath", "video", ["STRING", {"vhs_path_extensions": ["mp4"]}]), ("Mine", "image_url", TEXT),
    ("Mine", "save.subfolder", TEXT), ("Mine", "file", ["CUSTOM"]), ("Mine", "name", ["COMBO", {"remote": {}}]),
]  # fmt: skip


@pytest.mark.parametrize(("class_type", "widget", "declaration"), PATHS)
def test_a_path_cannot_be_set_from_outside(checked, class_type, widget, declaration):
    info = object_info() | {class_type: {"input": {"required": {widget: declaration}}}}
    workflow = checked(node(class_type, f"input:x={widget}", **{widget: "a"}), info=info, saves=False)
    assert "from outside" in str(workflow.faults[0])
    assert workflow.parameters == {}


def test_a_text_that_leads_to_a_path_cannot_be_set_from_outside(checked):
    info = object_info() | {
        "Text": {"input": {"required": {"value": ["STRING", {}]}}},
        "Join": {"input": {"required": {"a": ["STRING", {}], "b": ["STRING", {}]}}},
        "Open": {"input": {"required": {"path": ["STRING", {}]}}},
    }
    nodes = [node("Text", "input:x", value="a"), node("Join", a=["1", 0], b="x"), node("Open", path=["2", 0])]
    workflow = checked(*nodes, info=info)
    assert [fault.node_id for fault in workflow.faults] == ["1"]
    assert "leads to path of node 3" in str(workflow.faults[0])
    assert checked(*nodes[:2], node("Prompt", text=["2", 0], clip=["1", 0]), info=info).faults == ()


@pytest.mark.parametrize(
    ("class_type", "widget", "declaration", "value", "kind"),
    [
        ("IPAdapter", "ipadapter_file", [["ip.safetensors", "b.bin"]], "b.bin", "choice"),
        ("UpscaleModelLoader", "model_name", [["x.pth"]], "x.pth", "choice"),
        ("CheckpointLoader", "config_name", [["v1-inference.yaml"]], "v1-inference.yaml", "choice"),
        ("SaveVideo", "format", [["video/h264-mp4", "auto"]], "auto", "choice"),
        ("Mine", "file_type", [["png", "jpg"]], "png", "choice"),
        ("Mine", "profile", TEXT, "a", "text"),
        ("Mine", "image_size", ["INT", {}], 5, "whole"),
        ("LoraLoader", "text", TEXT, "a", "text"),
    ],
)  # fmt: skip
def test_other_widgets_are_what_they_were(checked, class_type, widget, declaration, value, kind):
    info = object_info() | {class_type: {"input": {"required": {widget: declaration}}}}
    workflow = checked(node(class_type, f"input:x={widget}", **{widget: value}), info=info)
    assert (workflow.parameters["x"].kind, workflow.faults) == (kind, ())


@pytest.mark.parametrize(
    "described",
    [
        None, 5, "text", [], {"input": 5}, {"input": {"required": []}},
        {"input": {"required": {"x": 5}, "optional": 5}},
        {"input": {"required": {"x": ["COMBO", {"options": 5}]}}},
        {"input": {"required": {"x": ["COMFY_DYNAMICCOMBO_V3", {"options": [5]}]}}},
        {"input": {"required": {"x": ["INT", {"min": "many", "max": float("inf"), "step": []}]}}},
        {"input": {"required": {"x": ["FLOAT", {"min": float("nan"), "max": 10**400}]}}},
    ],
)  # fmt: skip
def test_a_node_that_comfyui_describes_wrongly_is_left_out(checked, described):
    workflow = checked(
        node("Odd", "input:x", x=1), node("Fps", "input:fps", fps=24), info=object_info() | {"Odd": described}
    )
    assert all(fault.node_id == "1" for fault in workflow.faults)
    assert "fps" in workflow.parameters
    json.dumps(workflow.capability.to_json(), allow_nan=False)
