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


BATCH = """() => {
    const add = (type, pos, values = {}) => {
        const node = LiteGraph.createNode(type);
        app.graph.add(node);
        node.pos = pos;
        for (const [name, value] of Object.entries(values)) node.widgets.find(each => each.name === name).value = value;
        return node;
    };
    const color = Math.floor(Math.random() * 16000000);
    const images = [0, 1, 2].map(n => add('EmptyImage', [0, n * 200], {width: 16, height: 16, color: color + n}));
    const [two, three] = [add('ImageBatch', [300, 0]), add('ImageBatch', [300, 200])];
    images[0].connect(0, two, 0);
    images[1].connect(0, two, 1);
    two.connect(0, three, 0);
    images[2].connect(0, three, 1);
    three.connect(0, add('XaloraUpscale', [600, 0]), 0);
}"""
CLIPPED = """() => [...document.querySelectorAll('.xalora-panel :is(.xalora-state, .xalora-kind, input, select)')]
    .filter(each => each.scrollWidth > each.clientWidth || each.scrollHeight > each.clientHeight + 1)
    .map(each => each.textContent)"""


def test_the_tab_has_one_row_for_a_batch_with_two_buttons_and_a_menu(editor: Editor) -> None:
    tab = editor.xalora.open_tab()
    earlier = tab.get_by_role("option").count()
    editor.js(BATCH)
    editor.queue()
    assert editor.end()["name"] == "execution_success"
    row = tab.locator(".xalora-row").first
    row.filter(has_text="3 of 3 tasks").wait_for()
    assert tab.get_by_role("option").count() == earlier + 1
    row.click()
    details = tab.locator(".xalora-details")
    assert details.get_by_role("button").all_inner_texts() == ["Show", "Go to node", "More"]
    assert editor.js(CLIPPED) == []

    details.get_by_text("More", exact=True).click()
    menu = details.get_by_role("menu")
    box = menu.bounding_box()
    assert box["x"] >= 0
    assert box["y"] >= 0
    assert menu.get_by_role("menuitem").all_inner_texts() == ["Settings of the run", "Copy id", "Forget"]
    editor.page.keyboard.press("Escape")
    menu.wait_for(state="hidden")
    details.get_by_role("button", name="Show").click()
    shown = editor.xalora.dialog("Result of the task")
    assert shown.locator("img").count() == 3
    editor.page.keyboard.press("Escape")

    editor.xalora.act("3 of 3 tasks", "Forget")
    editor.xalora.dialog("Forget this task?").get_by_role("button", name="Forget").click()
    editor.until(lambda: tab.get_by_role("option").count() == earlier, "the batch is forgotten")


def test_an_empty_tab_says_what_to_do_and_does_it(editor: Editor) -> None:
    empty = {"tasks": [], "total": 0, "all": 0, "running": 0, "next": None, "now": 0, "server": None}
    editor.page.route("**/xalora/tasks?*", lambda route: route.fulfill(json=empty))
    tab = editor.xalora.open_tab()
    editor.js("() => app.api.dispatchCustomEvent('xalora.tasks', {})")
    tab.get_by_role("button", name="Add Text to Video").click()
    assert list(editor.nodes().values()) == ["XaloraText2Video"]
    editor.page.unroute("**/xalora/tasks?*")
    editor.js("() => app.api.dispatchCustomEvent('xalora.tasks', {})")
