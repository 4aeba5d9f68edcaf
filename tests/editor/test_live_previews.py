"""What a node shows while its task sends live previews, and after it: its result, never a preview or an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor

SMALL = {"width": 96, "height": 64, "length": 9, "control_after_generate": "fixed"}

SHOWN = """id => {
    const node = app.graph.getNodeById(id);
    const media = [...node.imgs ?? [], ...node.videoContainer?.querySelectorAll('video') ?? [],
                   ...document.querySelectorAll(`[data-node-id="${id}"] :is(img, video)`)];
    const loaded = media.filter(each => each.videoWidth || each.naturalWidth);
    return [...new Set(loaded.map(({src}) =>
        src.startsWith('blob:') ? 'live preview' : new URL(src).searchParams.get('filename')))];
}"""

WATCH = """() => {
    window.widest = 0;
    const look = () => document.querySelectorAll('video').forEach(
        video => { widest = Math.max(widest, video.getBoundingClientRect().width); });
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true});
    window.most = 0;
    app.api.addEventListener('b_preview_with_metadata', () => setTimeout(() => {
        most = Math.max(most, Object.keys(app.nodePreviewImages).length);
    }));
    app.api.addEventListener('executed', ({detail: {output}}) => {
        window.made = output.images?.[0]?.filename ?? window.made;
    });
}"""


@pytest.fixture
def previewing(
    any_editor: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any], sandbox: SandboxProcess
) -> Iterator[Editor]:
    """An editor whose tasks send live previews. At the end nothing may have gone wrong in it."""
    any_editor.use(sandbox.url, XALORA_API_KEY="consumer#key")
    with opening(any_editor) as editor:
        editor.js(WATCH)
        yield editor
        any_editor.check_alive()
        any_editor.settle()
        assert editor.problems == []


def run(editor: Editor, node: int, server: SandboxProcess, *, stop: bool = False) -> str:
    """Run, and see a live preview. Returns the file that the editor was told to show last."""
    editor.comfy.use(server.url, XALORA_API_KEY="consumer#key")
    editor.js("id => { app.graph.getNodeById(id).widgets.find(({name}) => name === 'seed').value++ }", node)
    editor.queue()
    editor.until(lambda: editor.js(SHOWN, node) == ["live preview"], "a live preview, and nothing else")
    if stop:
        editor.comfy.post("/interrupt")
    assert editor.end()["name"] == ("execution_interrupted" if stop else "execution_success")
    return editor.js("() => window.made")


def test_after_a_live_preview_comes_the_result_or_the_earlier_one(
    previewing: Editor, sandbox: SandboxProcess, endless: SandboxProcess
) -> None:
    editor = previewing
    node = editor.add("XaloraText2Video", prompt="seen before it is done", **SMALL)

    def shows(*files: str) -> None:
        editor.until(lambda: editor.js(SHOWN, node) == [*files], f"{files} in place of {editor.js(SHOWN, node)}")
        assert not editor.page.get_by_text("failed to load").count()

    run(editor, node, endless, stop=True)
    shows()
    first = run(editor, node, sandbox)
    shows(first)
    second = run(editor, node, sandbox)
    shows(second)
    run(editor, node, endless, stop=True)
    shows(second)
    assert first != second
    assert 0 < editor.js("() => window.widest") < 600  # The canvas has 1600.


def test_no_preview_stays_in_a_subgraph_when_one_of_its_nodes_fails(previewing: Editor) -> None:
    editor = previewing
    editor.add("XaloraText2Video", prompt="[fail]", **SMALL)
    editor.add("XaloraFluxLora", prompt="stopped with it", lora_name="gecko")
    editor.js("""() => {
        app.canvas.selectItems(app.graph.nodes);
        app.extensionManager.command.execute('Comfy.Graph.ConvertToSubgraph');
    }""")
    editor.until(lambda: editor.js("() => app.graph.nodes[0]?.subgraph?.nodes.length === 2"), "a subgraph")
    editor.queue()
    assert editor.end()["name"] == "execution_error"
    assert editor.js("() => window.most") > 1, "previews, inside and outside"
    editor.until(lambda: editor.js("() => !Object.keys(app.nodePreviewImages).length"), "no preview")
    left = "() => [app.graph.nodes[0], ...app.graph.nodes[0].subgraph.nodes].flatMap(({imgs}) => imgs ?? []).length"
    editor.until(lambda: editor.js(left) == 0, "no picture")
    editor.close_error()
