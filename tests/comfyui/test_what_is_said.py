"""What the pack says in a real server: in the node while it runs and when it ends, and in the log."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from PIL import Image

from tests.support.comfyui_process import ComfyUIProcess, booted, install, skip_but_on_newest
from tests.support.comfyui_prompts import flux_lora, node, show
from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.pictures import png
from tests.support.processes import poll
from xalora_client.protocol.parameters import encode_data_uri


def test_the_live_preview_of_the_remote_sampler(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    """As local samplers show theirs: the bar of their steps, and the picture they work on."""
    steps = {"value": 12, "maximum": 30, "title": "KSampler", "preview": encode_data_uri(png(40, 24), "image/png")}
    broken = steps | {"value": 13, "preview": encode_data_uri(png()[:40], "image/png")}
    answers = [status("running", progress=steps), status("running", progress=broken), png()]
    miner.ends = lambda number, parameters: answers.pop(0) if len(answers) > 1 else answers[0]
    comfy.events.clear()
    run = comfy.run({"make": flux_lora(seed=900), "show": show(["make", 1])}).ok()
    fills = [(each.data["value"], each.data["max"]) for each in run.events("progress") if each.data["node"] == "make"]
    assert (12, 30) in fills
    (preview,) = [each.data["image"] for each in comfy.events if each.type == "preview"]
    with Image.open(io.BytesIO(preview[preview.index(b"\xff\xd8") :])) as picture:
        assert (picture.format, picture.size) == ("JPEG", (512, 307))  # ComfyUI enlarges small ones.
    texts = run.texts("make")
    assert any(re.fullmatch(r"running 0:\d\d · KSampler 12 / 30", text) for text in texts)
    assert re.fullmatch(r"done · 0:\d\d · \d+×\d+, asked for \d+×\d+", texts[-1])


@pytest.mark.parametrize("confirmed", [True, False])
def test_after_cancel_the_node_says_what_became_of_the_task(
    comfy: ComfyUIProcess, miner: FakeXalora, confirmed: bool
) -> None:
    miner.ends = lambda number, parameters: status("running")
    if not confirmed:
        miner.script("task_cancel", Answer({"message": "no"}, 500))
    name = f"make {confirmed}"
    run = comfy.queue({name: flux_lora(seed=910 + confirmed), "show": show([name, 1])})
    poll(lambda: miner.count("task_result_query"), what="the task runs")
    comfy.interrupt()
    assert run.wait().end == "execution_interrupted"
    told = "canceled" if confirmed else "stopped, but task task-1 may still be running: The server answered 500: no"
    poll(lambda: run.texts(name)[-1] == told, what=told)


def test_a_run_is_told_only_to_the_editor_that_queued_it(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    """Pages of other sites can open a websocket too."""
    miner.ends = lambda number, parameters: status("failed", msg="<b>out of</b> memory")

    def statuses() -> list[int]:
        return [each.data["status"]["exec_info"]["queue_remaining"] for each in heard if each.type == "status"]

    with comfy.overheard() as heard:
        run = comfy.run({"told": flux_lora(seed=940), "show": show(["told", 1])})
        poll(lambda: 0 in statuses()[statuses().index(1) :], what="the queue is empty")
    assert run.end == "execution_error"
    (told,) = [each.data for each in comfy.events if each.type == "xalora.error" and each.data["node"] == "told"]
    assert (told["task_id"], told["reuse"]) == ("task-1", True)
    assert run.texts("told")[-1] == "The task failed: ‹b>out of‹/b> memory"
    assert {each.type for each in heard} & {"xalora.error", "text"} == set()


def test_an_error_is_in_the_log_with_what_to_do(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: status("failed", msg="out of memory")
    before = len(comfy.log())
    run = comfy.run({"make": flux_lora(seed=920), "show": show(["make", 1])})
    assert run.end == "execution_error"
    assert run.error["traceback"]  # The dialog's own details are as ever.
    said = "The remote machine ran out of memory. Use a smaller size or fewer frames."
    poll(lambda: said in comfy.log()[before:], what="the log has the error")
    assert run.texts("make")[-1] == "The remote machine ran out of memory"


def test_a_bug_keeps_its_traceback(comfy: ComfyUIProcess) -> None:
    before = len(comfy.log())
    assert comfy.run({"fail": node("TestFail", seconds=0.0)}).end == "execution_error"
    poll(lambda: "Traceback" in comfy.log()[before:], what="the log has the traceback")


def test_our_lines_in_the_log_begin_with_our_name(comfy: ComfyUIProcess, miner: FakeXalora) -> None:
    before = len(comfy.log())
    comfy.run({"make": flux_lora(seed=930), "show": show(["make", 1])}).ok()
    ours = [line for line in comfy.lines(before) if "task_create" in line or "task-1" in line]
    assert ours
    assert [line for line in ours if not line.startswith("Xalora: ")] == []


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"XALORA_API_KEY": "someone#a-secret-key"}, "Xalora: ready, key of consumer someone"),
        ({"XALORA_WORKFLOW_URL": "sandbox"}, "Xalora: sandbox"),
    ],
    ids=["with a key", "sandbox"],
)
def test_the_first_line(source: Any, tmp_path: Any, settings: dict[str, str], line: str) -> None:
    skip_but_on_newest(source)
    comfy = ComfyUIProcess(source, tmp_path, XALORA_HOME=str(tmp_path / "xalora"))
    install(tmp_path / "custom_nodes" / "xalora")
    comfy.use(settings.get("XALORA_WORKFLOW_URL", ""), **settings)
    for _ in booted(comfy):
        poll(lambda: line in comfy.lines(), what=line)
        assert "a-secret-key" not in comfy.log()
