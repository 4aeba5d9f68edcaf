"""What the sandbox says while it renders: the progress that there is, and a failure when it is asked for one."""

from __future__ import annotations

import io
from itertools import groupby

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.support.pictures import encoded, png
from xalora_client import (
    Client,
    CustomTask,
    FluxLoraTask,
    TaskFailedError,
    Text2VideoTask,
    UpscalerTask,
    encode_data_uri,
)
from xalora_client.sequencer.rendering import Scene, render

SIZE = {"width": 64, "height": 48}
STEPS = [
    (Text2VideoTask("a rabbit", length=9, **SIZE), "mp4", 9),
    (Text2VideoTask("a rabbit", length=9, **SIZE), "webp", 9),
    (Text2VideoTask("a rabbit", length=1, **SIZE), "mp4", 1),
    (FluxLoraTask("a gecko", "gecko", **SIZE), "mp4", 2),
    (UpscalerTask(png(8, 8)), "mp4", 3),
]


@pytest.mark.parametrize(("task", "video_format", "steps"), STEPS)
def test_a_step_counts_when_it_is_done(task, video_format, steps, tmp_path, monkeypatch):
    drawn, seen = [], []
    at = Scene.at
    monkeypatch.setattr(Scene, "at", lambda scene, seconds: drawn.append(seconds) or at(scene, seconds))
    (tmp_path / "input").write_bytes(png(8, 8))
    step = lambda done, of: seen.append((done, of, len(drawn)))  # noqa: E731
    render(task, {"image": tmp_path / "input"}, tmp_path / "file", video_format=video_format, step=step)
    assert [(done, of) for done, of, _ in seen] == [(done, steps) for done in range(steps + 1)]
    if isinstance(task, Text2VideoTask):
        assert all(count == done for done, _, count in seen)


@pytest.mark.parametrize(("task", "video_format", "steps"), STEPS[:2] + STEPS[3:])
def test_the_steps_go_up_to_the_end(task, video_format, steps, start, home):
    sandbox = start(render_seconds=2, video_format=video_format)
    updates = []
    with Client("a#b", sandbox.url, home=home) as client:
        client.run(task, on_update=updates.append)
    known = [update.progress for update in updates if update.progress is not None]
    assert {(progress.maximum, progress.estimated) for progress in known} == {(steps, False)}
    values = [progress.value for progress in known]
    assert values == sorted(values)
    assert len(set(values)) > 2 or steps == 2
    assert (known[-1].value, updates[-1].status) == (steps, "finished")
    # A step begins when its part of the time has come.
    for progress, update in zip(known[:-1], updates[-len(known) : -1], strict=True):
        assert (progress.value - 1) / steps <= update.elapsed / 2


def letters(picture):
    """In how many rows of a picture one finds the letters of a word, when it is shown 300 pixels wide on white."""
    shown = ImageOps.contain(picture.convert("RGBA"), (300, 300))
    shown = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    rows = np.asarray(shown.convert("L"))[:, : shown.width // 2] > 150
    return sum(sum(is_white for is_white, _ in groupby(row)) in range(6, 14) for row in rows)


@pytest.mark.parametrize("size", [(848, 480), (64, 48), (512, 512), (480, 848), (1024, 256), (1920, 1088)])
@pytest.mark.parametrize("kind", ["video", "animation", "picture", "upscaled", "upscaled, transparent"])
def test_every_output_is_marked_where_one_can_read_it(kind, size, tmp_path):
    (width, height), image = size, b""
    if kind == "picture":
        task = FluxLoraTask("a rabbit", "gecko", width=width, height=height)
    elif kind.startswith("upscaled"):
        color = (255, 255, 255, 0) if kind.endswith("transparent") else "white"
        mode = "RGBA" if kind.endswith("transparent") else "RGB"
        image = encoded(Image.new(mode, (width // 2, height // 2), color))
        task = UpscalerTask(image)
    else:
        task = Text2VideoTask("a rabbit", length=1, width=width, height=height)
    (tmp_path / "input").write_bytes(image)
    file, inputs = tmp_path / "file", {"image": tmp_path / "input"}
    render(task, inputs, file, video_format="webp" if kind == "animation" else "mp4", step=lambda done, of: None)
    if kind == "video":
        with av.open(str(file)) as container:
            picture = next(container.decode(video=0)).to_image()
    else:
        picture = Image.open(file)
    assert picture.size == size
    assert letters(picture) >= 8


@pytest.mark.parametrize("task", [task for task, *_ in STEPS[:1] + STEPS[3:]])
def test_live_previews_of_what_is_made(task, start, home):
    sandbox = start(render_seconds=1.5)
    updates = []
    with Client("a#b", sandbox.url, home=home) as client:
        client.run(task, on_update=updates.append)
    previews = [update.progress.preview for update in updates if update.progress and update.progress.preview]
    assert 1 <= len(previews) <= 4
    for preview in previews:
        with Image.open(io.BytesIO(preview)) as picture:
            assert picture.format == "JPEG"
            assert max(picture.size) == 256


@pytest.mark.parametrize(("share", "failed"), [(0, 0), (0.25, 2), (1 / 3, 2), (0.9, 7), (1, 8)])
def test_the_share_of_tasks_that_fails(start, share, failed):
    sandbox = start(workers=1, fail=share)
    tasks = [sandbox.create("upscaler", image=encode_data_uri(png(8, 8), "image/png")) for _ in range(8)]
    reasons = [end["msg"] for task in tasks if (end := sandbox.wait(task))["status"] == "failed"]
    assert reasons == [f"the sandbox was asked to fail some of its tasks, by --fail {share:g}"] * failed


@pytest.mark.parametrize(
    "task",
    [
        Text2VideoTask("a rabbit [fail]", length=9, **SIZE),
        FluxLoraTask("[fail]", "gecko", **SIZE),
        CustomTask("txt2vid", {"prompt": "so that it [fail]s", "length": 5, **SIZE}),
    ],
)
def test_a_prompt_that_asks_for_it(shared, home, task):
    with Client("a#b", shared.url, home=home) as client, pytest.raises(TaskFailedError) as caught:
        client.run(task)
    assert "The task failed: the sandbox was asked to fail it, by [fail] in its prompt" in str(caught.value)
    assert "Change the parameters" in caught.value.advice
    assert not list((shared.data / "rendering").iterdir())
