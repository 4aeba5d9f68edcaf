"""The nodes in the editor: found, added, with the values they are designed to start with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import xalora_client

if TYPE_CHECKING:
    from conftest import Editor

COMMON = {"timeout_seconds": 600, "wait": True, "reuse": True}
SEED = {"seed": 0, "control_after_generate": "fixed"}
NODES = {
    "XaloraText2Video": (
        "Xalora Text2Video",
        {"prompt": "", "model": "Hunyuan", "width": 848, "height": 480, "length": 37, "steps": 30, "fps": 24}
        | {"quality": 80, **SEED, **COMMON},
    ),
    "XaloraUpscale": ("Xalora Upscale", {"max_parallel": 8, **COMMON}),
    "XaloraTaskStatus": ("Xalora Task Status", {"task_id": "", "wait": False, "timeout_seconds": 600}),
    "XaloraFluxLora": (
        "Xalora Flux LoRA",
        {"prompt": "", "lora_name": "", "width": 680, "height": 1024, "steps": 15, "guidance": 3.5, **SEED, **COMMON},
    ),
    "XaloraRunWorkflow": (
        "Xalora Run Workflow",
        {"task_type": "", "workflow_id": "", "parameters": "{}", **COMMON},
    ),
    "XaloraCancelTask": ("Xalora Cancel Task", {"task_id": ""}),
}


def test_the_editor_knows_these_nodes_and_no_others(canvas: Editor) -> None:
    known = canvas.js("() => Object.keys(LiteGraph.registered_node_types).filter(type => /xalora/i.test(type))")
    assert sorted(known) == sorted(NODES)


@pytest.mark.parametrize("node_type", NODES)
def test_a_node_is_found_by_its_name_and_starts_as_designed(editor: Editor, node_type: str) -> None:
    name, defaults = NODES[node_type]
    editor.js("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    # The search box has the focus before its list is there, so what is typed must be waited for in the list.
    editor.page.wait_for_function("['INPUT', 'TEXTAREA'].includes(document.activeElement?.tagName)")
    editor.page.keyboard.type(name)
    title = editor.comfy.get(f"/object_info/{node_type}").json()[node_type]["display_name"]
    editor.page.get_by_text(title, exact=True).last.wait_for()
    editor.page.wait_for_timeout(500)
    editor.page.keyboard.press("Enter")
    editor.page.wait_for_function("app.graph.nodes.length")

    ((node, added),) = editor.nodes().items()
    assert added == node_type
    assert list(editor.widgets(node).items()) == list(defaults.items())
    assert editor.js("id => app.graph.getNodeById(id).title", node) == title
    saved = next(each for each in editor.export()["workflow"]["nodes"] if each["id"] == node)["properties"]
    assert (saved["cnr_id"], saved["ver"]) == ("xalora-nodes", xalora_client.__version__)
