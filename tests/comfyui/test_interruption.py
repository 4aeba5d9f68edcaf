"""The Cancel button in a real server: every remote task hears of it, and nothing else makes tasks end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess, Run
from tests.support.comfyui_prompts import flux_lora, image, node, show, text2video, upscale
from tests.support.fake_sequencer import status
from tests.support.fake_xalora import FakeXalora
from tests.support.pictures import png
from tests.support.processes import PATIENCE, poll
from tests.support.sandbox_process import SandboxProcess


def four_nodes(seed: int, images: int = 6) -> dict[str, Any]:
    """Three videos and a batch of which two images are at work at once."""
    prompt: dict[str, Any] = {f"make {n}": text2video(seed=seed + n) for n in range(3)}
    prompt |= {f"show {n}": show([f"make {n}", 3]) for n in range(3)}
    return prompt | {
        "images": image(batch=images, seed=seed),
        "up": upscale(["images", 0], max_parallel=2),
        "show": show(["up", 1]),
    }


def check_interrupted(run: Run) -> None:
    assert run.end == "execution_interrupted", run.events("execution_error")
    assert run.events("execution_error") == []
    assert run.history["status"]["status_str"] == "error"  # ComfyUI has no other word for it here.
    assert "execution_interrupted" in [name for name, _ in run.history["status"]["messages"]]


def test_every_open_task_is_cancelled_within_a_second(
    comfy: ComfyUIProcess, endless: SandboxProcess, sandbox: SandboxProcess, figure: Callable[[str], None]
) -> None:
    comfy.use(endless.url)
    mark = endless.mark()
    run = comfy.queue(four_nodes(100))
    poll(lambda: mark.statuses() == ["running"] * 5, what="three videos and two images run")
    began = comfy.interrupt()
    run.wait()
    check_interrupted(run)
    assert mark.statuses() == ["canceled"] * 5
    cancels = mark.requests("task_cancel")
    assert {task_id for _, task_id, _ in cancels} == {task_id for task_id, _ in mark.tasks()}
    slowest = max(time for time, _, _ in cancels) - began
    figure(f"Cancel reached the last of 5 tasks after {slowest:.2f} s")
    assert slowest < 1
    comfy.use(sandbox.url)
    comfy.run({"make": text2video(seed=101), "show": show(["make", 3])}).ok()


def test_a_batch_that_is_partly_done(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    done: set[int] = set()

    def ends(number: int, parameters: dict[str, Any]) -> Any:
        if "image" in parameters and len(done) < 3:
            done.add(number)
        return png() if number in done else status("running", task_id=f"task-{number}")

    miner.ends = ends
    run = comfy.queue(four_nodes(200))
    poll(lambda: len(miner.parameters) == 8 and len(miner.open) == 5, what="three images are done, two at work")
    began = comfy.interrupt()
    check_interrupted(run.wait())
    assert set(miner.cancelled) == {f"task-{number}" for number in range(1, 9) if number not in done}
    assert max(miner.cancelled.values()) - began < 1
    assert len(miner.parameters) == 8


def test_while_a_create_is_in_flight(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    miner.creates.shut()
    run = comfy.queue({"make": text2video(seed=300), "show": show(["make", 3])})
    assert miner.creates.waiting.wait(PATIENCE)
    comfy.interrupt()
    miner.creates.open()
    check_interrupted(run.wait())
    assert list(miner.cancelled) == ["task-1"]
    assert miner.cancelled["task-1"] - miner.creates.answered[0] < 1


def test_while_a_download_is_in_flight(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: (
        png() if "lora_name" in parameters else status("running", task_id=f"task-{number}")
    )
    miner.downloads.shut()
    prompt = {"make": flux_lora(seed=400), "other": text2video(seed=400)}
    run = comfy.queue(prompt | {"show": show(["make", 1]), "show other": show(["other", 3])})
    assert miner.downloads.waiting.wait(PATIENCE)
    began = comfy.interrupt()
    check_interrupted(run.wait())
    assert run.events("execution_interrupted")[0].at - began < 1
    (video,) = [number for number, parameters in miner.parameters.items() if "lora_name" not in parameters]
    assert list(miner.cancelled) == [f"task-{video}"]
    assert miner.cancelled[f"task-{video}"] - began < 1


@pytest.mark.parametrize("step", [0.1, 0.01])
def test_beside_a_sampler_that_hears_of_it_too(comfy: ComfyUIProcess, endless: SandboxProcess, step: float) -> None:
    """The sampler holds the event loop, and at its next step it resets ComfyUI's flag and ends the prompt."""
    comfy.use(endless.url)
    mark = endless.mark()
    begin = comfy.base / "input" / "begin"
    begin.unlink(missing_ok=True)
    beside = f"beside {step}"
    sampler = node("TestSampler", seconds=60.0, step=step, begin=begin.name)
    run = comfy.queue({beside: text2video(beside), "show": show([beside, 3]), "sample": sampler})
    poll(lambda: mark.statuses() == ["running"], what="the video runs")
    poll(lambda: [text for text in run.texts(beside) if text.startswith(("queued", "running"))], what="an id")
    begin.touch()
    poll(lambda: run.events("progress"), what="the sampler samples")
    began = comfy.interrupt()
    check_interrupted(run.wait())
    assert mark.statuses() == ["canceled"]
    assert mark.requests("task_cancel")[0][0] - began < 1


@pytest.mark.parametrize("failing", ["a node that raises", "a corrupt image", "a task that fails"])
def test_another_nodes_failure_cancels_nothing(comfy: ComfyUIProcess, miner: FakeXalora, failing: str) -> None:
    miner.ends = lambda number, parameters: status(
        "failed" if "lora_name" in parameters else "running", task_id=f"task-{number}", msg="out of memory"
    )
    (comfy.base / "input" / "corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\n corrupt")
    prompt = four_nodes(600)
    if failing == "a node that raises":
        prompt["fail"] = node("TestFail", seconds=2.0)
    elif failing == "a corrupt image":
        # It fails at once; the pause lets the others begin.
        prompt["fail"] = node("LoadImage", image="corrupt.png")
        prompt["show it"] = show(["fail", 0])
    else:
        prompt["fail"] = flux_lora(seed=600)
        prompt["show it"] = show(["fail", 1])
    run = comfy.queue(prompt).wait()
    assert run.end == "execution_error"
    assert run.error["node_id"] == "fail"
    assert miner.cancelled == {}
    if failing != "a corrupt image":
        assert len(miner.open) == 5
