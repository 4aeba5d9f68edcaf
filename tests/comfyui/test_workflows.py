"""The workflow files that come with the project, on real ComfyUIs: all are accepted, the small ones run."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import requests
from PIL import Image

from tests.support.comfyui_process import ComfyUIProcess
from xalora_client.media.decoding import inspect
from xalora_client.workflows import READY_FOLDER, SMALL_FOLDER, CheckedWorkflow, check, read_folder

VIDEO = {"prompt": "a fox", "width": 64, "height": 48, "length": 5, "steps": 7, "seed": 3, "fps": 12, "quality": 60}
IMAGE = {"prompt": "a fox", "lora_name": "ink", "width": 72, "height": 40, "steps": 7, "noise_seed": 3, "guidance": 2.5}
MODELS = {
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "vae_name": "vae",
    "lora_name": "loras",
    "model_name": "upscale_models",
}
"""The folder of the models that each widget chooses from."""


def checked_in(comfy: ComfyUIProcess, folder: Path) -> dict[str, CheckedWorkflow]:
    info = comfy.get("/object_info").json()
    return {each.name: check(each, info) for each in read_folder(folder)}


@pytest.fixture
def ready(comfy: ComfyUIProcess) -> dict[str, CheckedWorkflow]:
    """The ready files, compared with this ComfyUI, which has no models."""
    return checked_in(comfy, READY_FOLDER)


@pytest.fixture
def with_models(comfy: ComfyUIProcess, ready: dict[str, CheckedWorkflow]) -> Iterator[dict[str, CheckedWorkflow]]:
    """The same where files of the models' names are there, empty ones."""
    named = [
        comfy.base / "models" / MODELS[widget] / value
        for each in ready.values()
        for node in each.workflow.nodes.values()
        for widget, value in node["inputs"].items()
        if widget in MODELS
    ]
    for file in named:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    yield checked_in(comfy, READY_FOLDER)
    for file in named:
        file.unlink(missing_ok=True)


def upload(comfy: ComfyUIProcess, picture: Image.Image) -> str:
    """What an image widget takes for this picture."""
    content = io.BytesIO()
    picture.save(content, "PNG")
    stored = requests.post(
        f"{comfy.url}/upload/image", files={"image": ("a.png", content.getvalue())}, data={"type": "temp"}, timeout=30
    ).json()
    return f"{stored['name']} [temp]"


@pytest.fixture
def made(comfy: ComfyUIProcess) -> Callable[..., Path]:
    """Run a small workflow with these values; returns the file with the result."""
    small = checked_in(comfy, SMALL_FOLDER)
    runs = iter(range(1000))

    def make(name: str, **values: Any) -> Path:
        workflow = small[name]
        assert [str(fault) for fault in workflow.faults] == []
        run = comfy.run(workflow.prompt(values, run=f"run-{next(runs)}")).ok()
        (file,) = run.files(*workflow.outputs)
        return file

    return make


def frames(file: Path) -> list[np.ndarray[Any, Any]]:
    """Each frame's pixels [H, W, 3]."""
    if file.suffix == ".mp4":
        with av.open(str(file)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with Image.open(file) as picture:
        shown = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            shown.append(np.asarray(picture.convert("RGB")))
        return shown


def difference(one: list[np.ndarray[Any, Any]], other: list[np.ndarray[Any, Any]]) -> float:
    """The mean difference of two videos' colors, 0 to 255. The encoders do not always do the same with the same."""
    assert len(one) == len(other)
    return float(np.abs(np.subtract(one, other, dtype=np.float64)).mean())


def test_only_models_are_missing_for_the_ready_files(ready: dict[str, CheckedWorkflow]) -> None:
    faults = [str(fault) for each in ready.values() for fault in each.faults]
    assert sorted(ready) == ["txt2img.3", "txt2vid.1", "txt2vid.2", "upscaler"]
    assert faults
    assert [
        fault for fault in faults if "has no model file" not in fault and "no file to choose from" not in fault
    ] == []


def test_with_models_the_ready_files_are_accepted(
    comfy: ComfyUIProcess, with_models: dict[str, CheckedWorkflow]
) -> None:
    """By the check and by ComfyUI, which then finds that the models are empty files."""
    values: dict[str, dict[str, Any]] = {
        "txt2vid.1": VIDEO,
        "txt2vid.2": VIDEO | {"length": 37},
        "txt2img.3": IMAGE | {"lora_name": "your_lora"},
        "upscaler": {"image": upload(comfy, Image.new("RGB", (8, 8)))},
    }
    assert with_models.keys() == values.keys()
    for name, workflow in with_models.items():
        assert [str(fault) for fault in workflow.faults] == []
        answer = comfy.try_queue(workflow.prompt(values[name], run="try"))
        assert (answer.status_code, answer.json()["node_errors"]) == (200, {}), name


def test_an_upscaled_image_is_comfyuis_lanczos_to_the_pixel(comfy: ComfyUIProcess, made: Callable[..., Path]) -> None:
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    (shown,) = frames(made("upscaler", image=upload(comfy, picture)))
    assert np.array_equal(shown, picture.resize((60, 40), Image.Resampling.LANCZOS))


@pytest.mark.parametrize(("name", "kind"), [("txt2vid.1", "mp4"), ("txt2vid.2", "webp")])
def test_a_drawn_video_is_what_was_asked_for(made: Callable[..., Path], name: str, kind: str) -> None:
    info = inspect(made(name, **VIDEO))
    assert (info.format.name, info.width, info.height, info.frames) == (kind, 64, 48, 5)
    assert info.fps == pytest.approx(12, abs=0.1)
    info = inspect(made(name, width=64, height=48))
    assert (info.frames, round(info.fps or 0)) == (37, 24)


@pytest.mark.parametrize("name", ["txt2vid.1", "txt2vid.2"])
def test_a_drawn_video_depends_on_all_that_is_asked(made: Callable[..., Path], name: str) -> None:
    first = frames(made(name, **VIDEO))
    assert difference(first, frames(made(name, **VIDEO))) < 3
    assert difference(first[:1], first[1:2]) > 6
    for change in ({"prompt": "a rabbit"}, {"steps": 12}, {"seed": 4}, {"quality": 5}):
        assert difference(first, frames(made(name, **{**VIDEO, **change}))) > 6, change


def test_a_drawn_image_depends_on_all_that_is_asked(made: Callable[..., Path]) -> None:
    (first,) = frames(made("txt2img.3", **IMAGE))
    assert first.shape == (40, 72, 3)
    assert np.array_equal(first, frames(made("txt2img.3", **IMAGE))[0])
    for change in (
        {"prompt": "a rabbit"},
        {"lora_name": "oil paint"},
        {"steps": 12},
        {"noise_seed": 4},
        {"guidance": 5},
    ):
        assert not np.array_equal(first, frames(made("txt2img.3", **{**IMAGE, **change}))[0]), change
