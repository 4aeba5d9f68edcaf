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
    "de": ({"Einzelbilder", "Breite", "Zeitlimit (Sekunden)", "Wiederverwenden"}, "Xalora-Tasks"),
    "ja": ({"フレーム", "幅", "制限時間（秒）", "再利用"}, "Xalora のタスク"),
    "zh": ({"帧", "宽度", "超时（秒）", "复用"}, "Xalora 任务"),
}
"""Labels of Text2Video, and the title of the list of tasks."""


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
    labels, title = WORDS[language]
    node = editor.add("XaloraText2Video", prompt="")
    shown = editor.js(
        """id => { const {outputs, widgets} = app.graph.getNodeById(id);
            return [...outputs.map(each => each.localized_name ?? each.label), ...widgets.map(each => each.label)] }""",
        node,
    )
    assert labels <= set(shown)
    assert editor.js("async () => (await import('/extensions/xalora-nodes/texts.js')).t('tasks')") == title
    assert editor.js("id => app.graph.getNodeById(id).title", node) == "Xalora Text2Video"


@pytest.mark.parametrize(
    ("code", "values", "create", "ends"),
    [
        ("prompt_missing", {"prompt": " "}, None, None),
        ("off_step", {"width": 72}, None, None),
        ("payment_required", {}, Answer({"message": "SAID"}, 402), None),
        ("server_error", {}, Answer({"message": "SAID"}, 500), None),
        ("task_failed", {}, None, status("failed", msg="SAID")),
        ("task_out_of_memory", {}, None, status("failed", msg="CUDA out of memory")),
        ("decode", {}, None, b"no media"),
    ],
)
def test_errors_speak_it(
    translated: tuple[Editor, str], code: str, values: dict[str, Any], create: Answer | None, ends: Any
) -> None:
    """What a server or a miner says stays as it is."""
    editor, language = translated
    words = json.loads((ROOT / "locales" / language / "main.json").read_text(encoding="utf-8"))["xaloraErrors"][code]
    miner = FakeXalora(ends and (lambda number, parameters: ends))
    editor.comfy.use(miner.url, XALORA_API_KEY="artist-7#of-tests")
    if create is not None:
        miner.script("task_create", create)
    node = editor.add("XaloraText2Video", **{"prompt": code, "width": 64, "height": 64} | values)
    label = editor.js("id => app.graph.getNodeById(id).widgets.find(({name}) => name === 'width').label", node)
    editor.queue()
    assert editor.end()["name"] == "execution_error"
    told = {"{message}": "SAID", "{field}": label, "{value}": "72", "{nearest}": "64 / 80"}
    for name, value in told.items():
        words = words.replace(name, value)
    assert editor.xalora.message(words).locator("p").first.inner_text() == words
    dialog = editor.page.locator(".p-dialog")
    if dialog.count():
        assert words in dialog.inner_text()
    miner.close()
