"""``python -m tests.editor.shipped_graphs FOLDER``: what ships with each ComfyUI, as its own editor exports it.

Templates and blueprints become ``FOLDER/VERSION/NAME.json`` in API format, for ``python -m tests.comfyui.validation
FOLDER``. A blueprint gets a loader for each input and a node that saves for each output.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.editor.conftest import SETTINGS, Editor
from tests.support.chromium import launched, path_or_skip
from tests.support.comfyui_process import ComfyUIProcess, booted, found

_EXPORT = "async graph => { await app.loadGraphData(graph); return JSON.stringify((await app.graphToPrompt()).output) }"
_BLUEPRINT = """async graph => {
    await app.loadGraphData(graph);
    const blueprint = app.graph.nodes[0];
    const add = type => { const node = LiteGraph.createNode(type); app.graph.add(node); return node };
    const loaders = {IMAGE: 'LoadImage', MASK: 'LoadImageMask', VIDEO: 'LoadVideo', AUDIO: 'LoadAudio'};
    const savers = {IMAGE: 'SaveImage', VIDEO: 'SaveVideo', AUDIO: 'SaveAudio', LATENT: 'SaveLatent'};
    blueprint.inputs.forEach((input, slot) => {
        if (input.link == null && loaders[input.type]) add(loaders[input.type]).connect(0, blueprint, slot);
    });
    blueprint.outputs.forEach((output, slot) => blueprint.connect(slot, add(savers[output.type] ?? 'PreviewAny'), 0));
    return JSON.stringify((await app.graphToPrompt()).output);
}"""


def shipped(source: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The graphs of a ComfyUI in the editor's format: (name, script that exports it, graph)."""
    for script, pattern in ((_EXPORT, ".venv/lib/*/site-packages/comfyui_workflow_templates*/templates/*.json"),
                            (_BLUEPRINT, "blueprints/*.json")):  # fmt: skip
        for file in sorted(source.glob(pattern)):
            graph = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(graph, dict) and graph.get("nodes"):
                yield re.sub(r"[^A-Za-z0-9_-]+", "_", file.stem)[:90], script, graph


def main(folder: Path) -> int:
    """The command. Returns how many could not be exported."""
    failed = 0
    for source in found():
        with tempfile.TemporaryDirectory(prefix="xalora-shipped-") as name:
            comfy = ComfyUIProcess(source, Path(name))
            comfy.has_api_nodes = True
            stored = comfy.base / "user" / "default" / "comfy.settings.json"
            stored.parent.mkdir(parents=True)
            stored.write_text(json.dumps(SETTINGS))
            for running in booted(comfy):
                for browser in launched(path_or_skip()):
                    editor = Editor(browser.new_page(), running)
                    editor.open()
                    target = folder / comfy.version
                    target.mkdir(parents=True, exist_ok=True)
                    for title, script, graph in shipped(source):
                        try:
                            exported = json.loads(editor.js(script, graph))
                        except Exception as error:  # noqa: BLE001 - the others are still wanted
                            failed += 1
                            print(f"not exported: {title}: {str(error)[:200]}", flush=True)
                            continue
                        (target / f"{title}.json").write_text(json.dumps(exported, indent=1))
                    print(f"ComfyUI {comfy.version}: {len(list(target.glob('*.json')))} graphs", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1])) else 0)
