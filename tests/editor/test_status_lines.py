"""The line in a node: in the editor's language, inside a subgraph and on its node, and after the run has ended."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor

SMALL = {"width": 64, "height": 48, "length": 5, "control_after_generate": "fixed"}


@pytest.fixture
def chinese(
    any_editor: ComfyUIProcess, sandbox: SandboxProcess, opening: Callable[[ComfyUIProcess], Any]
) -> Iterator[Editor]:
    any_editor.use(sandbox.url, XALORA_API_KEY="consumer#key")
    any_editor.post("/settings", {"Comfy.Locale": "zh"}).raise_for_status()
    with opening(any_editor) as editor:
        yield editor
        assert editor.problems == []
    any_editor.post("/settings", {"Comfy.Locale": "en"}).raise_for_status()


LINE = "node => node.widgets?.find(({name}) => name === '$$node-text-preview')?.value ?? ''"


def shot(editor, name):
    if folder := os.environ.get("SHOTS"):
        editor.page.wait_for_timeout(700)
        editor.page.screenshot(path=f"{folder}/{name}.png")


def test_explore(chinese: Editor, request) -> None:
    editor = chinese
    tag = re.sub(r"\W+", "-", request.node.name)
    editor.page.set_viewport_size({"width": 1440, "height": 900})
    inner = editor.add("XaloraText2Video", **SMALL, prompt=f"in a subgraph {os.urandom(4).hex()}")
    outer = editor.js(
        """id => {
        const { node } = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));
        node.pos = [700, 150];
        return node.id;
    }""",
        inner,
    )
    plain = editor.add("XaloraText2Video", **SMALL, prompt=f"beside {os.urandom(4).hex()}")
    editor.js("id => { app.graph.getNodeById(id).pos = [150, 150]}", plain)
    look = "id => (" + LINE + ")(app.graph.getNodeById(id))"
    look_in = "([id, inner]) => (" + LINE + ")(app.graph.getNodeById(id).subgraph.nodes[0])"
    editor.js(
        """() => { window.dom = []; new MutationObserver(all => { for (const m of all) { const t=m.target.textContent ?? ''; if (/running|queued|preparing|done/.test(t) && t.length < 200) dom.push(t)} }).observe(document.body, {subtree: true, childList: true, characterData: true}) }"""
    )
    editor.js("() => { seen.end = null; seen.texts = {}; app.extensionManager.command.execute('Comfy.QueuePrompt') }")
    editor.page.wait_for_timeout(1500)
    shot(editor, f"{tag}-running")
    print(editor.js(look, outer), "|", editor.js(look, plain))
    print(editor.end()["name"])
    editor.page.wait_for_timeout(500)
    shot(editor, f"{tag}-done")
    print("OUTER", editor.js(look, outer), "| PLAIN", editor.js(look, plain))
    editor.js("id => app.canvas.openSubgraph?.(app.graph.getNodeById(id).subgraph, app.graph.getNodeById(id))", outer)
    editor.page.wait_for_timeout(500)
    shot(editor, f"{tag}-inside")
    print("INNER", editor.js(look_in, [outer, inner]))
    print(editor.texts(plain), editor.texts(outer))
    print("DOM", editor.js("() => dom"))
