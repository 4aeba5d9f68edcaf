"""Prompts in API format through a real server: what comes out, down to the pixels."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.comfyui_prompts import (
    flux_lora,
    image,
    keep,
    node,
    save_image,
    save_video,
    show,
    text2video,
    upscale,
)
from tests.support.pictures import unmarked
from tests.support.sandbox_process import SandboxProcess
from tests.support.videos import frames_of
from xalora_client.media.store import MediaStore

WORKFLOWS = sorted(Path(__file__).with_name("workflows").glob("*.json"))
EXAMPLE_PICTURE = (40, 30)


def pixels(seed: int, *shape: int) -> np.ndarray:
    """What the test's image node makes, in 8 bits."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """[H, W, 3 or 4] in 8 bits at twice the size by Lanczos, colours and alpha each by themselves."""
    size = (2 * picture.shape[1], 2 * picture.shape[0])
    parts = [picture[:, :, :3]] + ([picture[:, :, 3]] if picture.shape[2] == 4 else [])
    return np.dstack([Image.fromarray(part).resize(size, Image.Resampling.LANCZOS) for part in parts])


def assert_same_pixels(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal within one step of 8 bits, where the sandbox puts no mark."""
    assert actual.shape == expected.shape
    assert np.abs(unmarked(actual).astype(int) - unmarked(expected).astype(int)).max() <= 1


def test_text_to_video_to_saved_video(comfy: ComfyUIProcess) -> None:
    run = comfy.run(
        {
            "make": text2video("a rabbit on a hill", width=96, height=64, length=9, fps=12),
            "save": save_video(["make", 1]),
            "keep": keep(["make", 0]),
            "show": show(["make", 2]),
        }
    ).ok()
    (file,) = run.files("save")
    assert frames_of(file) == (9, (96, 64), 12.0)
    (kept,) = run.files("keep")
    frames = np.load(kept)
    assert (frames.shape, frames.dtype) == ((9, 64, 96, 3), np.float32)
    assert frames.min() >= 0
    assert 0.2 < frames.max() <= 1
    assert run.output("show")["values"] == [12.0]
    (preview,) = run.files("make")
    assert preview.suffix == ".mp4"
    assert preview.stat().st_size > 0
    assert run.output("make")["animated"] == [True]


def test_a_cached_video_outlives_the_stored_file(comfy: ComfyUIProcess, sandbox: SandboxProcess) -> None:
    make = text2video(seed=78)
    comfy.run({"make": make, "show": show(["make", 2])}).ok()
    home = comfy.base / "xalora"
    for file in home.glob("media/??/*"):
        os.utime(file, (0, 0))  # Long unused.
    assert MediaStore(home).prune(0).files
    assert not list(home.glob("media/??/*"))
    mark = sandbox.mark()
    run = comfy.run({"make": make, "save": save_video(["make", 1], "outlived")}).ok()
    assert frames_of(run.files("save")[0])[:2] == (5, (64, 48))
    assert mark.requests("media/*") == []


def test_frames_are_decoded_only_for_a_node_that_needs_them(comfy: ComfyUIProcess, sandbox: SandboxProcess) -> None:
    """When one is connected later, they are decoded then, and the task is not paid for again."""
    mark, make = sandbox.mark(), text2video(seed=79)
    prompt = {"undecoded": make, "save": save_video(["undecoded", 1], "undecoded")}
    for _ in range(2):
        run = comfy.run(prompt).ok()
        assert not any(text.startswith("decoding") for text in run.texts("undecoded"))
    assert frames_of(run.files("save")[0])[:2] == (5, (64, 48))
    run = comfy.run(prompt | {"keep": keep(["undecoded", 0])}).ok()
    assert np.load(run.files("keep")[0]).shape == (5, 48, 64, 3)
    assert len(mark.requests("task_create")) == 1


@pytest.mark.parametrize("switch", ["TestSwitch", "ComfySwitchNode"])
def test_only_the_branch_that_a_switch_takes_is_paid_for(
    comfy: ComfyUIProcess, sandbox: SandboxProcess, switch: str
) -> None:
    """Also where ours lead to ours; what stands alone, and what something else needs, runs in any case."""
    if not comfy.get(f"/object_info/{switch}").json():
        pytest.skip(f"this ComfyUI has no {switch}")

    def prompts_of(prompt: dict[str, Any]) -> list[str]:
        mark = sandbox.mark()
        comfy.run(prompt).ok()
        made = [task_id for _, task_id, _ in mark.requests("task_create")]
        rows = [sandbox.rows("SELECT task_details FROM tasks WHERE task_id = ?", each)[0][0] for each in made]
        return sorted(json.loads(row)["parameters"].get("prompt", "upscale") for row in rows)

    name = switch[:4]
    branches = {
        "left": flux_lora(f"{name} left"),
        "right": flux_lora(f"{name} right"),
        "larger": upscale(["right", 0]),
        "switch": node(switch, switch=True, on_true=["left", 0], on_false=["larger", 0]),
        "keep": keep(["switch", 0]),
    }
    assert prompts_of(branches) == [f"{name} left"]
    assert prompts_of(branches) == []
    branches["alone"] = flux_lora(f"{name} alone")
    assert prompts_of(branches) == [f"{name} alone"]
    branches["switch"]["inputs"]["switch"] = False
    assert prompts_of(branches) == [f"{name} right", "upscale"]
    both = {
        "left": flux_lora(f"{name} other left"),
        "right": flux_lora(f"{name} other right"),
        "switch": node(switch, switch=True, on_true=["left", 0], on_false=["right", 0]),
        "keep": keep(["switch", 0]),
        "show": show(["right", 1]),
    }
    assert prompts_of(both) == [f"{name} other left", f"{name} other right"]
    ours = {
        "left": flux_lora(f"{name} last left"),
        "right": flux_lora(f"{name} last right"),
        "switch": node(switch, switch=False, on_true=["left", 0], on_false=["right", 0]),
        "larger": upscale(["switch", 0]),
    }
    assert prompts_of(ours) == [f"{name} last right", "upscale"]


def test_progress_is_told_in_the_node(comfy: ComfyUIProcess, paced: SandboxProcess) -> None:
    comfy.use(paced.url)
    run = comfy.run({"told": text2video(seed=77), "show": show(["told", 3])}).ok()
    texts = run.texts("told")
    assert texts[0].startswith(("preparing", "queued 0:00"))
    assert any(text.startswith("running 0:0") for text in texts)
    assert re.fullmatch(r"done · 0:\d\d · 64×48 · 5 frames", texts.pop())
    assert all(text.startswith(("preparing", "queued 0:", "running 0:", "downloading", "decoding")) for text in texts)
    times = [event.at for event in comfy.events if event.type == "text" and event.data["node"] == "told"]
    assert len(times) <= 1 + 4 * (times[-1] - times[0] + 1)


def test_a_loaded_image_enlarged_and_saved(comfy: ComfyUIProcess) -> None:
    picture = pixels(5, 33, 47, 3)
    Image.fromarray(picture).save(comfy.base / "input" / "picture.png")
    run = comfy.run(
        {
            "load": node("LoadImage", image="picture.png"),
            "up": upscale(["load", 0]),
            "save": save_image(["up", 0], "up"),
        }
    ).ok()
    (file,) = run.files("save")
    with Image.open(file) as saved:
        assert_same_pixels(np.asarray(saved), enlarged(picture))


def test_a_video_enlarged_frame_by_frame(comfy: ComfyUIProcess) -> None:
    run = comfy.run(
        {
            "make": text2video(seed=6, fps=12),
            "up": upscale(["make", 0], max_parallel=5),
            "put": node("CreateVideo", images=["up", 0], fps=["make", 2]),
            "save": save_video(["put", 0]),
            "frames": keep(["make", 0]),
            "larger": keep(["up", 0]),
        }
    ).ok()
    (file,) = run.files("save")
    assert frames_of(file) == (5, (128, 96), 12.0)
    frames, larger = (np.load(run.files(node)[0]) for node in ("frames", "larger"))
    for frame, large in zip(frames, larger, strict=True):
        assert_same_pixels((large * 255).round(), enlarged((frame * 255).round().astype(np.uint8)))


def test_a_lora_picture_enlarged(comfy: ComfyUIProcess) -> None:
    run = comfy.run({"make": flux_lora(), "up": upscale(["make", 0]), "save": save_image(["up", 0])}).ok()
    (file,) = run.files("save")
    with Image.open(file) as saved:
        assert saved.size == (128, 160)


def test_submit_now_and_collect_later(comfy: ComfyUIProcess) -> None:
    now = comfy.run(
        {"make": text2video(seed=8, wait=False), "save": save_video(["make", 1]), "id": show(["make", 3])}
    ).ok()
    assert "save" not in now.history["outputs"]
    (task_id,) = now.output("id")["values"]
    collect = {
        "look": node("XaloraTaskStatus", task_id=task_id, wait=True, timeout_seconds=60),
        "save": save_video(["look", 2]),
        "url": show(["look", 3]),
        "info": show(["look", 4]),
    }
    later = comfy.run(collect).ok()
    (file,) = later.files("save")
    assert frames_of(file) == (5, (64, 48), 24.0)
    assert later.output("url")["values"][0].startswith("http://127.0.0.1:")
    assert json.loads(later.output("info")["values"][0])["task_id"] == task_id
    # At its end the task holds still, and so does what hangs on it.
    (cached,) = comfy.run(collect).ok().events("execution_cached")
    assert set(cached.data["nodes"]) == set(collect)


def test_a_look_at_a_task_at_work_is_taken_anew_each_time(comfy: ComfyUIProcess, endless: SandboxProcess) -> None:
    comfy.use(endless.url)
    made = comfy.run({"make": text2video(wait=False, seed=9), "id": show(["make", 3])}).ok()
    (task_id,) = made.output("id")["values"]
    look = {"look": node("XaloraTaskStatus", task_id=task_id), "said": show(["look", 0]), "keep": keep(["look", 1])}
    for _ in range(2):
        run = comfy.run(look).ok()
        assert run.output("said")["values"] == ["running"]
        assert "keep" not in run.history["outputs"]
        (cached,) = run.events("execution_cached")
        assert "look" not in cached.data["nodes"]
    cancel = {"stop": node("XaloraCancelTask", task_id=task_id), "said": show(["stop", 0])}
    assert comfy.run(cancel).ok().output("said")["values"] == ["canceled"]
    assert "already canceled" in comfy.run(cancel).ok().output("said")["values"][0]
    run = comfy.run(look).ok()
    assert run.output("said")["values"] == ["canceled"]


def test_any_workflow_by_its_parameters(comfy: ComfyUIProcess) -> None:
    def any_workflow(task_type: str, **parameters: Any) -> dict[str, Any]:
        return node("XaloraRunWorkflow", task_type=task_type, workflow_id="", parameters=json.dumps(parameters))

    run = comfy.run(
        {
            "moving": any_workflow("txt2vid", prompt="waves", width=64, height=48, length=5, fps=6),
            "still": any_workflow("txt2img", prompt="waves", lora_name="x.safetensors", width=64, height=48),
            "video": save_video(["moving", 1]),
            "none": save_video(["still", 1]),
            "image": save_image(["still", 0]),
        }
    ).ok()
    assert frames_of(run.files("video")[0]) == (5, (64, 48), 6.0)
    assert len(run.files("image")) == 1
    assert "none" not in run.history["outputs"]


def test_odd_images(comfy: ComfyUIProcess) -> None:
    shapes = {
        "pixel": {"batch": 1, "height": 1, "width": 1, "channels": 3},
        "half": {"batch": 2, "height": 8, "width": 9, "channels": 3, "dtype": "float16"},
        "alpha": {"batch": 2, "height": 8, "width": 9, "channels": 4},
    }
    prompt = {}
    for name, shape in shapes.items():
        prompt |= {
            name: image(**shape, seed=3),
            f"{name} up": upscale([name, 0]),
            f"{name} keep": keep([f"{name} up", 0]),
            f"{name} ids": show([f"{name} up", 1]),
        }
    run = comfy.run(prompt).ok()
    for name, shape in shapes.items():
        sent = pixels(3, *(shape[side] for side in ("batch", "height", "width", "channels")))
        result = np.load(run.files(f"{name} keep")[0])
        assert result.dtype == np.float32
        assert len(run.output(f"{name} ids")["values"]) == len(sent)
        for before, after in zip(sent, result, strict=True):
            assert_same_pixels((after * 255).round(), enlarged(before))


@pytest.mark.parametrize(
    "prompt",
    [pytest.param("Ein Häschen, 兎, 🐇", id="not ASCII"), pytest.param("rabbit " * 1429, id="10,000 characters")],
)
def test_odd_prompts(comfy: ComfyUIProcess, sandbox: SandboxProcess, prompt: str) -> None:
    run = comfy.run({"make": text2video(prompt, wait=False), "id": show(["make", 3])}).ok()
    (task_id,) = run.output("id")["values"]
    ((details,),) = sandbox.rows("SELECT task_details FROM tasks WHERE task_id = ?", task_id)
    assert json.loads(details)["parameters"]["prompt"] == prompt


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_examples(comfy: ComfyUIProcess, sandbox: SandboxProcess, file: Path) -> None:
    prompt = json.loads(file.read_text())
    for each in prompt.values():
        if each["class_type"] == "LoadImage":
            size = EXAMPLE_PICTURE
            Image.fromarray(pixels(2, size[1], size[0], 3)).save(comfy.base / "input" / each["inputs"]["image"])
    run = comfy.run(prompt, patience=240).ok()
    kinds = {name: each["class_type"] for name, each in prompt.items()}
    assert any(kind.startswith("Xalora") for kind in kinds.values())
    saved = {name: run.files(name) for name, kind in kinds.items() if kind.startswith("Save") and _gives(prompt, name)}
    for files in saved.values():
        assert all(file.stat().st_size for file in files)
        assert files


def _gives(prompt: dict[str, Any], name: str) -> bool:
    """Whether something comes to a node: nothing does where a task was only submitted."""
    links = [value for value in prompt[name]["inputs"].values() if isinstance(value, list)]
    return prompt[name]["inputs"].get("wait", True) and all(_gives(prompt, link[0]) for link in links)
