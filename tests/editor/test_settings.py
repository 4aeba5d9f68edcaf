"""Settings → Xalora: what is in force and from where, changed in place, and kept out of ComfyUI's own settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor


@pytest.fixture
def unset(editor: Editor) -> Iterator[Editor]:
    """The editor with neither key nor server set, and nothing left of what the test sets."""
    editor.comfy.use()
    nothing = dict.fromkeys(("api_key", "workflow_url", "image_delivery", "media_budget"), "")
    editor.comfy.post("/xalora/config", nothing).raise_for_status()
    yield editor
    editor.comfy.use()
    editor.comfy.post("/xalora/config", nothing).raise_for_status()


def open_settings(editor: Editor) -> Any:
    """Open the page; returns the dialog."""
    editor.js("() => app.extensionManager.command.execute('Comfy.ShowSettingsDialog')")
    dialog = editor.page.get_by_role("dialog").filter(has_text="Settings").first
    dialog.get_by_text("Xalora", exact=True).first.click()
    dialog.get_by_text("Folder in use").wait_for()
    return dialog


def kept_by_comfyui(editor: Editor) -> str:
    files = Path(editor.comfy.base, "user").rglob("*.json")
    return "".join(file.read_text(encoding="utf-8") for file in files) + editor.comfy.get("/settings").text


def test_settings_are_changed_in_place(unset: Editor, sandbox: SandboxProcess, canary: str) -> None:
    dialog = open_settings(unset)
    dialog.get_by_text("No key is set").wait_for()
    dialog.get_by_text(str(unset.comfy.base / "xalora")).wait_for()
    dialog.get_by_role("button", name="Set key").click()
    unset.xalora.set_key(sandbox.url, f"artist-7#{canary}")
    dialog.get_by_text("Key of consumer artist-7, from the stored settings").wait_for()
    dialog.get_by_text(sandbox.url).wait_for()
    dialog.get_by_role("combobox", name="How images reach miners").select_option("data-uri")
    dialog.get_by_role("spinbutton", name="Space for results").fill("2.5")
    unset.page.keyboard.press("Tab")
    dialog.get_by_role("button", name="Test connection").click()
    dialog.locator("[data-status=ok]").filter(has_text="key").first.wait_for()
    assert not dialog.locator("[data-status=problem]").filter(has_text="key").count()

    stored = json.loads((unset.comfy.base / "xalora" / "config.json").read_text(encoding="utf-8"))
    assert stored == {
        "api_key": f"artist-7#{canary}",
        "workflow_url": sandbox.url,
        "image_delivery": "data-uri",
        "media_budget": "2.5",
    }
    assert canary not in kept_by_comfyui(unset)
    assert sandbox.url not in kept_by_comfyui(unset)


def test_another_server_needs_a_key_of_its_own(unset: Editor, sandbox: SandboxProcess) -> None:
    unset.comfy.post("/xalora/config", {"api_key": "artist-7#of-one", "workflow_url": sandbox.url}).raise_for_status()
    open_settings(unset).get_by_role("button", name="Change", exact=True).click()
    dialog = unset.xalora.dialog("Xalora key and server")
    dialog.get_by_text("Leave empty to keep the key of artist-7").wait_for()
    dialog.get_by_label("Address of the sequencer").fill("http://127.0.0.1:9")
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_text("Enter a key.").wait_for()
    unset.page.keyboard.press("Escape")
    assert unset.comfy.get("/xalora/config").json()["server"]["url"] == sandbox.url


def test_what_the_environment_sets_is_shown_and_not_editable(
    unset: Editor, sandbox: SandboxProcess, configured: Callable[[str], None]
) -> None:
    configured(sandbox.url)
    dialog = open_settings(unset)
    dialog.get_by_text("Key of consumer consumer-of-tests, from the .env file").wait_for()
    assert not dialog.get_by_role("button", name="Change key").count()
    assert not dialog.get_by_role("button", name="Change", exact=True).count()
