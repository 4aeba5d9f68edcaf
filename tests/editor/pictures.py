"""``python -m tests.editor.pictures``: makes the pictures of the help pages and of the templates anew.

Help pages show each node in Nodes 2.0 after a run in the sandbox, without a video's controls. A template's picture says
what it makes, large enough for the small cards of the template browser.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from tests.editor.conftest import Editor, _with_pack
from tests.support.chromium import launched, path_or_skip
from tests.support.comfyui_process import booted, found
from tests.support.processes import ROOT
from tests.support.sandbox_process import SandboxProcess
from xalora_client.sequencer.rendering import Scene

TEMPLATES = {
    "Xalora Text to Video": ["Text", "Video"],
    "Xalora Text to Video, Upscaled": ["Text", "Video", "Large video"],
    "Xalora Upscale Image": ["Image", "Large image"],
    "Xalora Flux LoRA Image, Upscaled": ["Text + LoRA", "Image", "Large image"],
    "Xalora Submit Now, Collect Later": ["Submit now", "Collect later"],
}
SIDE = 512
RABBIT = "A rabbit in a red scarf hops through fresh snow at sunrise"
SMALL = {"width": 640, "height": 368, "length": 9}
NODES: dict[str, dict[str, Any]] = {
    "XaloraText2Video": {"prompt": RABBIT, "seed": 7, **SMALL},
    "XaloraUpscale": {},
    "XaloraFluxLora": {"prompt": "A gecko astronaut on a mossy branch", "lora_name": "gecko.safetensors", "width": 680},
    "XaloraRunWorkflow": {
        "task_type": "txt2vid", "workflow_id": "1", "parameters": '{"prompt": "a rabbit in the snow", "length": 37}',
    },
    "XaloraTaskStatus": {"wait": True},
    "XaloraCancelTask": {},
}  # fmt: skip
MARGIN = 12


def template(name: str, steps: list[str]) -> Image.Image:
    """The steps of a template below each other, over a darkened scene without its label."""
    scene = Scene(SIDE, SIDE * 2, name, "0").at(0).crop((0, 0, SIDE, SIDE))
    picture = ImageEnhance.Brightness(scene).enhance(0.6)
    draw = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(size=54)
    high, gap = 92, 40
    # The upper left corner is the browser's.
    top = 88 + (SIDE - 88 - len(steps) * high - (len(steps) - 1) * gap) // 2
    for number, step in enumerate(steps):
        y = top + number * (high + gap)
        last = number == len(steps) - 1
        fill, ink = ((255, 255, 255, 235), (20, 20, 20)) if last else ((0, 0, 0, 170), (255, 255, 255))
        draw.rounded_rectangle((66, y, SIDE - 66, y + high), 20, fill=fill)
        draw.text((SIDE / 2, y + high / 2), step, ink, font, anchor="mm")
        if not last:
            draw.polygon(
                [(SIDE / 2 - 20, y + high + 8), (SIDE / 2 + 20, y + high + 8), (SIDE / 2, y + high + 32)], "white"
            )
    return picture


def node_picture(editor: Editor, node_type: str, values: dict[str, Any], target: Path) -> None:
    """Run a node, and take its picture."""
    # The editor remembers what it showed of an id.
    editor.js("() => { const last = app.graph.last_node_id; app.graph.clear(); app.graph.last_node_id = last }")
    node = editor.add(node_type, **values)
    editor.js("id => { app.graph.getNodeById(id).pos = [60, 60]; app.canvas.ds.offset = [100, 120]; }", node)
    if node_type == "XaloraUpscale":
        source = editor.add("LoadImage", image="example.png")
        editor.js(
            """([from, to]) => {
                const [one, other] = [from, to].map(id => app.graph.getNodeById(id));
                one.pos = [-900, 60];
                one.connect(0, other, 0);
            }""",
            [source, node],
        )
    editor.queue()
    assert editor.end()["name"] == "execution_success"
    editor.page.mouse.move(5, 5)
    editor.page.wait_for_timeout(2500)
    shown = editor.page.locator(f"[data-node-id='{node}']")
    editor.until(lambda: "Loading" not in shown.inner_text(), "the result is loaded")
    editor.js("() => { for (const video of document.querySelectorAll('video')) video.controls = false }")
    editor.page.wait_for_timeout(500)
    box = shown.bounding_box()
    clip = {"x": box["x"] - MARGIN, "y": box["y"] - MARGIN, "width": box["width"] + 2 * MARGIN}
    editor.page.screenshot(path=target, type="jpeg", quality=85, clip=clip | {"height": box["height"] + 2 * MARGIN})


def help_pictures(folder: Path) -> None:
    """The pictures of the help pages, in the newest ComfyUI's own editor."""
    sandbox = SandboxProcess(folder / "sandbox")
    comfy = _with_pack(found()[-1], folder / "comfy", **{"Comfy.VueNodes.Enabled": True})
    example = found()[-1] / "input" / "example.png"
    with Image.open(example) as opened:
        opened.resize((160, 160)).save(comfy.base / "input" / "example.png")
    comfy.use(sandbox.url, XALORA_API_KEY="consumer#key")
    for _ in booted(comfy):
        for browser in launched(path_or_skip()):
            editor = Editor(browser.new_page(viewport={"width": 1440, "height": 1000}), comfy)
            editor.open()
            for node_type, values in NODES.items():
                if "task_id" in editor.comfy.get(f"/object_info/{node_type}").json()[node_type]["input"]["required"]:
                    tasks = editor.comfy.get("/xalora/tasks").json()["tasks"]
                    values = values | {"task_id": next(task["task_id"] for task in tasks if task["prompt"] == RABBIT)}
                node_picture(editor, node_type, values, ROOT / "web" / "docs" / f"{node_type}.jpg")
    sandbox.close()


def main() -> None:
    for name, steps in TEMPLATES.items():
        template(name, steps).save(ROOT / "example_workflows" / f"{name}.jpg", quality=88)
    if sys.argv[1:] != ["templates"]:
        with tempfile.TemporaryDirectory() as folder:
            help_pictures(Path(folder))


if __name__ == "__main__":
    main()
