"""A workflow that a ComfyUI cannot run is reported, with its file and node, before any task is taken."""

from __future__ import annotations

import pytest

from tests.support.object_infos import node, object_info
from xalora_client.workflows import Workflow, check

SAMPLE = {"model": ["start", 0], "seed": 5, "steps": 20, "sampler": "euler", "tiled": False}


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (node("Magic", "My pack"), "node 1 (My pack): this ComfyUI has no node Magic: install its pack"),
        (
            node("Load", model_name="big.safetensors"),
            "this ComfyUI has no model file big.safetensors for model_name: put it into its models folder",
        ),
        (node("Sample", **{**SAMPLE, "sampler": "magic"}), "sampler is magic; allowed: one of euler, heun"),
        (node("Sample", **{**SAMPLE, "steps": 0}), "steps is 0; allowed: a whole number from 1 to 10000"),
        (node("Sample", **{**SAMPLE, "steps": "many"}), "steps is 'many'; allowed: a whole number"),
        (node("Fps", fps=500), "fps is 500; allowed: a number from 1 to 120"),
        (node("Fps", "Speed"), "fps has no value: connect or set it, and export again"),
        (node("Preview", images=["77", 0]), "images comes from node 77, which is not in the file: export again"),
        (node("LoadImage", image="gone.png"), "this ComfyUI has no image gone.png: put it into its input folder"),
        (node("Fps", "input:speed", fps=24, old=1), "could be any of fps, old"),
        (node("Fps", "input:x=old", fps=24, old=1), "input:x: Fps has no widget old: export again"),
    ],
)
def test_what_this_comfyui_cannot_run_is_reported(fault, one, said):
    found = fault(one)
    assert found.startswith("txt2img.3.json: node 1 (")
    assert said in found


def test_what_it_can_run_is_not(checked):
    workflow = checked(
        node("Load", model_name="flux.safetensors"),
        node("Sample", **{**SAMPLE, "seed": 2**63}),
        node("LoadImage", image="example.png"),
        node("LoadImage", image="folder/of/mine.png"),
        node("LoadImage", image="mine.png [temp]"),
        node("Scale", "Odd but fine in ComfyUI", width=17, image=["start", 0]),
    )
    assert [str(fault) for fault in workflow.faults] == []


TYPES = {
    "Start": ["IMAGE", "LATENT", ["a", "b"], "STRING,INT", "COMFY_MATCHTYPE_V3", "*"],
    "Takes": {
        "image": ["IMAGE"], "text": ["STRING", {}], "whole": ["INT", {"min": 1, "max": 9}], "number": ["FLOAT", {}],
        "flag": ["BOOLEAN", {}], "old": [["a", "b"]], "new": ["COMBO", {"options": ["a", "b"]}], "any": ["*"],
        "many": ["COMBO", {"options": ["a", "b"], "multiselect": True}], "either": ["IMAGE,MASK"],
        "open": ["COMBO", {"options": []}],
        "match": ["COMFY_MATCHTYPE_V3", {"template": {"allowed_types": "IMAGE"}}], "LoadedFile": [["a.wav"], {}],
        "drawn": ["STRING", {"image_upload": True}],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "sound", "broken"),
    [
        ("image", [["start", 0], ["start", -6], ["start", 4], ["start", 5], None, "x"],
         [["start", 1], ["start", 6], ["start", -7], ["start", "0"], ["start", None], ["start", 0, 0], [], [0, 0],
          ["gone", 0], ["1", 0], ["save", 0], [["start"], 0]]),
        ("text", ["", 5, None, {"a": 1}, ["start", 3]], [["start", 0], ["a"], ["a", "b"]]),
        ("whole", [5, "5", " 7 ", 5.9, True, {"__value__": "5"}], [None, "", "5.5", "x", 0, 10, {}, 1e400, False]),
        ("number", [5, "1e2", -1.5, True, {"__value__": 5}], [None, "x", {}, {"__value__": None}]),
        ("flag", [None, 0, "x", {}], [["start", 0]]),
        ("old", ["a", {"__value__": "b"}, ["start", 5]], ["c", None, 1, {}, ["start", 0], ["start", 1]]),
        ("new", ["a", ["start", 2], ["start", 4]], ["c", None, ["start", 1]]),
        ("many", [{"__value__": ["a", "b"]}, "a"], [{"__value__": ["a", "c"]}, "c"]),
        ("any", [["start", 0], ["start", 2], "x", None], [["start", 9]]),
        ("either", [["start", 0]], [["start", 1]]),
        ("match", [["start", 0], ["start", 1]], []),
        ("open", ["mine", 5], ["mine.safetensors"]),
        ("drawn", ["b.png", ""], []),
        ("LoadedFile", ["a.wav", "sub/b.wav", "b.wav [output]", "b.wav[temp]", ""],
         ["b.wav", "../b.wav [input]", 5, None]),
    ],
)  # fmt: skip
def test_values_and_links_are_judged_as_comfyui_judges_them(name, sound, broken):
    """tests/comfyui compares more of them with the real one."""
    info = {
        "Start": {"input": {}, "output": TYPES["Start"]},
        "Takes": {"input": {"required": {name: TYPES["Takes"][name]}}, "output": ["IMAGE"], "output_node": False},
        "Save": {"input": {"required": {"images": ["IMAGE"]}}, "output": ["IMAGE"], "output_node": True},
    }

    def is_sound(**inputs):
        nodes = {
            "start": node("Start"), "1": node("Takes", **inputs),
            "save": node("Save", images=["1", 0], filename_prefix="x"),
        }  # fmt: skip
        return not check(Workflow.from_nodes("a.json", nodes), info).faults

    assert [value for value in sound if not is_sound(**{name: value})] == []
    assert [value for value in broken if is_sound(**{name: value})] == []
    assert not is_sound()


@pytest.mark.parametrize(
    "unneeded",
    [
        node("Preview"), node("Preview", images=["gone", 0]), node("LoadImage", image="gone.png"),
        node("Load", model_name="gone.pth"), node("Sample"), node("Fps", fps=["2", 0]),
        node("Save", filename_prefix="x"),
    ],
)  # fmt: skip
def test_what_the_result_does_not_need_does_not_count(checked, unneeded):
    result = node("Save", "output", images=["start", 0], filename_prefix="x")
    assert checked(result, unneeded, saves=False).faults == ()


@pytest.mark.parametrize(
    ("types", "kind"),
    [
        (["AUDIO"], "audio"), (["STRING"], "text"), (["SVG"], "SVG"), (["MESH"], "3D"), (["FILE_3D_GLB"], "3D"),
        (["LATENT"], "latent"), (["STRING", "AUDIO"], "audio"),
        (["IMAGE"], "image"), (["VIDEO"], "video"), (["IMAGE", "AUDIO"], "image"), (["MYTYPE"], ""), (["*"], ""),
        (["MYTYPE", "STRING"], ""), (["FLOAT", "MASK"], "image"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("saver", [{"filename_prefix": "x"}, {}], ids=["saved", "shown"])
def test_what_comes_out_is_known_before_a_run(types, kind, saver):
    info = {
        "Start": {"input": {}, "output": types, "output_node": False},
        "End": {"input": {"required": {f"in{n}": ["*"] for n in range(len(types))}}, "output_node": True},
    }
    links = {f"in{n}": ["start", n] for n in range(len(types))}
    nodes = {"start": node("Start"), "end": node("End", **links, **saver)}
    workflow = check(Workflow.from_nodes("a.json", nodes), info)
    said = [fault.message for fault in workflow.faults]
    if kind not in ("", "image", "video"):
        assert said == [f"only {kind} comes out, and only images and videos come back: add Save Image or Save Video"]
    elif saver:
        assert (workflow.kind, said) == (kind, [])


@pytest.mark.parametrize("output", [5, "IMAGE", [], [5], [["a"], None], {}, None])
@pytest.mark.parametrize("saver", ["Save", "Magic"])
def test_a_comfyui_that_describes_outputs_wrongly_ends_no_check(output, saver):
    info = object_info()
    info["Start"]["output"] = output
    nodes = {"1": node("Start"), "2": node(saver, "output", images=["1", 0], filename_prefix="x")}
    assert check(Workflow.from_nodes("a.json", nodes), info).kind == ""


def test_the_path_of_a_model_is_no_text():
    info = {
        "Start": {"input": {}, "output": ["STRING"], "output_node": False},
        "Preview3D": {"input": {"required": {"file": ["STRING,FILE_3D_GLB"]}}, "output_node": True},
    }
    nodes = {"1": node("Start"), "2": node("Preview3D", file=["1", 0])}
    (fault,) = check(Workflow.from_nodes("a.json", nodes), info).faults
    assert fault.message.startswith("only 3D comes out")


def test_every_fault_is_reported(checked):
    workflow = checked(node("Magic", "input:x", fps=["2", 0]), node("Fps", "input:fps=speed", fps=0.5))
    assert [fault.node_id for fault in workflow.faults] == ["1", "1", "2", "2"]


def test_seeds_stop_where_json_numbers_do(checked):
    parameter = checked(node("Sample", "input:seed", **SAMPLE)).parameters["seed"]
    assert (parameter.minimum, parameter.maximum, parameter.default) == (0, 2**53 - 1, 5)


def test_kinds_ranges_and_defaults_are_those_of_the_widgets(checked):
    workflow = checked(
        node("Sample", "input:steps input:sampler input:tiled", **SAMPLE),
        node("Size", "input:width", width=64, height=64, length=5),
        node("Fps", "input:fps", fps=24),
        node("Prompt", "input:prompt", text="a fox", clip=["1", 0]),
        node("LoadImage", "input:image", image="not there.png"),
    )
    assert workflow.faults == ()
    shown = {name: (each.kind, each.default, each.allowed) for name, each in workflow.parameters.items()}
    assert shown == {
        "steps": ("whole", 20, "a whole number from 1 to 10000"),
        "sampler": ("choice", "euler", "one of euler, heun"),
        "tiled": ("flag", False, "true or false"),
        "width": ("whole", 64, "a whole number from 16 to 16384, a multiple of 8"),
        "fps": ("number", 24, "a number from 1 to 120"),
        "prompt": ("text", "a fox", "a text"),
        "image": ("image", None, "an http or https URL that the miner can reach, or a data: URI"),
    }


def test_a_bound_choice_needs_no_default_as_long_as_there_are_others(checked):
    """Each miner has LoRAs of its own; the file's need not be among them."""
    parameter = checked(
        node("Lora", "input:lora_name", model=["start", 0], lora_name="mine.safetensors", strength=1)
    ).parameters
    assert parameter["lora_name"].required


def test_a_bound_choice_that_only_the_editor_knows_takes_any_text(checked):
    info = object_info() | {"CustomCombo": {"input": {"required": {"choice": ["COMBO", {"options": []}]}}}}
    combo = node("CustomCombo", "input:style=choice", choice="ink", index=0, option1="ink", option2="oil")
    workflow = checked(combo, info=info)
    assert (workflow.faults, workflow.parameters["style"].kind) == ((), "text")


def test_values_that_comfyui_converts_are_defaults_of_the_right_type(checked):
    sample = SAMPLE | {"steps": "20", "sampler": {"__value__": "heun"}}
    parameters = checked(node("Sample", "input:steps input:sampler", **sample)).parameters
    assert (parameters["steps"].default, parameters["sampler"].default) == (20, "heun")


def test_a_bound_choice_of_nothing_is_a_fault(fault):
    lora = node("Lora", "input:lora_name", model=["start", 0], lora_name="mine.safetensors", strength=1)
    assert "lora_name: this ComfyUI has no file to choose from" in fault(lora, info=object_info(loras=()))


def test_inputs_that_a_choice_brings_with_it_are_known():
    """V3's dynamic choices, such as SaveVideo's: format "auto" brings format.codec."""
    codec = [
        "COMFY_DYNAMICCOMBO_V3",
        {"options": [{"key": "h264", "inputs": {"required": {"crf": ["INT", {"max": 51}]}}}]},
    ]
    options = [{"key": "auto", "inputs": {"required": {"codec": codec}}}, {"key": "gif", "inputs": {}}]
    required = {"format": ["COMFY_DYNAMICCOMBO_V3", {"options": options}], "filename_prefix": ["STRING", {}]}
    info = {"Save": {"input": {"required": required}}}

    def checked(**inputs):
        nodes = {"1": node("Save", "input:crf=format.codec.crf", filename_prefix="x", **inputs)}
        return check(Workflow.from_nodes("txt2vid.1.json", nodes), info)

    good = checked(**{"format": "auto", "format.codec": "h264", "format.codec.crf": 20})
    assert (good.faults, good.parameters["crf"].maximum) == ((), 51)
    # ComfyUI does not look at an unknown dynamic choice; the inputs of the others are then left over.
    (fault,) = checked(**{"format": "auto", "format.codec": "av1", "format.codec.crf": 20}).faults
    assert fault.message == "input:crf: Save has no widget format.codec.crf: export again"


def test_inputs_that_a_choice_brings_may_be_missing():
    """A file exported by an older ComfyUI has format and codec side by side; newer ones run it."""
    codec = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "auto", "inputs": {"required": {}}}]}]
    options = [{"key": "auto", "inputs": {"required": {"codec": codec}}}]
    required = {"format": ["COMFY_DYNAMICCOMBO_V3", {"options": options}], "filename_prefix": ["STRING", {}]}
    nodes = {"1": node("Save", filename_prefix="x", format="auto", codec="auto")}
    workflow = check(Workflow.from_nodes("txt2vid.1.json", nodes), {"Save": {"input": {"required": required}}})
    assert workflow.faults == ()


def test_a_widget_of_an_unknown_type_takes_what_its_value_is_like():
    required = {
        "color": ["COLOR", {}],
        "either": ["FLOAT,INT", {}],
        "curve": ["CURVE", {}],
        "filename_prefix": ["STRING"],
    }
    nodes = {
        "1": node(
            "Save",
            "input:color input:either input:curve",
            color="#fff",
            either=1,
            curve={"__value__": [[0, 1], [1, 0]]},
            filename_prefix="x",
        )
    }
    workflow = check(Workflow.from_nodes("a.json", nodes), {"Save": {"input": {"required": required}}})
    assert {name: each.kind for name, each in workflow.parameters.items()} == {"color": "text", "either": "number"}
    assert [each.message for each in workflow.faults] == [
        "input:curve: curve holds nothing that can be set from outside"
    ]


def test_choices_that_are_fetched_from_elsewhere_are_not_judged():
    info = {
        "Save": {"input": {"required": {"url": ["COMBO", {"remote": {"route": "/x"}}], "filename_prefix": ["STRING"]}}}
    }
    nodes = {"1": node("Save", url="anything", filename_prefix="x")}
    assert check(Workflow.from_nodes("a.json", nodes), info).faults == ()


def test_without_a_comfyui_kinds_are_guessed_from_the_values(checked):
    workflow = checked(
        node("Magic", "input:a input:b input:c input:d", a="x", b=True, c=1, d=0.5),
        node("LoadImage", "input:image", image="x.png"),
        node("Load", "input:oops input:e=nothing", model=["1", 0]),
        info=None,
    )
    kinds = {name: each.kind for name, each in workflow.parameters.items()}
    assert kinds == {"a": "text", "b": "flag", "c": "number", "d": "number", "image": "image"}
    assert [fault.node_id for fault in workflow.faults] == ["3", "3"]


@pytest.mark.parametrize("class_type", ["workflow>my", "workflow/my", "f2fdebf6-dfaf-43b6-9eb2-7f70613cfdc1"])
@pytest.mark.parametrize("info", [None, object_info()], ids=["alone", "with a ComfyUI"])
def test_a_group_that_the_export_left_closed_is_named(class_type, info):
    nodes = {"1": node(class_type, "input:seed"), "9": node("Save", images=["1", 0], filename_prefix="x")}
    faults = check(Workflow.from_nodes("upscaler.json", nodes), info).faults
    assert any("ungroup it" in fault.message for fault in faults)


SIZED = {"1": node("ImageScaleBy", scale_by=2), "2": node("UpscaleModelLoader", model_name="4x-UltraSharp.pth")}


@pytest.mark.parametrize(
    ("nodes", "factor", "models"),
    [
        ({"1": SIZED["1"]}, 2, ()),
        ({"1": node("UltimateSDUpscale", upscale_by=1.5)}, 1.5, ()),
        ({"2": SIZED["2"]}, None, ("4x-UltraSharp.pth",)),
        ({**SIZED, "1": node("ImageScaleBy", scale_by=0.5, model=["2", 0])}, None, ("4x-UltraSharp.pth",)),
        ({"1": node("ImageScaleBy", "input:factor=scale_by", scale_by=2)}, None, ()),
        ({"1": node("Load", "input:model=model_name", model_name="sub/a.pth")}, None, ()),
        ({"1": node("ImageScaleBy", scale_by=["2", 0]), "2": node("Half", value=0.5)}, None, ()),
        ({"1": node("ImageScaleBy", scale_by=2, image=["2", 0]), "2": node("ImageCrop", width=8)}, None, ()),
        ({"1": node("LoadImage"), "2": SIZED["1"], "3": SIZED["2"]}, None, ()),
    ],
    ids=str,
)
def test_the_factor_and_the_models_that_are_always_used_are_told(nodes, factor, models):
    saved = {**nodes, "9": node("Save", images=[min(nodes), 0], filename_prefix="x")}
    capability = check(Workflow.from_nodes("upscaler.json", saved), None).capability
    assert (capability.factor, capability.models) == (factor, models)
    assert type(capability).from_json(capability.to_json()) == capability
