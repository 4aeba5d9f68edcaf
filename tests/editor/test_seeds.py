"""Seeds: a new node keeps its own, a saved workflow keeps what it has, and a run that made nothing new offers one."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor


def with_preview(editor: Editor, **values: Any) -> int:
    node = editor.add("XaloraFluxLora", prompt=f"a gecko {secrets.token_hex(3)}", lora_name="gecko", **values)
    editor.add("PreviewImage")
    editor.js("() => { const [from, to] = app.graph.nodes; to.pos = [1000, 200]; from.connect(0, to, 0) }")
    return node


def saved_values(workflow: dict[str, Any]) -> list[Any]:
    """The node's values in a saved workflow, where their places count."""
    (node,) = [each for each in workflow["nodes"] if each["type"] == "XaloraFluxLora"]
    return node["widgets_values"]


@pytest.mark.parametrize("control", ["randomize", "increment", "fixed"])
def test_a_saved_workflow_keeps_its_seed_control(editor: Editor, control: str) -> None:
    node = editor.add("XaloraText2Video", prompt="saved", control_after_generate=control)
    saved = editor.export()["workflow"]
    editor.js("() => app.graph.clear()")
    editor.load(saved)
    assert editor.widgets(node)["control_after_generate"] == control


def test_a_run_that_made_nothing_new_offers_a_new_seed(editor: Editor, sandbox: SandboxProcess) -> None:
    mark = sandbox.mark()
    node = with_preview(editor, width=64, height=64)
    editor.queue()
    assert editor.end()["name"] == "execution_success"
    assert "xalora_new_seed" not in editor.widgets(node)
    seed = editor.widgets(node)["seed"]
    workflow = editor.export()["workflow"]

    editor.queue()
    assert editor.end()["name"] == "execution_success"
    editor.page.wait_for_function(_OFFERED, arg=node)
    assert len(mark.tasks()) == 1
    assert saved_values(editor.export()["workflow"]) == saved_values(workflow)

    editor.js("() => { seen.end = null }")
    editor.js("id => app.graph.getNodeById(id).widgets.find(({name}) => name === 'xalora_new_seed').callback()", node)
    assert editor.end()["name"] == "execution_success"
    assert editor.widgets(node)["seed"] != seed
    assert "xalora_new_seed" not in editor.widgets(node)
    assert len(mark.tasks()) == 2


@pytest.mark.parametrize("why_not", ["linked", "another workflow"])
def test_no_seed_is_offered_that_a_press_would_not_change(
    editor: Editor, sandbox: SandboxProcess, why_not: str
) -> None:
    node = with_preview(editor, width=64, height=64)
    if why_not == "linked":
        source = editor.add("PrimitiveInt", value=4711)
        editor.js(
            """([from, to]) => {
                const [one, other] = [from, to].map(id => app.graph.getNodeById(id));
                // Else it is drawn anew for each run, also a negative one.
                for (const control of one.widgets.slice(1)) control.value = 'fixed';
                one.connect(0, other, other.inputs.findIndex(({name}) => name === 'seed'));
            }""",
            [source, node],
        )
    for _ in range(2):
        editor.queue()
        end = editor.end()
        assert end["name"] == "execution_success", json.dumps(end)
    if why_not == "another workflow":
        editor.page.wait_for_function(_OFFERED, arg=node)
        # A node of the same id in another workflow, while the first one goes on.
        saved = editor.export()["workflow"]
        editor.load(saved | {"id": "12345678-0000-4000-8000-000000000000"})
    cached = {"nodes": [str(node)], "prompt_id": editor.end()["prompt_id"]}
    editor.js("cached => { app.api.dispatchCustomEvent('execution_cached', cached) }", cached)
    editor.page.wait_for_timeout(1000)
    assert "xalora_new_seed" not in editor.widgets(node)


_OFFERED = "id => app.graph.getNodeById(id).widgets.some(({name}) => name === 'xalora_new_seed')"
