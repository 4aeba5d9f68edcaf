"""One node and Run: it makes something, and shows it again for a cached run and after a reload of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Editor

SMALL = {"width": 64, "height": 48, "length": 5, "control_after_generate": "fixed"}
VIDEO = [{"kind": "video", "width": 64, "height": 48}]


def test_a_node_alone_runs_and_shows_its_result_again(editor: Editor) -> None:
    node = editor.add("XaloraText2Video", prompt="alone", **SMALL)
    for _ in ("made", "cached"):
        editor.queue()
        assert editor.end()["name"] == "execution_success"
        assert editor.preview(node) == VIDEO

    editor.is_open = False  # What goes wrong in the editor itself while it opens does not count.
    editor.page.wait_for_timeout(1500)  # The editor stores the graph a moment after a change.
    editor.page.reload()
    editor.page.wait_for_function("window.app?.graph?.nodes.some(({type}) => type === 'XaloraText2Video')")
    ((again, _),) = editor.nodes().items()
    assert editor.preview(again) == VIDEO


def test_switches_say_what_they_do_and_rare_inputs_are_advanced(canvas: Editor) -> None:
    told: dict[str, Any] = canvas.comfy.get("/object_info/XaloraText2Video").json()["XaloraText2Video"]["input"][
        "optional"
    ]
    assert [name for name, (_, options) in told.items() if options.get("advanced")] == [
        "timeout_seconds", "wait", "reuse",
    ]  # fmt: skip
    node = canvas.add("XaloraText2Video", prompt="")
    labels = canvas.js(
        """id => Object.fromEntries(app.graph.getNodeById(id).widgets.filter(({type}) => type === 'toggle')
            .map(({name, options}) => [name, [options.on, options.off]]))""",
        node,
    )
    assert labels == {"wait": ["for the result", "submit only"], "reuse": ["earlier result", "pay again"]}
