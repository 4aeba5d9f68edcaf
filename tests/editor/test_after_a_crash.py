"""ComfyUI killed while a task runs: after a restart the editor tells of it, collects it, and nothing is paid twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess, skip_but_on_newest
from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor

PROMPT = "a rabbit that survives"


@pytest.fixture
def crashing(
    editor_source: Path, packed: Callable[[Path, Path], ComfyUIProcess], chromium: str, tmp_path: Path
) -> Iterator[ComfyUIProcess]:
    """A ComfyUI of its own, to be killed."""
    skip_but_on_newest(editor_source)
    comfy = packed(editor_source, tmp_path / "crashing")
    try:
        yield comfy.boot()
    finally:
        comfy.stop()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SandboxProcess]:
    """Takes long enough to be killed meanwhile, and is done before ComfyUI is there again."""
    process = SandboxProcess(tmp_path / "slow", render_seconds=4)
    yield process
    process.close()


def add_and_run(editor: Editor) -> int:
    """A node as the editor makes it, with its default seed control, and its video saved."""
    node = editor.add("XaloraText2Video", prompt=PROMPT, width=64, height=48, length=5)
    editor.add("SaveVideo")
    editor.js("""() => {
        const [from, to] = app.graph.nodes;
        to.pos = [1000, 200];
        from.connect(from.findOutputSlot('video'), to, to.findInputSlot('video'));
    }""")
    editor.queue()
    return node


def test_killed_restarted_collected_and_not_paid_again(
    crashing: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any], slow: SandboxProcess, tmp_path: Path
) -> None:
    crashing.use(slow.url, XALORA_API_KEY="consumer#of-the-crash")
    mark = slow.mark()
    with opening(crashing) as editor:
        add_and_run(editor)
        editor.until(lambda: mark.tasks(), "the task is at the sequencer")
        editor.page.wait_for_function("Object.values(seen.texts).flat().some(text => /running|queued/.test(text))")
        workflow = editor.export()["workflow"]
        crashing.kill()
    crashing.boot()

    with opening(crashing) as editor:
        told = editor.xalora.message("earlier task")
        editor.until(lambda: mark.statuses() == ["finished"], "it is finished")
        told.get_by_role("button", name="Open tasks").click()
        row = editor.xalora.task(PROMPT)
        row.filter(has_text="finished").wait_for()
        editor.xalora.act(PROMPT, "Collect")
        editor.xalora.dialog("Result of the task").locator("video").wait_for()
        editor.page.wait_for_function("document.querySelector('dialog video').videoWidth === 64")
        editor.page.keyboard.press("Escape")

        editor.load(workflow)
        editor.queue()
        assert editor.end()["name"] == "execution_success"
        assert editor.problems == []
    assert len(mark.tasks()) == 1
    assert len(mark.requests("task_create")) == 1


def test_a_task_that_still_runs_is_told_of(
    crashing: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any], endless: SandboxProcess
) -> None:
    crashing.use(endless.url, XALORA_API_KEY="consumer#of-the-crash")
    mark = endless.mark()
    with opening(crashing) as editor:
        add_and_run(editor)
        editor.until(lambda: mark.tasks(), "the task is at the sequencer")
    crashing.kill()
    crashing.boot()
    with opening(crashing) as editor:
        editor.xalora.message("1 earlier task is still running")
        editor.until(lambda: editor.xalora.badge() == "1", "the badge counts it")
        editor.xalora.act(PROMPT, "Cancel task")
        editor.xalora.task(PROMPT).filter(has_text="canceled").wait_for()
    assert mark.statuses() == ["canceled"]
