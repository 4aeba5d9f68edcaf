"""From an empty canvas without a key to a video that plays, all in the editor.

``XALORA_SCREENSHOTS`` names a folder for a picture of each step.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor

SCREENSHOTS = os.environ.get("XALORA_SCREENSHOTS")
TYPED = "text to video"
NAME = "Xalora Text2Video"


@pytest.fixture
def newcomer(
    any_editor: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any], browser: Any, figure: Callable[[str], None]
) -> Iterator[Editor]:
    """The editor of someone who has just installed the pack. At the end nothing may have gone wrong in it."""
    any_editor.use()
    any_editor.post("/xalora/config", {"api_key": "", "workflow_url": ""}).raise_for_status()
    with opening(any_editor) as editor:
        figure(f"frontend {editor.js('window.__COMFYUI_FRONTEND_VERSION__')}, Chromium {browser.version}")
        yield editor
        any_editor.check_alive()
        any_editor.settle()
        assert editor.problems == []


@pytest.fixture
def step(newcomer: Editor, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that takes a picture of a step, where pictures are wanted."""
    number = iter(range(1, 99))

    def take(name: str) -> None:
        if SCREENSHOTS:
            file = re.sub(r"\W+", "-", f"{request.node.callspec.id}-{next(number)}-{name}")
            newcomer.page.wait_for_timeout(500)
            newcomer.page.screenshot(path=Path(SCREENSHOTS) / f"{file}.png")

    return take


def add_by_typing(editor: Editor) -> str:
    """Find the node by what a newcomer types, and add it. Returns in words how it was found."""
    editor.js("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    editor.page.wait_for_function("['INPUT', 'TEXTAREA'].includes(document.activeElement?.tagName)")
    found = editor.page.locator("[role=option], [data-testid*='result-item'], .p-autocomplete-option")
    ours = found.filter(has_text=NAME).first
    editor.page.keyboard.type(TYPED)
    ours.wait_for()
    editor.page.wait_for_timeout(1500)
    names = found.all_inner_texts()
    rank = next(number for number, text in enumerate(names, 1) if NAME in text)
    ours.click()
    editor.page.wait_for_function("app.graph.nodes.length")
    # Newer editors hang the node on the pointer until it is put down.
    editor.page.mouse.move(500, 120)
    editor.page.mouse.click(500, 120)
    return f"{TYPED!r} finds it as number {rank} of {len(names)}"


@pytest.mark.parametrize("remedy", ["Set key", "Try the sandbox"])
def test_from_an_empty_canvas_to_a_video(
    newcomer: Editor, sandbox: SandboxProcess, step: Callable[[str], None], figure: Callable[[str], None], remedy: str
) -> None:
    editor, xalora = newcomer, newcomer.xalora
    step("empty")
    figure(add_by_typing(editor))
    (node,) = editor.nodes()
    small = {"prompt": f"a rabbit in the snow {secrets.token_hex(3)}", "width": 64, "height": 48, "length": 5}
    editor.js(
        """([id, values]) => { for (const widget of app.graph.getNodeById(id).widgets)
            if (widget.name in values) widget.value = values[widget.name] }""",
        [node, small],
    )
    step("node")

    editor.queue()
    assert editor.end()["name"] == "execution_error"
    xalora.message("No API key is set")
    step("told")
    editor.close_error()
    secret = f"canary{secrets.token_hex(16)}"
    if remedy == "Set key":
        xalora.press("No API key is set", remedy)
        xalora.dialog("Xalora key and server")
        step("dialog")
        xalora.set_key(sandbox.url, f"artist-7#{secret}")
        after = "Saved"
    else:
        xalora.press("No API key is set", remedy)
        after = "The sandbox is on"
    xalora.message(after)
    step("ready")
    if remedy == "Set key":
        xalora.press(after, "Run")

    editor.page.wait_for_function("seen.end?.name === 'execution_success'")
    assert editor.preview_played(node)
    step("done")
    if remedy == "Set key":
        assert places_of(secret, editor) == ["xalora/config.json"]
        assert stat.S_IMODE((editor.comfy.base / "xalora" / "config.json").stat().st_mode) == 0o600


def places_of(secret: str, editor: Editor) -> list[str]:
    """Where the secret is: in which files, in the page, in what the page keeps, and in what the routes answer."""
    base = editor.comfy.base
    files = [file for file in base.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
    kept = "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    texts = {
        "the page": editor.js("() => document.documentElement.outerHTML"),
        "fields": editor.js("() => JSON.stringify([...document.querySelectorAll('input')].map(({value}) => value))"),
        "the page's storage": editor.js(kept),
        "the workflow": json.dumps(editor.export()),
        "the log": editor.comfy.log(),
        "the websocket": json.dumps([event.data for event in editor.comfy.events], default=repr),
    }
    paths = ("/xalora/config", "/xalora/tasks", "/api/settings", "/history", "/object_info", "/internal/logs")
    texts |= {path: editor.comfy.get(path).text for path in paths}
    return [file.relative_to(base).as_posix() for file in files] + [
        place for place, text in texts.items() if secret in text
    ]
