"""How our nodes and the tab look: what is in view, what keeps its place, and what can be read, in each editor."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor

RARE = ["steps", "quality", "timeout_seconds", "wait", "reuse"]
CANVAS = 815
"""What the editors' bars leave of a window 900 pixels high."""
SQUARE = {"width": 128, "height": 128, "length": 5}


@pytest.fixture(scope="module")
def opened(
    any_editor: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any], sandbox: SandboxProcess
) -> Iterator[Editor]:
    """Each editor in a window of 1440x900. At the end nothing may have gone wrong in it."""
    any_editor.use(sandbox.url, XALORA_API_KEY="consumer#key")
    with opening(any_editor) as editor:
        editor.page.set_viewport_size({"width": 1440, "height": 900})
        yield editor
        any_editor.settle()
        assert editor.problems == []


@pytest.fixture
def editor(opened: Editor) -> Editor:
    """The same editor with an empty graph."""
    opened.js("() => app.graph.clear()")
    return opened


SHAPE = """id => {
    const node = app.graph.getNodeById(id);
    const element = document.querySelector(`[data-node-id="${id}"]`)?.getBoundingClientRect();
    const box = (document.querySelector(`[data-node-id="${id}"] textarea`) ?? node.widgets[0].element);
    const style = getComputedStyle(box);
    const space = box.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    const line = parseFloat(style.lineHeight) || 1.2 * parseFloat(style.fontSize);
    return {
        width: element?.width ?? node.size[0],
        height: element?.height ?? node.size[1] + 30,
        lines: Math.floor(space / line),
        prompt: box.getBoundingClientRect().height,
        named: [...node.widgets.filter(each => element ? false : node.isWidgetVisible(each)).map(({name}) => name),
            ...[...document.querySelectorAll(`[data-node-id="${id}"]`)].flatMap(each => each.innerText.split('\\n'))],
    };
}"""


def shape(editor: Editor, node: int) -> Any:
    editor.page.wait_for_timeout(700)  # The canvas draws, and the page follows.
    return editor.js(SHAPE, node)


def test_a_node_keeps_its_shape_and_shows_its_result(editor: Editor) -> None:
    """A prompt of five lines, a steady width, and a square video in view, also where a new seed is offered."""
    node = editor.add("XaloraText2Video", prompt=f"a rabbit {secrets.token_hex(3)}", **SQUARE)
    new = shape(editor, node)
    assert new["lines"] >= 5
    assert not set(RARE) & set(new["named"])
    shapes = []
    for _ in range(2):
        editor.queue()
        editor.page.wait_for_timeout(400)
        shapes.append(shape(editor, node))
        assert editor.end()["name"] == "execution_success"
        editor.page.wait_for_function(_VIDEO, arg=node)
        shapes.append(shape(editor, node))
    assert {each["prompt"] for each in shapes} == {new["prompt"]}
    assert {each["width"] for each in shapes} == {new["width"]}
    assert "xalora_new_seed" in editor.widgets(node)
    assert max(each["height"] for each in shapes) <= CANVAS


_VIDEO = """id => [...app.graph.getNodeById(id).videoContainer?.querySelectorAll('video') ?? [],
    ...document.querySelectorAll(`[data-node-id="${id}"] video`)].some(video => video.videoWidth)"""


def test_rare_inputs_unfold_and_are_never_hidden_where_they_cost(editor: Editor) -> None:
    node = editor.add("XaloraText2Video", prompt="")
    before = shape(editor, node)
    editor.js("id => app.graph.getNodeById(id).toggleAdvanced()", node)
    after = shape(editor, node)
    assert set(RARE) <= set(after["named"])
    assert after["height"] >= before["height"] + len(RARE) * 20
    editor.js("id => app.graph.getNodeById(id).toggleAdvanced()", node)
    editor.js("id => { app.graph.getNodeById(id).widgets.find(({name}) => name === 'reuse').value = false }", node)
    saved = editor.export()["workflow"]
    editor.js("() => app.graph.clear()")
    editor.load(saved)
    ((node, _),) = editor.nodes().items()
    assert set(RARE) <= set(shape(editor, node)["named"])
