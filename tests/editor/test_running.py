"""Run and Cancel in the editor: what the user sees while a task is under way, and when it does not go well."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.support.fake_sequencer import Answer, FakeSequencer
from tests.support.processes import poll
from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor

SMALL = {"width": 64, "height": 48, "length": 5, "control_after_generate": "fixed"}


def with_saved_video(editor: Editor, **values: object) -> int:
    """A Text2Video node whose video is saved; returns its id."""
    node = editor.add("XaloraText2Video", **SMALL, **values)
    editor.add("SaveVideo")
    editor.js("""() => {
        const [from, to] = app.graph.nodes;
        to.pos = [1000, 200];
        from.connect(from.findOutputSlot('video'), to, to.findInputSlot('video'));
    }""")
    return node


def test_progress_is_shown_in_the_node_while_the_task_runs(editor: Editor) -> None:
    node = with_saved_video(editor, prompt="seen while it runs")
    editor.queue()
    shown = r"running 0:0\d · Preview \d / 5"
    editor.page.get_by_text(re.compile(shown)).first.wait_for(state="visible")
    assert editor.end()["name"] == "execution_success"
    assert any(re.fullmatch(shown, text) for text in editor.texts(node)), editor.texts(node)
    assert editor.preview(node) == [{"kind": "video", "width": 64, "height": 48}]


def test_cancel_interrupts_and_cancels_the_task(
    editor: Editor, endless: SandboxProcess, configured: Callable[[str], None]
) -> None:
    configured(endless.url)
    mark = endless.mark()
    with_saved_video(editor, prompt="never finished")
    editor.queue()
    editor.page.get_by_text(re.compile(r"running 0:0\d")).first.wait_for()
    editor.page.get_by_role("button", name="Cancel current run").first.click()

    assert editor.end()["name"] == "execution_interrupted"
    poll(lambda: mark.statuses() == ["canceled"], what="the task is canceled at the sequencer")
    assert not editor.page.get_by_text("View details").or_(editor.page.get_by_text("Show Report")).count()


def test_a_missing_key_is_explained(editor: Editor) -> None:
    editor.comfy.use()
    with_saved_video(editor, prompt="without a key")
    editor.queue()
    assert editor.end()["name"] == "execution_error"
    shown = editor.error_shown()
    assert "No API key is set. Set your key in Settings → Xalora" in shown


def test_a_refusal_is_shown_in_the_servers_words_and_with_what_to_do(
    editor: Editor, configured: Callable[[str], None]
) -> None:
    sequencer = FakeSequencer()
    sequencer.script("task_create", Answer({"message": "the balance is used up"}, 402))
    configured(sequencer.url)
    try:
        with_saved_video(editor, prompt="refused")
        editor.queue()
        assert editor.end()["name"] == "execution_error"
        shown = editor.error_shown()
    finally:
        sequencer.close()
    assert "The account does not have enough credit. Top up the account, then run again." in shown
    assert "The server answered 402: the balance is used up" in shown


def test_the_key_is_nowhere_in_the_editor(
    editor: Editor, canary: str, sandbox: SandboxProcess, configured: Callable[[str], None]
) -> None:
    """Neither after a run that went well nor in the report of one where the server repeats the key it refuses."""
    with_saved_video(editor, prompt="searched for the key")
    editor.queue()
    assert editor.end()["name"] == "execution_success"
    kept = [json.dumps(editor.export()), _kept_by_the_browser(editor), editor.comfy.get("/history").text]

    sequencer = FakeSequencer()
    sequencer.script("task_create", lambda seen: Answer({"message": f"unknown key {seen.body['api_key']}"}, 401))
    configured(sequencer.url)
    try:
        editor.js("() => { app.graph.nodes[0].widgets[0].value = 'refused with the key in the answer' }")
        editor.queue()
        assert editor.end()["name"] == "execution_error"
        kept += [editor.error_shown(), json.dumps(editor.export()), _kept_by_the_browser(editor)]
    finally:
        sequencer.close()
    assert sequencer.seen[0].body["api_key"] == canary
    kept += [editor.comfy.get(path).text for path in ("/api/settings", "/history", "/object_info")]
    assert [text[:200] for text in kept if canary in text] == []


def _kept_by_the_browser(editor: Editor) -> str:
    return str(editor.js("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"))
