"""The line in a node: in the editor's language, inside a subgraph and on its node, and after the run has ended."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.processes import poll
from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor

SMALL = {"width": 64, "height": 48, "length": 5, "control_after_generate": "fixed"}
RUN = "() => { seen.end = null; seen.texts = {}; app.extensionManager.command.execute('Comfy.QueuePrompt') }"
ENTER = "id => app.canvas.setGraph(app.graph.getNodeById(id).subgraph)"
LEAVE = "() => app.canvas.setGraph(app.graph)"


@pytest.fixture
def speaking(any_editor: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any]) -> Iterator[Callable[[str], Any]]:
    """A function that opens the editor in a language, for a with block."""

    def open_in(language: str) -> Any:
        any_editor.post("/settings", {"Comfy.Locale": language}).raise_for_status()
        return opening(any_editor)

    yield open_in
    any_editor.post("/settings", {"Comfy.Locale": "en"}).raise_for_status()


def text2video(editor: Editor, x: int) -> int:
    """A node with inputs of its own; returns its id."""
    node = editor.add("XaloraText2Video", **SMALL, prompt=f"a rabbit {secrets.token_hex(4)}")
    editor.js("([id, x]) => { app.graph.getNodeById(id).pos = [x, 150] }", [node, x])
    return node


def in_subgraph(editor: Editor, *nodes: int) -> int:
    """Put these nodes into a subgraph; returns the id of its node."""
    return editor.js(
        """ids => {
            const { node } = app.graph.convertToSubgraph(new Set(ids.map(id => app.graph.getNodeById(id))));
            node.pos = [900, 150];
            node.setSize([360, 200]);
            return node.id;
        }""",
        list(nodes),
    )


def in_view(editor: Editor, line: str, count: int) -> None:
    """Wait until this line can be read so many times once all nodes are in view."""
    editor.js("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    shown = editor.page.get_by_text(re.compile(line))
    editor.until(lambda: sum(each.is_visible() for each in shown.all()) == count, f"{line} is in view {count} times")


def test_a_line_is_in_the_editors_language_wherever_the_node_can_be_seen_and_stays(
    any_editor: ComfyUIProcess, sandbox: SandboxProcess, speaking: Callable[[str], Any]
) -> None:
    any_editor.use(sandbox.url, XALORA_API_KEY="consumer#key")
    with speaking("zh") as editor:
        editor.js("() => { app.graph.id = crypto.randomUUID() }")  # A workflow that was cleared away has none.
        first = text2video(editor, 100)
        outer = in_subgraph(editor, text2video(editor, 900))
        editor.js(RUN)
        assert editor.end()["name"] == "execution_success"
        editor.page.wait_for_timeout(1000)  # The editor's own work at the end of a run.
        done = r"^完成 · 0:\d\d · 64×48 · 5 帧$"
        in_view(editor, done, 2)
        for node in (first, outer):
            texts = editor.texts(node)
            assert any(re.search(r"^运行中 0:\d\d · Preview \d / 5", text) for text in texts), texts
            assert not re.search(r"running|queued|done|preparing", "".join(texts)), texts
        editor.js(ENTER, outer)
        in_view(editor, done, 1)
        editor.js(LEAVE)
        in_view(editor, done, 2)
        editor.js("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
        editor.page.wait_for_function("!app.graph.nodes.length")
        editor.page.get_by_text("Unsaved Workflow", exact=True).first.click()
        editor.page.wait_for_function("app.graph.nodes.length")
        in_view(editor, done, 2)
        assert editor.problems == []


def test_a_subgraphs_node_has_a_line_for_each_of_its_nodes(
    any_editor: ComfyUIProcess, endless: SandboxProcess, speaking: Callable[[str], Any]
) -> None:
    any_editor.use(endless.url, XALORA_API_KEY="consumer#key")
    with speaking("en") as editor:
        both = text2video(editor, 100), text2video(editor, 900)
        outer = in_subgraph(editor, *both)
        editor.js(RUN)
        in_view(editor, r"(.*Xalora Text2Video.*: running 0:\d\d · Preview \d / 5\s*){2}", 1)
        editor.js(ENTER, outer)
        in_view(editor, r"^running 0:\d\d · Preview \d / 5$", 2)
        any_editor.post("/interrupt")
        assert editor.end()["name"] == "execution_interrupted"
        in_view(editor, "^canceled$", 2)
        editor.js(LEAVE)
        in_view(editor, r"(.*Xalora Text2Video.*: canceled\s*){2}", 1)


def test_a_page_that_is_loaded_in_a_run_goes_on_with_it(
    any_editor: ComfyUIProcess, endless: SandboxProcess, speaking: Callable[[str], Any]
) -> None:
    """The run's own task is no earlier one, and the tab says how far it is."""
    any_editor.use(endless.url, XALORA_API_KEY="consumer#key")
    mark = endless.mark()
    with speaking("en") as editor:
        text2video(editor, 100)
        workflow = editor.export()["workflow"]
        editor.js(RUN)
        in_view(editor, r"^running 0:\d\d · Preview \d / 5$", 1)
        editor.is_open = False
        editor.open()
        editor.load(workflow)
        in_view(editor, r"^running 0:\d\d · Preview \d / 5$", 1)
        editor.until(lambda: editor.xalora.badge() == "1", "the badge counts it")
        editor.xalora.task("a rabbit").filter(has_text=re.compile(r"running 0:\d\d · \d / 5")).wait_for()
        editor.page.wait_for_timeout(1000)
        assert not editor.page.get_by_text("earlier task").count()
        any_editor.post("/interrupt")
        poll(lambda: mark.statuses() == ["canceled"])
        assert editor.end()["name"] == "execution_interrupted"
        editor.until(lambda: editor.texts(1)[-1] == "canceled", "the line says so")


def test_how_long_a_task_takes(any_editor: ComfyUIProcess, speaking: Callable[[str], Any]) -> None:
    """Measured progress replaces the estimate, which ends with the usual time; a task took its miner's time."""
    task = {"created": 0, "submitted": 100, "doubt": None, "progress": None, "usual_seconds": 4}
    told = {
        "running 0:03 / about 0:04": (task | {"state": "running"}, 103),
        "running 0:05 · longer than usual": (task | {"state": "running"}, 105),
        "running 0:05 · 2 / 10": (task | {"state": "running", "progress": [2, 10]}, 105),
        "queued 0:01": (task | {"state": "waiting", "usual_seconds": None}, 101),
        "finished · took 1:15": (task | {"state": "finished", "finished": 9e3, "inference_latency": 75.4}, 9e9),
        "finished": (task | {"state": "finished", "finished": 9e3, "inference_latency": None}, 9e9),
    }
    with speaking("en") as editor:
        for words, arguments in told.items():
            status = "async of => (await import('/extensions/xalora-nodes/task_words.js')).status(...of)"
            assert editor.js(status, arguments) == words
