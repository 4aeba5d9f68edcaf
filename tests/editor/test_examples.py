"""The example workflows in the editor: they open clean, are exported as stored, run, and show what they made."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from PIL import Image

from tests.support.comfyui_process import found
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from conftest import Editor

TWINS = ROOT / "tests" / "comfyui" / "workflows"
OF_SOME_VERSIONS = {"SaveVideo": {"format.codec"}, "CreateVideo": {"bit_depth"}, "PreviewAny": {"preview"}}
"""Widgets of ComfyUI's own nodes that not every version has; all have defaults, so leaving them out is right."""

FROM_NOTES = ("Note", "MarkdownNote")
MADE = {
    "Xalora Flux LoRA Image, Upscaled": {
        "XaloraFluxLora": ("image", 680, 1024),
        "XaloraUpscale": ("image", 1360, 2048),
        "SaveImage": ("image", 1360, 2048),
    },
    "Xalora Submit Now, Collect Later": {"XaloraTaskStatus": ("video", 848, 480), "SaveVideo": ("video", 848, 480)},
    "Xalora Text to Video": {"XaloraText2Video": ("video", 848, 480), "SaveVideo": ("video", 848, 480)},
    "Xalora Text to Video, Upscaled": {
        "XaloraText2Video": ("video", 480, 272),
        "XaloraUpscale": ("image", 960, 544),
        "SaveVideo": ("video", 960, 544),
    },
    "Xalora Upscale Image": {"XaloraUpscale": ("image", 1536, 1536), "SaveImage": ("image", 1536, 1536)},
}
"""What the nodes of each example show in the end."""


def comparable(prompt: dict[str, Any]) -> dict[str, Any]:
    """A prompt without titles and without what depends on ComfyUI's version."""
    return {
        node: {
            "class_type": each["class_type"],
            "inputs": {
                name: value
                for name, value in each["inputs"].items()
                if name not in OF_SOME_VERSIONS.get(each["class_type"], ())
            },
        }
        for node, each in prompt.items()
    }


def test_opens_with_all_nodes_and_values(canvas: Editor, example: Path) -> None:
    stored = json.loads(example.read_text(encoding="utf-8"))
    canvas.load(stored)

    assert canvas.nodes() == {node["id"]: node["type"] for node in stored["nodes"]}
    assert canvas.js("() => app.graph.nodes.filter(({type}) => !LiteGraph.registered_node_types[type])") == []
    for node in stored["nodes"]:
        if node["type"].startswith("Xalora"):
            assert list(canvas.widgets(node["id"]).values()) == node["widgets_values"]
    refused = """() => app.graph.nodes.flatMap(({widgets}) => widgets ?? []).filter(({type, value, options}) =>
        type === 'combo' && Array.isArray(options.values) && !options.values.includes(value)).map(({name}) => name)"""
    assert canvas.js(refused) == []
    assert "missing" not in canvas.visible_text().lower()


def test_is_exported_as_its_twin_in_api_format(canvas: Editor, example: Path) -> None:
    """The twin is what the editor of the oldest version exports; with UPDATE_TWINS=1 it is written anew."""
    canvas.load(json.loads(example.read_text(encoding="utf-8")))
    exported = canvas.export()["output"]
    twin = TWINS / example.name
    if os.environ.get("UPDATE_TWINS") and canvas.comfy.source == found()[0]:
        twin.write_text(json.dumps(exported, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    assert comparable(exported) == comparable(json.loads(twin.read_text(encoding="utf-8")))


def test_runs_and_shows_what_it_made(canvas: Editor, example: Path) -> None:
    canvas.load(json.loads(example.read_text(encoding="utf-8")))
    canvas.queue()
    end = canvas.end()
    assert end["name"] == "execution_success", end

    nodes = {node_type: node for node, node_type in canvas.nodes().items()}
    made = {}
    for node_type in MADE[example.stem]:
        shown = canvas.preview(nodes[node_type])[0]
        made[node_type] = (shown["kind"], shown["width"], shown["height"])
    assert made == MADE[example.stem]
    for node_type, node in nodes.items():
        if node_type.startswith("Xalora"):
            assert canvas.texts(node), f"{node_type} showed no progress"


def test_each_has_a_note_and_a_picture(example: Path) -> None:
    stored = json.loads(example.read_text(encoding="utf-8"))
    (note,) = (node["widgets_values"][0] for node in stored["nodes"] if node["type"] in FROM_NOTES)
    assert "open Settings, Xalora, and choose the sandbox" in note
    assert "`" not in note  # Code is unreadable in Nodes 2.0.
    picture = example.with_suffix(".jpg").read_bytes()
    assert len(picture) <= 100_000
    with Image.open(io.BytesIO(picture)) as opened:
        assert (opened.format, opened.width) == ("JPEG", opened.height)


def test_the_template_browser_shows_them_with_their_pictures(editor: Editor) -> None:
    fetched: set[str] = set()
    wanted = {path.name for path in (ROOT / "example_workflows").glob("*.jpg")}

    def note(answer: Any) -> None:
        folder, _, name = answer.url.rpartition("/")
        if folder.endswith("/workflow_templates/xalora-nodes") and answer.ok:
            fetched.add(unquote(name))

    editor.page.on("response", note)
    editor.js("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    editor.page.get_by_text("xalora-nodes", exact=True).first.click()
    for name in wanted:
        editor.page.get_by_text(name.removesuffix(".jpg"), exact=True).first.wait_for(state="attached")
    deadline = time.monotonic() + 30
    while fetched != wanted and time.monotonic() < deadline:
        editor.page.wait_for_timeout(100)
    assert fetched == wanted
    editor.page.keyboard.type("Xalora text to video")
    editor.page.get_by_text("Xalora Text to Video", exact=True).first.wait_for(state="visible")
