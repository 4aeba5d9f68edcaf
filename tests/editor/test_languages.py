"""The nodes and the extension in the user's language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess

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
