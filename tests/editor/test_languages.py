"""The nodes and the extension in the user's language."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from conftest import Editor

WORDS = {
    "de": ({"Einzelbilder", "Breite", "Zeitlimit (Sekunden)", "Wiederverwenden"}, "Xalora-Tasks", "Text zu Video"),
    "ja": ({"フレーム", "幅", "制限時間（秒）", "再利用"}, "Xalora のタスク", "テキストから動画"),
    "zh": ({"帧", "宽度", "超时（秒）", "复用"}, "Xalora 任务", "文生视频"),
}
"""Labels of Text2Video, the title of the list of tasks, and what the node's name begins with."""


@pytest.fixture(params=WORDS)
def translated(
    any_editor: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any], request: pytest.FixtureRequest
) -> Iterator[tuple[Editor, str]]:
    """The editor in a language, and that language."""
    any_editor.post("/settings", {"Comfy.Locale": request.param}).raise_for_status()
    with opening(any_editor) as editor:
        if editor.js("() => app.extensionManager.setting.get('Comfy.Locale')") != request.param:
            pytest.skip(f"this editor has no {request.param}")
        yield editor, request.param
    any_editor.post("/settings", {"Comfy.Locale": "en"}).raise_for_status()


def test_nodes_and_extension_speak_it(translated: tuple[Editor, str]) -> None:
    editor, language = translated
    labels, title, name = WORDS[language]
    node = editor.add("XaloraText2Video", prompt="")
    shown = editor.js(
        """id => { const {outputs, widgets} = app.graph.getNodeById(id);
            return [...outputs.map(each => each.localized_name ?? each.label), ...widgets.map(each => each.label)] }""",
        node,
    )
    assert labels <= set(shown)
    assert editor.js("async () => (await import('/extensions/xalora-nodes/texts.js')).t('tasks')") == title
    assert editor.js("id => app.graph.getNodeById(id).title", node) == f"{name} (Xalora Text2Video)"


ERRORS: dict[str, tuple[dict[str, Any], Answer | None, Any]] = {
    "prompt_missing": ({"prompt": " "}, None, None),
    "off_step": ({"width": 72}, None, None),
    "payment_required": ({}, Answer({"message": "SAID"}, 402), None),
    "bad_request": ({}, Answer({"message": "SAID"}, 400), None),
    "task_failed": ({}, None, status("failed", msg="SAID")),
    "task_out_of_memory": ({}, None, status("failed", msg="CUDA out of memory")),
    "decode": ({}, None, b"no media"),
}
"""By code, the values of a node, the answer to its create, and how its task ends."""


def test_errors_speak_it(translated: tuple[Editor, str]) -> None:
    """What a server or a miner says stays as it is."""
    editor, language = translated
    words = json.loads((ROOT / "locales" / language / "main.json").read_text(encoding="utf-8"))["xaloraErrors"]
    dialog = editor.page.locator(".p-dialog")
    for code, (values, create, end) in ERRORS.items():
        miner = FakeXalora(end and (lambda number, parameters, end=end: end))
        editor.comfy.use(miner.url, XALORA_API_KEY="artist-7#of-tests")
        if create is not None:
            miner.script("task_create", create)
        editor.js("() => app.graph.clear()")
        node = editor.add("XaloraText2Video", **{"prompt": code, "width": 64, "height": 64} | values)
        label = editor.js("id => app.graph.getNodeById(id).widgets.find(({name}) => name === 'width').label", node)
        editor.js("() => { seen.end = null; app.extensionManager.command.execute('Comfy.QueuePrompt') }")
        assert editor.end()["name"] == "execution_error"
        expected = words[code].replace("{message}", "SAID").replace("{field}", label)
        expected = expected.replace("{value}", "72").replace("{nearest}", "64 / 80")
        assert editor.xalora.message(expected).locator("p").first.inner_text() == expected
        if dialog.count():
            assert expected in dialog.inner_text()
        editor.until(lambda: not dialog.count() or editor.page.keyboard.press("Escape"), "the dialog is closed")
        miner.close()
