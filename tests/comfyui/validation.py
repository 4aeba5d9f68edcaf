"""``python -m tests.comfyui.validation [FOLDER]``: the workflow check against ComfyUI's own word, and a table.

Sound graphs and mutants of them are given to the check and to each ComfyUI's ``POST /prompt``, which must agree. With a
folder, such as one that ``python -m tests.editor.shipped_graphs`` wrote, its API exports are the graphs. Exits with 1
where the check refuses what ComfyUI accepts, or the other way.
"""

from __future__ import annotations

import argparse
import collections
import copy
import itertools
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from tests.support.comfyui_process import ComfyUIProcess, booted, found
from xalora_client.workflows import Workflow, WorkflowFileError, check

Prompt = dict[str, Any]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node; a name with ``__`` is one with a dot."""
    named = {name.replace("__", "."): value for name, value in inputs.items()}
    return {"class_type": class_type, "inputs": named, "_meta": {"title": class_type}}


IMAGE = node("EmptyImage", width=64, height=64, batch_size=2, color=255)


def saved(*before: dict[str, Any], by: dict[str, Any] | None = None, **of: dict[str, Any]) -> Prompt:
    """Nodes numbered from 1, and SaveImage of the first, or another that saves. ``of`` are more nodes, by id."""
    numbered = {str(number): each for number, each in enumerate(before, 1)}
    save = by or node("SaveImage", images=["1", 0])
    return copy.deepcopy(numbered | of | {"save": save | {"inputs": {"filename_prefix": "x"} | save["inputs"]}})


VIDEO = node("CreateVideo", images=["i", 0], fps=8)
GRAPHS: dict[str, Prompt] = {
    "image": saved(
        node("ImageScale", image=["i", 0], upscale_method="area", width=8, height=8, crop="center"), i=IMAGE
    ),
    "loader": saved(node("LoadImage", image="example.png")),
    "subfolder": saved(node("LoadImage", image="sub/b.png")),
    "output folder": saved(node("LoadImage", image="b.png [output]")),
    "mask": saved(node("MaskToImage", mask=["m", 0]), m=node("LoadImageMask", image="example.png", channel="red")),
    "video": saved(VIDEO, i=IMAGE, by=node("SaveVideo", video=["1", 0], format="auto", codec="auto")),
    "loaded video": saved(
        node("LoadVideo", file="b.mp4 [output]"), by=node("SaveVideo", video=["1", 0], format="mp4", codec="h264")
    ),
    "animation": saved(
        IMAGE,
        by=node("SaveAnimatedWEBP", images=["1", 0], fps=6, lossless=True, quality=80, method="default"),
    ),
    "film": saved(IMAGE, by=node("SaveWEBM", images=["1", 0], codec="vp9", fps=24, crf=32)),
    "audio": saved(node("EmptyAudio", duration=1, sample_rate=44100, channels=2), by=node("SaveAudio", audio=["1", 0])),
    "loaded audio": saved(node("LoadAudio", audio="b.wav [output]"), by=node("SaveAudio", audio=["1", 0])),
    "latent": saved(
        node("EmptyLatentImage", width=64, height=64, batch_size=1), by=node("SaveLatent", samples=["1", 0])
    ),
    "loaded latent": saved(node("LoadLatent", latent="sub/b.latent"), by=node("SaveLatent", samples=["1", 0])),
    "flag": saved(
        node("ImageScaleToTotalPixels", image=["i", 0], upscale_method="area", megapixels=["f", 0], resolution_steps=1),
        i=IMAGE,
        f=node("PrimitiveFloat", value=0.5),
    ),
    "matched": saved(
        node("ResizeImageMaskNode", input=["i", 0], resize_type="scale dimensions", scale_method="area",
             resize_type__width=8, resize_type__height=8, resize_type__crop="center"),
        i=IMAGE,
    ),
    "switch": saved(
        node("ComfySwitchNode", switch=["b", 0], on_false=["i", 0], on_true=["i", 0]),
        i=IMAGE, b=node("PrimitiveBoolean", value=True),
    ),
    "growing": saved(node("BatchImagesNode", images__image0=["i", 0], images__image1=["i", 0]), i=IMAGE),
    "text": saved(
        node("CustomCombo", choice="mine", index=0, option1="mine"), by=node("SaveText", text=["1", 0], format="txt")
    ),
    "format": saved(
        node("StringFormat", f_string="{a}", values__a=["s", 0]), s=node("PrimitiveString", value="x"),
        by=node("SaveText", text=["1", 0], format="txt"),
    ),
    "advanced": saved(
        IMAGE,
        by=node("SaveImageAdvanced", images=["1", 0], format="png", format__bit_depth="8-bit",
                format__input_color_space="sRGB"),
    ),
}  # fmt: skip
"""Sound graphs that need no model, by name. Those with nodes that a ComfyUI has not are left out there."""

OWN_RULES = ("come back", "leads out of")
"""Words of faults that are no matter of ComfyUI's."""

CHOICES = ("; allowed: one of", "no model file")
BLIND = ("0.3.64",)
"""Versions that do not look at the choices of V3 nodes: the node fails in the run instead. The check does look."""

SOURCES = {
    "other image": IMAGE,
    "other latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "other whole": node("PrimitiveInt", value=3),
    "other number": node("PrimitiveFloat", value=0.5),
    "other text": node("PrimitiveString", value="x"),
    "other flag": node("PrimitiveBoolean", value=True),
}
VALUES: Sequence[Any] = (
    None, "", "no such", "no such.safetensors", 5, -1, 10**12, 1.5, float(2**40), True, False, "7", " 7 ", "7.5", "1e2",
    "-3", "true", {}, {"__value__": "no such"}, {"__value__": ["a", 0]}, {"a": 1}, [], ["i"], ["i", 0, 0], [["i", 0]],
    [0, 0], [None, 0], ["gone", 0], "gone.png", "../example.png", "auto",
)  # fmt: skip
SLOTS: Sequence[Any] = (1, 2, 99, -1, -9, 0.0, "0", None, True)


def mutants(sound: Prompt, save: str = "save") -> Iterator[tuple[str, Prompt]]:
    """Changes of one place each: (what was changed, the prompt). Whether they are sound is for ComfyUI to say."""

    def changed(where: str, name: str, value: Any, **more: dict[str, Any]) -> Prompt:
        prompt = copy.deepcopy(sound | more)
        prompt[where]["inputs"][name] = copy.deepcopy(value)
        return prompt

    for where, each in sound.items():
        for name, value in each["inputs"].items():
            at = f"{each['class_type']}.{name}"
            without = copy.deepcopy(sound)
            del without[where]["inputs"][name]
            yield f"{at} removed", without
            for other in (*VALUES, {"__value__": value}, [where, 0], [save, 0]):
                yield f"{at} = {json.dumps(other)}", changed(where, name, other)
            if not isinstance(value, list | dict):
                yield f"{at} as text", changed(where, name, str(value))
            for slot in SLOTS if isinstance(value, list) else ():
                yield f"{at} slot {slot}", changed(where, name, [value[0], slot])
            for source, made in SOURCES.items():
                yield f"{at} from {source}", changed(where, name, ["z", 0], z=made)
        for left in (1, None, ["gone", 0], [where, 0], [save, 0]):
            yield f"{each['class_type']} left over {json.dumps(left)}", changed(where, "left over", left)
        if where != save:
            yield f"without {each['class_type']}", {key: value for key, value in sound.items() if key != where}
        yield f"no class {each['class_type']}", copy.deepcopy(sound | {where: each | {"class_type": "NoSuchClass"}})
    for name, more in {
        "unfinished preview": node("PreviewImage"),
        "preview of nothing": node("PreviewImage", images=["gone", 0]),
        "second broken output": node("SaveImage", images=["gone", 0], filename_prefix="y"),
        "loader of nothing": node("LoadImage", image="gone.png"),
        "model of nothing": node("CheckpointLoaderSimple", ckpt_name="gone.safetensors"),
        "a circle apart": node("ImageScaleBy", image=["z", 0], upscale_method="area", scale_by=1),
        "a class that is missing": node("NoSuchClass"),
    }.items():
        yield name, copy.deepcopy(sound | {"z": more})


_MODEL = re.compile(r"[^\n]+\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx|pkl)", re.IGNORECASE)
_FILE = re.compile(
    r"([^\n]+\.(?:png|jpe?g|webp|gif|mp4|webm|mov|wav|mp3|flac|m4a|ogg|glb|obj|ply|fbx|latent|exr|svg))( \[(\w+)\])?",
    re.IGNORECASE,
)


class Verdict(NamedTuple):
    """One prompt: what the check said, and whether ComfyUI accepts it with its result.

    ``what`` names the graph and what was changed; ``kind`` is what comes out.
    """

    what: str
    faults: list[str]
    is_accepted: bool
    kind: str

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.is_accepted == (not self.faults)


@contextmanager
def held(comfy: ComfyUIProcess) -> Iterator[None]:
    """A ComfyUI whose queue stands still meanwhile, and is empty in the end. It needs the helper nodes."""
    blocking = node("TestSampler", seconds=0.0, step=1.0, begin=f"end of {len(comfy.events)}")
    comfy.queue({"1": blocking})
    try:
        yield
    finally:
        comfy.post("/queue", {"clear": True})
        (comfy.base / "input" / blocking["inputs"]["begin"]).touch()


def with_files(comfy: ComfyUIProcess) -> None:
    """Put the files there that the graphs name."""
    for folder in ("input/sub", "output"):
        (comfy.base / folder).mkdir(parents=True, exist_ok=True)
        for name in ("b.latent", "b.mp4", "b.wav"):
            (comfy.base / folder / name).touch()
        Image.new("RGB", (8, 8)).save(comfy.base / folder / "b.png")
    shutil.copyfile(comfy.source / "input" / "example.png", comfy.base / "input" / "example.png")


def judge(comfy: ComfyUIProcess, info: Mapping[str, Any], what: str, prompt: Prompt, result: str) -> Verdict:
    """What both say of a prompt whose result is that node's."""
    prompt = copy.deepcopy(prompt)
    for key, each in prompt.items():
        each["_meta"] = {"title": "output" if key == result else "Node"}
    # Of several outputs some versions drop a broken one without a word, so this one alone must run.
    is_accepted = comfy.post("/prompt", {"prompt": prompt, "partial_execution_targets": [result]}).ok
    try:
        checked = check(Workflow.from_nodes("a.json", prompt), info)
    except WorkflowFileError as error:
        return Verdict(what, [str(error)], is_accepted, "")
    passed = OWN_RULES + (CHOICES if is_accepted and comfy.version in BLIND else ())
    faults = [str(fault) for fault in checked.faults if not any(each in fault.message for each in passed)]
    return Verdict(what, faults, is_accepted, checked.kind)


def compare(comfy: ComfyUIProcess, every: int = 1) -> list[Verdict]:
    """The sound graphs and each ``every``-th of their mutants."""
    info = comfy.get("/object_info").json()
    verdicts = []
    with held(comfy):
        for name, graph in GRAPHS.items():
            if all(each["class_type"] in info for each in graph.values()):
                verdicts.append(judge(comfy, info, name, graph, "save"))
                assert verdicts[-1].is_accepted, f"ComfyUI {comfy.version} does not accept {name}"
                for what, mutant in itertools.islice(mutants(graph), 0, None, every):
                    verdicts.append(judge(comfy, info, f"{name}: {what}", mutant, "save"))
                comfy.post("/queue", {"clear": True})
    return verdicts


def compare_files(comfy: ComfyUIProcess, folder: Path, every: int) -> list[Verdict]:
    """The API exports of a folder and each ``every``-th of their mutants, where all files that they name are there.

    The result is the first node that saves; exports without one are left out.
    """
    graphs = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}
    kinds = [each for each in (comfy.source / "models").iterdir() if each.is_dir()]
    for name in {value for graph in graphs.values() for value in _texts(graph)}:
        named = _FILE.fullmatch(name)
        files = [comfy.base / (named[3] or "input") / named[1]] if named else []
        if _MODEL.fullmatch(name):
            files = [comfy.base / "models" / kind.name / name for kind in kinds]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    info = comfy.get("/object_info").json()
    verdicts = []
    with held(comfy):
        for number, (name, graph) in enumerate(graphs.items()):
            saving = [key for key, each in graph.items() if "filename_prefix" in each["inputs"]]
            if saving:
                verdicts.append(judge(comfy, info, name, graph, saving[0]))
                changes = mutants(graph, saving[0]) if verdicts[-1].is_accepted else iter(())
                for what, mutant in itertools.islice(changes, number % every, None, every):
                    verdicts.append(judge(comfy, info, f"{name}: {what}", mutant, saving[0]))
            comfy.post("/queue", {"clear": True})
    return verdicts


def _texts(graph: Prompt) -> Iterator[str]:
    for each in graph.values():
        yield from (value for value in each["inputs"].values() if isinstance(value, str) and len(value) < 200)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.comfyui.validation", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="API exports, in a folder for each version")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth mutant")
    parsed = parser.parse_args(arguments)
    wrong = 0
    for source in found():
        with tempfile.TemporaryDirectory(prefix="xalora-validation-") as name:
            comfy = ComfyUIProcess(source, Path(name))
            helper = Path(__file__).with_name("helper_nodes")
            shutil.copytree(helper, comfy.base / "custom_nodes" / "helper_nodes")
            comfy.has_api_nodes = parsed.folder is not None
            for running in booted(comfy):
                with_files(running)
                if parsed.folder is None:
                    verdicts = compare(running, parsed.every)
                else:
                    verdicts = compare_files(running, parsed.folder / comfy.version, parsed.every)
        for verdict in verdicts:
            if not verdict.agrees:
                print("refused " if verdict.faults else "accepted", verdict.what, *verdict.faults[:2], sep=" | ")
        table = collections.Counter((each.kind, each.is_accepted, each.agrees) for each in verdicts)
        print(f"ComfyUI {comfy.version}: {len(verdicts)} prompts")
        for kind in sorted({each.kind for each in verdicts}):
            accepted, refused = table[kind, True, True], table[kind, False, True]
            wrongly = table[kind, True, False], table[kind, False, False]
            print(f"  {kind or 'unknown':8} accepted {accepted:5}  refused {refused:5}  wrongly refused {wrongly[0]:4}"
                  f"  wrongly accepted {wrongly[1]:4}")  # fmt: skip
            wrong += sum(wrongly)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
