"""Settings → Xalora: what is in force and from where, changed in place, and kept out of ComfyUI's own settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor


@pytest.fixture
def unset(editor: Editor) -> Iterator[Editor]:
    """The editor with neither key nor server set, and nothing left of what the test sets."""
    stored = editor.comfy.base / "xalora" / "config.json"
    editor.comfy.use()
    stored.unlink(missing_ok=True)
    yield editor
    editor.comfy.use()
    stored.unlink(missing_ok=True)


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
    dialog.get_by_text("Everyone who uses this ComfyUI pays with it.").wait_for()
    dialog.get_by_text(sandbox.url).wait_for()
    dialog.get_by_role("combobox", name="How images reach miners").select_option("data-uri")
    dialog.get_by_role("spinbutton", name="Space for results").fill("2.5")
    unset.page.keyboard.press("Tab")
    dialog.get_by_role("button", name="Test connection").click()
    dialog.get_by_text("Connected: 3 workflows").wait_for()
    dialog.get_by_text("Details", exact=True).click()
    dialog.locator("[data-status=ok]").filter(has_text="key").first.wait_for()
    assert not dialog.locator("[data-status=problem]").filter(has_text="key").count()
    dialog.get_by_role("combobox", name="How images reach miners").select_option("bucket")
    dialog.get_by_role("textbox", name="Bucket").wait_for()
    assert dialog.locator("[data-status=ok]").filter(has_text="key").count(), "the answer is gone"

    stored = json.loads((unset.comfy.base / "xalora" / "config.json").read_text(encoding="utf-8"))
    assert stored == {
        "api_key": f"artist-7#{canary}",
        "workflow_url": sandbox.url,
        "image_delivery": "bucket",
        "media_budget": "2.5",
    }
    assert canary not in kept_by_comfyui(unset)
    assert sandbox.url not in kept_by_comfyui(unset)


def test_what_the_environment_sets_is_shown_and_not_editable(
    unset: Editor, sandbox: SandboxProcess, configured: Callable[[str], None]
) -> None:
    configured(sandbox.url)
    dialog = open_settings(unset)
    dialog.get_by_text("Key of consumer consumer-of-tests, from the .env file").wait_for()
    assert not dialog.get_by_role("button", name="Change key").count()
    assert not dialog.get_by_role("button", name="Change", exact=True).count()


def open_key_dialog(editor: Editor) -> Any:
    """Open the dialog for key and server by its command."""
    editor.js("() => { app.extensionManager.command.execute('Xalora.SetKey') }")
    return editor.xalora.dialog("Xalora key and server")


def messages(editor: Editor) -> list[str]:
    return editor.page.locator(".xalora-notice").all_inner_texts()


def test_a_server_for_which_the_key_is_not_meant_is_refused(unset: Editor, sandbox: SandboxProcess) -> None:
    """The key is in ``.env``: it goes to the default server alone."""
    unset.comfy.use("", XALORA_API_KEY="artist-7#of-the-network")
    dialog = open_key_dialog(unset)
    dialog.get_by_label("Server", exact=True).select_option("own")
    dialog.get_by_label("Address of the sequencer").fill(sandbox.url)
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_text("the key is set by XALORA_API_KEY in the .env file").wait_for()
    assert unset.comfy.get("/xalora/config").json()["server"]["kind"] == "network"
    unset.page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert messages(unset) == []  # Nothing was changed.
    # Chromium itself reports the answer 400.
    unset.problems[:] = [each for each in unset.problems if "status of 400" not in each]


def test_what_was_stored_counts_although_a_problem_is_left(unset: Editor) -> None:
    """A wrong bucket in ``.env`` does not keep the sandbox from being left again."""
    unset.comfy.use("", XALORA_BUCKET="no bucket")
    dialog = open_key_dialog(unset)
    for kind in ("sandbox", "network"):
        dialog.get_by_label("Server", exact=True).select_option(kind)
        if kind == "network":
            dialog.get_by_label("Key (consumer#key)").fill("artist-7#of-the-network")
        dialog.get_by_role("button", name="Save").click()
        unset.until(lambda kind=kind: unset.comfy.get("/xalora/config").json()["server"]["kind"] == kind, "stored")
        dialog.get_by_text("not the address of a bucket").first.wait_for()


def test_enter_pressed_twice_stores_once(unset: Editor, sandbox: SandboxProcess) -> None:
    posts = list[str]()
    unset.page.on("request", lambda request: request.method == "POST" and posts.append(request.url))
    dialog = open_key_dialog(unset)
    dialog.get_by_label("Server", exact=True).select_option("own")
    dialog.get_by_label("Address of the sequencer").fill(sandbox.url)
    dialog.get_by_label("Key (consumer#key)").fill("artist-7#of-one")
    dialog.locator("form").evaluate("form => { form.requestSubmit(); form.requestSubmit() }")
    dialog.get_by_text("Connected: 3 workflows").wait_for()
    assert [url for url in posts if url.endswith("/xalora/config")] == [f"{unset.comfy.url}/api/xalora/config"]


def test_what_is_no_number_is_not_stored_as_the_default(unset: Editor) -> None:
    unset.comfy.post("/xalora/config", {"media_budget": "2.5"}).raise_for_status()
    budget = open_settings(unset).get_by_role("spinbutton", name="Space for results")
    budget.press("ControlOrMeta+a")
    budget.press_sequentially("1e")
    budget.press("Tab")
    unset.page.wait_for_timeout(500)
    assert unset.comfy.get("/xalora/config").json()["media_budget"]["gigabytes"] == "2.5"
    budget.fill("3")
    budget.press("Tab")
    unset.until(lambda: unset.comfy.get("/xalora/config").json()["media_budget"]["gigabytes"] == "3", "stored")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "ComfyUI does not answer"),
        (502, "ComfyUI does not answer"),
        (404, "Restart ComfyUI"),
        (200, "Something other than ComfyUI has answered (200)"),
        (403, "Something other than ComfyUI has answered (403)"),
    ],
)
def test_who_answered_in_place_of_our_routes_is_said(unset: Editor, status: int | None, words: str) -> None:
    dialog = open_settings(unset)
    page = "<!doctype html><title>Log in</title>"
    unset.page.route(
        "**/xalora/config",
        lambda route: route.abort() if status is None else route.fulfill(status=status, body=page),
    )
    dialog.get_by_role("combobox", name="How images reach miners").select_option("data-uri")
    unset.xalora.message(words)
    unset.page.unroute("**/xalora/config")
    # Chromium itself reports the answers; an exception of ours would stay.
    unset.problems[:] = [each for each in unset.problems if each.startswith("exception")]
