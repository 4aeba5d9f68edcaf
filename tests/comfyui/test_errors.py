"""The error dialog's words, for the mistakes people make and the failures they meet."""

from __future__ import annotations

from typing import Any

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.comfyui_prompts import flux_lora, image, keep, node, show, text2video, upscale
from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.sandbox_process import SandboxProcess


def dialog(comfy: ComfyUIProcess, prompt: dict[str, Any]) -> str:
    run = comfy.run(prompt)
    assert run.end == "execution_error"
    return run.error["exception_message"].strip()


def test_a_failed_task(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: status("failed", task_id="task-1", msg="out of memory")
    assert dialog(comfy, {"make": text2video(), "show": show(["make", 3])}) == (
        "The remote machine ran out of memory. Use a smaller size or fewer frames. This computer is not the reason. "
        "(The task failed: out of memory · task task-1)."
    )


def test_a_failed_image_of_a_batch(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: status("failed", task_id=f"task-{number}", msg="out of memory")
    prompt = {"images": image(batch=2), "up": upscale(["images", 0], max_parallel=1), "show": show(["up", 1])}
    assert dialog(comfy, prompt).startswith("Image 1 of 2: The remote machine ran out of memory.")


def test_no_credit(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    miner.script("task_create", Answer({"message": "insufficient credit"}, 402))
    assert dialog(comfy, {"make": flux_lora(), "show": show(["make", 1])}) == (
        "The account does not have enough credit. Top up the account, then run again. "
        "(The server answered 402: insufficient credit)."
    )


def test_a_create_whose_answer_is_lost(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    miner.script("task_create", Answer(drop=True))
    said = dialog(comfy, {"make": text2video(), "show": show(["make", 3])})
    assert said.startswith("It is not certain that the server has the task. It may have been created")
    assert f"No answer from {miner.url}" in said
    assert miner.count("task_create") == 1


def test_a_wrong_id(comfy: ComfyUIProcess) -> None:
    assert dialog(comfy, {"look": node("XaloraTaskStatus", task_id="no-such-task")}) == (
        "The server cannot find what was asked for. Check the task id and the server in Settings → Xalora. "
        "(The server answered 404: there is no such task · task no-such-task)."
    )


def test_an_empty_batch(comfy: ComfyUIProcess, sandbox: SandboxProcess) -> None:
    mark = sandbox.mark()
    said = dialog(comfy, {"images": image(batch=0), "up": upscale(["images", 0]), "keep": keep(["up", 0])})
    shape = "[count, height, width, 1, 3 or 4 channels]"
    assert said == f"image must be a batch of one image or more {shape}; it is (0, 24, 32, 3)."
    assert mark.tasks() == []


def test_parameters_that_are_no_json(comfy: ComfyUIProcess, sandbox: SandboxProcess) -> None:
    mark = sandbox.mark()
    run = node("XaloraRunWorkflow", task_type="txt2vid", workflow_id="", parameters="prompt: waves")
    assert dialog(comfy, {"run": run, "show": show(["run", 2])}).startswith("parameters must be a JSON object")
    assert mark.tasks() == []


def test_a_width_of_8_is_refused_before_the_prompt_is_queued(comfy: ComfyUIProcess, sandbox: SandboxProcess) -> None:
    mark = sandbox.mark()
    answer = comfy.try_queue({"make": text2video(width=8), "show": show(["make", 3])})
    assert answer.status_code == 400
    (error,) = answer.json()["node_errors"]["make"]["errors"]
    assert error["type"] == "value_smaller_than_min"
    assert error["extra_info"]["input_name"] == "width"
    # Between the steps of the widget, ComfyUI lets it through, and the node says what is allowed.
    said = dialog(comfy, {"make": text2video(width=72), "show": show(["make", 3])})
    assert said == "width cannot be 72. Use 64 / 80."
    assert mark.tasks() == []
