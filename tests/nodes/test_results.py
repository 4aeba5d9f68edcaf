"""What the nodes give: shapes, kinds and values, from a sandbox over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.pictures import png, unmarked
from tests.support.sandbox_process import SandboxProcess
from xalora_client.media.decoding.limits import HEADROOM, FreeMemory

SMALL_VIDEO = {"prompt": "a rabbit on a hill", "width": 64, "height": 48, "length": 5, "steps": 1, "fps": 12}
NO_MEMORY = FreeMemory(HEADROOM, "this test")
SMALL_PICTURE = {"prompt": "a gecko", "lora_name": "gecko.safetensors", "width": 64, "height": 80, "steps": 1}


def picture(batch: int = 1, height: int = 20, width: int = 28, channels: int = 3) -> torch.Tensor:
    """Images of noise that 8 bits hold exactly."""
    pixels = np.random.default_rng(1).integers(0, 256, (batch, height, width, channels))
    return torch.from_numpy(pixels / 255).float()


def enlarged(image: torch.Tensor) -> np.ndarray:
    """One image at twice the size by Lanczos, colours and alpha each by themselves, as values of 0..1."""
    pixels = (image.numpy() * 255).round().astype(np.uint8)
    size = (2 * pixels.shape[1], 2 * pixels.shape[0])
    parts = [pixels[:, :, :3]] + ([pixels[:, :, 3]] if pixels.shape[2] == 4 else [])
    return np.dstack([Image.fromarray(part).resize(size, Image.Resampling.LANCZOS) for part in parts]) / 255


def check_frames(frames: torch.Tensor, *shape: int) -> None:
    assert frames.shape == shape
    assert frames.dtype == torch.float32
    assert frames.device.type == "cpu"
    assert frames.min() >= 0
    assert 0.2 < frames.max() <= 1


def test_text2video(pack: Any, sandbox: SandboxProcess) -> None:
    frames, video, fps, task_id = pack.run("XaloraText2Video", **SMALL_VIDEO)
    check_frames(frames, 5, 48, 64, 3)
    assert isinstance(video, Path)
    assert video.suffix == ".mp4"
    assert (fps, type(fps)) == (12.0, float)
    ((details, workflow),) = sandbox.rows("SELECT task_details, workflow_id FROM tasks WHERE task_id = ?", task_id)
    sent = SMALL_VIDEO | {"quality": 80, "seed": 0}
    assert json.loads(details) == {"parameters": sent}
    assert workflow == "1"


@pytest.fixture
def webp_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path / "webp", video_format="webp")
    monkeypatch.setenv("XALORA_WORKFLOW_URL", process.url)
    yield process
    process.close()


def test_an_animated_webp_is_all_its_frames(pack: Any, webp_sandbox: SandboxProcess) -> None:
    frames, video, fps, _ = pack.run("XaloraText2Video", **SMALL_VIDEO | {"fps": 20})
    check_frames(frames, 5, 48, 64, 3)
    assert fps == 20.0
    # ComfyUI's VIDEO cannot be such a file, so it is the frames and their rate.
    assert video[0] is frames
    assert video[1] == 20


def test_without_a_node_that_needs_them_no_frames_are_decoded(
    pack: Any, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack.part("nodes.execution"), "is_wanted", lambda output: False)
    monkeypatch.setattr(pack.part("xalora_client.media.decoding.limits"), "free_memory", lambda: NO_MEMORY)
    frames, video, fps, task_id = pack.run("XaloraText2Video", **SMALL_VIDEO)
    assert pack.is_blocked(frames)
    assert (video.suffix, fps) == (".mp4", 12.0)
    monkeypatch.setattr(pack.part("nodes.task_status"), "is_wanted", lambda output: False)
    status, frames, video, _, _ = pack.run("XaloraTaskStatus", task_id=task_id)
    assert (status, video.suffix, pack.is_blocked(frames)) == ("finished", ".mp4", True)


@pytest.mark.parametrize("enlarges", [False, True])
def test_what_may_not_fit_into_memory_is_said_before_it_is_paid_for(
    pack: Any, miner: FakeXalora, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, enlarges: bool
) -> None:
    monkeypatch.setattr(pack.part("xalora_client.media.decoding.limits"), "free_memory", lambda: NO_MEMORY)
    said: list[str] = []

    def ends(*_: Any) -> bytes:
        said.extend(record.message for record in caplog.records)
        return png()

    miner.ends = ends
    arguments = {"image": picture(3)} if enlarges else {**SMALL_VIDEO}
    with pytest.raises(pack.error("MediaTooLargeError")) as caught:
        pack.run("XaloraUpscale" if enlarges else "XaloraText2Video", **arguments)
    size = "3 frames of 112 x 80" if enlarges else "5 frames of 64 x 48"
    assert f"as {size}" in said[0]
    if not enlarges:
        assert str(caught.value.path) in str(caught.value)
        assert caught.value.path.read_bytes() == png()


def test_flux_lora(pack: Any, sandbox: SandboxProcess) -> None:
    image, task_id = pack.run("XaloraFluxLora", **SMALL_PICTURE, seed=2**53 - 1, guidance=4.25)
    check_frames(image, 1, 80, 64, 3)
    ((details, workflow),) = sandbox.rows("SELECT task_details, workflow_id FROM tasks WHERE task_id = ?", task_id)
    sent = SMALL_PICTURE | {"guidance": 4.25, "noise_seed": 2**53 - 1}
    assert (json.loads(details)["parameters"], workflow) == (sent, "3")


def test_run_workflow_gives_what_comes(pack: Any, sandbox: SandboxProcess) -> None:
    parameters = {"prompt": "waves", "width": 64, "height": 48, "length": 5}
    frames, video, _ = pack.run(
        "XaloraRunWorkflow", task_type=" txt2vid ", workflow_id=" 7 ", parameters=json.dumps(parameters)
    )
    check_frames(frames, 5, 48, 64, 3)
    assert video.suffix == ".mp4"
    still = {"prompt": "waves", "lora_name": "x.safetensors", "width": 64, "height": 48}
    frames, video, task_id = pack.run(
        "XaloraRunWorkflow", task_type="txt2img", workflow_id="", parameters=json.dumps(still)
    )
    check_frames(frames, 1, 48, 64, 3)
    assert pack.is_blocked(video)
    assert sandbox.rows("SELECT workflow_id FROM tasks WHERE task_id = ?", task_id) == [(None,)]


@pytest.mark.parametrize("channels", [3, 4])
def test_upscale_is_lanczos_to_the_pixel(pack: Any, sandbox: SandboxProcess, channels: int) -> None:
    images = picture(3, channels=channels)
    result, task_ids = pack.run("XaloraUpscale", image=images, max_parallel=2)
    assert result.shape == (3, 40, 56, channels)
    assert result.dtype == torch.float32
    for number in range(3):
        np.testing.assert_allclose(unmarked(result[number]), unmarked(enlarged(images[number])), atol=1 / 255 + 1e-6)
    assert len(set(task_ids)) == 3


NO_IMAGES = {
    "nothing": None,
    "a list": [picture()],
    "a number": 3,
    "NumPy": picture().numpy(),
    "NaN": picture().index_fill(1, torch.tensor([3]), float("nan")),
    "infinity": picture().index_fill(2, torch.tensor([5]), float("-inf")),
    "255": picture() * 255,
    "255 in the last": torch.cat([picture(2), picture() * 255]),
    "-255": picture() * -255,
    "16 bits": (picture() * 65535).to(torch.int32),
    "half 255": (picture() * 255).half(),
    "two axes": torch.zeros(8, 8),
    "channels first": torch.zeros(1, 3, 20, 28),
    "five axes": torch.zeros(1, 1, 8, 8, 3),
    "no image": torch.zeros(0, 8, 8, 3),
    "no row": torch.zeros(1, 0, 8, 3),
}


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("image", NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_is_refused_before_it_is_paid_for(
    pack: Any, miner: FakeXalora, image: Any, wait: bool
) -> None:
    with pytest.raises(pack.error("InvalidParameterError"), match="image must be"):
        pack.run("XaloraUpscale", image=image, wait=wait)
    assert miner.parameters == {}


@pytest.mark.parametrize("form", ["uint8", "int64", "no batch axis", "half", "double", "default dtype"])
def test_what_is_meant_is_put_right(pack: Any, sandbox: SandboxProcess, form: str) -> None:
    image = picture()
    given = {
        "uint8": (image * 255).round().to(torch.uint8),
        "int64": (image * 255).round().long(),
        "no batch axis": image[0],
        "half": image.half(),
        "double": image.double(),
        "default dtype": image,
    }[form]
    if form == "default dtype":
        torch.set_default_dtype(torch.float16)
    try:
        result, _ = pack.run("XaloraUpscale", image=given)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (result.dtype, result.shape) == (torch.float32, (1, 40, 56, 3))
    np.testing.assert_allclose(unmarked(result[0]), unmarked(enlarged(image[0])), atol=1 / 255 + 1e-3)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(picture(1, 1, 1), id="one pixel"),
        pytest.param(picture().half(), id="half precision"),
        pytest.param(picture().to(torch.bfloat16), id="bfloat16"),
        pytest.param(picture() * 3 - 1, id="outside 0..1"),
    ],
)
def test_upscale_takes_odd_images(pack: Any, sandbox: SandboxProcess, image: torch.Tensor) -> None:
    with torch.inference_mode():  # As ComfyUI does.
        result, _ = pack.run("XaloraUpscale", image=image)
    expected = enlarged(image[0].float().clamp(0, 1))
    np.testing.assert_allclose(unmarked(result[0]), unmarked(expected), atol=1 / 255 + 1e-6)


def test_without_wait_media_is_blocked_and_collected_later(pack: Any, sandbox: SandboxProcess) -> None:
    frames, video, fps, task_id = pack.run("XaloraText2Video", **SMALL_VIDEO, seed=3, wait=False)
    assert all(pack.is_blocked(each) for each in (frames, video, fps))
    image, task_ids = pack.run("XaloraUpscale", image=picture(2), wait=False)
    assert pack.is_blocked(image)
    assert len(task_ids) == 2
    image, picture_id = pack.run("XaloraFluxLora", **SMALL_PICTURE, wait=False)
    assert pack.is_blocked(image)
    frames, video, _ = pack.run(
        "XaloraRunWorkflow", task_type="txt2vid", workflow_id="", parameters='{"prompt": "x"}', wait=False
    )
    assert pack.is_blocked(frames)
    assert pack.is_blocked(video)

    said, frames, video, url, info = pack.run("XaloraTaskStatus", task_id=f" {task_id}\n", wait=True)
    assert said == "finished"
    check_frames(frames, 5, 48, 64, 3)
    assert video.suffix == ".mp4"
    assert url.startswith(sandbox.url)
    told = json.loads(info)
    assert told["task_id"] == task_id
    assert told["task_details"]["parameters"]["prompt"] == SMALL_VIDEO["prompt"]
    assert {"create_timestamp", "inference_latency", "upload_latency", "timeout_seconds"} <= set(told)

    said, frames, video, _, info = pack.run("XaloraTaskStatus", task_id=task_ids[1], wait=True)
    check_frames(frames, 1, 40, 56, 3)
    assert pack.is_blocked(video)
    assert len(info) < 1000  # The image itself is not in there.
    check_frames(pack.run("XaloraTaskStatus", task_id=picture_id, wait=True)[1], 1, 80, 64, 3)


def test_task_status_of_a_task_at_work(pack: Any, miner: FakeXalora) -> None:
    link = "https://bucket.example/a.png"
    details = {"parameters": {"image": f"{link}?X-Amz-Date=20260101T000000Z&X-Amz-Signature=abc"}}
    miner.ends = lambda number, parameters: status(
        "running", task_id="task-1", task_type="txt2vid", task_details=details
    )
    *_, task_id = pack.run("XaloraText2Video", **SMALL_VIDEO, wait=False)
    said, frames, video, url, info = pack.run("XaloraTaskStatus", task_id=task_id)
    assert (said, url) == ("running", "")
    assert pack.is_blocked(frames)
    assert pack.is_blocked(video)
    shown = {"parameters": {"image": link}}
    assert json.loads(info) == {
        "task_id": "task-1", "status": "running", "task_type": "txt2vid", "task_details": shown
    }  # fmt: skip


def test_task_status_without_wait_tells_of_a_failure_and_with_wait_is_one(pack: Any, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: status("failed", task_id="task-1", msg="out of memory")
    *_, task_id = pack.run("XaloraText2Video", **SMALL_VIDEO, wait=False)
    said, frames, _, _, info = pack.run("XaloraTaskStatus", task_id=task_id)
    assert said == "failed"
    assert pack.is_blocked(frames)
    assert json.loads(info)["message"] == "out of memory"
    with pytest.raises(pack.error("TaskFailedError"), match=r"out of memory.*task-1"):
        pack.run("XaloraTaskStatus", task_id=task_id, wait=True)


def test_task_status_runs_again_until_the_task_has_ended(pack: Any, miner: FakeXalora) -> None:
    answers = [status("waiting", task_id="task-1"), status("running", task_id="task-1"), png()]
    miner.ends = lambda number, parameters: answers.pop(0) if len(answers) > 1 else answers[0]
    *_, task_id = pack.run("XaloraText2Video", **SMALL_VIDEO, wait=False)
    is_changed = pack.classes["XaloraTaskStatus"].IS_CHANGED
    numbers = []
    for _ in range(3):
        numbers.append(is_changed(task_id=[None], unique_id="17"))
        pack.run("XaloraTaskStatus", task_id=task_id, unique_id="17")
    assert len(set(numbers)) == 3
    assert {is_changed(task_id=[None], unique_id="17") for _ in range(5)} == {numbers[-1]}


def test_cancel_task(pack: Any, miner: FakeXalora) -> None:
    *_, task_id = pack.run("XaloraText2Video", **SMALL_VIDEO, wait=False)
    assert pack.run("XaloraCancelTask", task_id=f" {task_id} ") == ("canceled",)
    assert list(miner.cancelled) == [task_id]


def test_cancelling_a_finished_task_is_no_error(pack: Any, sandbox: SandboxProcess) -> None:
    _, task_id = pack.run("XaloraFluxLora", **SMALL_PICTURE, seed=4)
    (message,) = pack.run("XaloraCancelTask", task_id=task_id)
    assert "already finished" in message


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param("Ein Häschen, 兎, 🐇 im Schnee", id="not ASCII"),
        pytest.param("rabbit " * 1429, id="10,000 characters"),
        pytest.param('{"quotes": "and \\ more"}\n\t', id="JSON"),
    ],
)
def test_prompts_arrive_as_they_are(pack: Any, sandbox: SandboxProcess, prompt: str) -> None:
    *_, task_id = pack.run("XaloraText2Video", **SMALL_VIDEO | {"prompt": prompt}, wait=False)
    ((details,),) = sandbox.rows("SELECT task_details FROM tasks WHERE task_id = ?", task_id)
    assert json.loads(details)["parameters"]["prompt"] == prompt


def test_a_list_of_tasks_is_looked_at_until_all_have_ended(pack: Any, miner: FakeXalora) -> None:
    is_changed = pack.classes["XaloraTaskStatus"].IS_CHANGED
    miner.parameters = {1: {}, 2: {}}
    miner.ends = lambda number, _: status("failed") if number == 1 else status("running")
    numbers = []
    for last in ("running", "running", "failed", "failed"):
        numbers.append(is_changed(unique_id="list"))
        if last == "failed":
            miner.ends = lambda number, _: status("failed")
        for task_id in ("task-2", "task-1"):  # The one that has ended answers last.
            pack.run("XaloraTaskStatus", task_id=task_id, unique_id="list")
    assert numbers[:3] == [1, 2, 3]
    assert numbers[3] == numbers[2] == is_changed(unique_id="list")


@pytest.mark.parametrize("code", [400, 409])
def test_a_server_that_refuses_to_cancel_what_has_ended_is_no_error(pack: Any, miner: FakeXalora, code: int) -> None:
    miner.parameters = {1: {}}
    miner.ends = lambda number, _: status("failed")
    miner.script("task_cancel", Answer({"message": "too late"}, code))
    assert pack.run("XaloraCancelTask", task_id="task-1") == ("too late",)
    miner.ends = lambda number, _: status("running")
    with pytest.raises(pack.error("APIStatusError"), match="too late"):
        pack.run("XaloraCancelTask", task_id="task-1")
