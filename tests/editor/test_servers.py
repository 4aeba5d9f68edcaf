"""The dialog for key and server: each server keeps its own, and Save says in one line whether it can be used."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cluster import KEY, MINER_KEY, SequencerProcess
from tests.support.comfyui_process import ComfyUIProcess
from tests.support.fake_miner import FakeMiner
from tests.support.processes import free_port

if TYPE_CHECKING:
    from conftest import Editor


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[SequencerProcess]:
    """A sequencer that lets in who has a key."""
    process = SequencerProcess(tmp_path / "keyed")
    yield process
    process.close()


@pytest.fixture
def keyless(tmp_path: Path) -> Iterator[SequencerProcess]:
    """A sequencer that lets everybody in."""
    process = SequencerProcess(tmp_path / "keyless", keys=False)
    yield process
    process.close()


class Dialog:
    """The dialog, as a person uses it."""

    def __init__(self, editor: Editor) -> None:
        editor.js("() => { app.extensionManager.command.execute('Xalora.SetKey') }")
        self.root = editor.xalora.dialog("Xalora key and server")
        self.server = self.root.get_by_label("Server", exact=True)
        self.address = self.root.get_by_label("Address of the sequencer")
        self.key = self.root.get_by_label("Key (consumer#key)")
        self.keyboard = editor.page.keyboard
        self.until = editor.until

    def choose(self, kind: str, address: str | None = None, key: str = "") -> Dialog:
        """Fill in what is asked for."""
        self.server.select_option(kind)
        if address is not None:
            self.address.fill(address)
        if kind != "sandbox":
            self.key.fill(key)
        return self

    def save(self, *said: str, enter: bool = False) -> None:
        """Save, and wait for the one line that says this; the checks are behind it."""
        if enter:
            self.keyboard.press("Enter")
        else:
            self.root.get_by_role("button", name="Save").click()
        for words in said:
            self.root.locator("p").filter(has_text=words).first.wait_for()

    def wait_for_focus(self, field: Any) -> None:
        """Wait until what is typed goes into this field."""
        is_focused = "field => field === document.activeElement"
        self.until(lambda: field.evaluate(is_focused), "the field has the focus")

    def close(self) -> None:
        self.keyboard.press("Escape")
        self.root.wait_for(state="detached")


def stored(comfy: ComfyUIProcess) -> dict[str, Any]:
    return json.loads((comfy.base / "xalora" / "config.json").read_text(encoding="utf-8"))


def test_each_server_is_tested_and_keeps_its_own_key(
    any_editor: ComfyUIProcess,
    opening: Callable[[ComfyUIProcess], Any],
    keyed: SequencerProcess,
    keyless: SequencerProcess,
) -> None:
    any_editor.use("")
    nobody = f"http://127.0.0.1:{free_port()}"
    with opening(any_editor) as editor:
        dialog = Dialog(editor)
        dialog.choose("own", "  ", KEY).save("Enter the address of your sequencer")
        dialog.choose("own", "http://gpu:99999", KEY).save("impossible port")
        assert "xyz" not in dialog.root.inner_text(), "not in the words of the public network"
        dialog.choose("own", any_editor.url.removeprefix("http://")).save("That is ComfyUI's own address")
        dialog.wait_for_focus(dialog.address)
        assert not (any_editor.base / "xalora" / "config.json").exists()

        dialog.choose("own", f" {keyless.url.removeprefix('http://')}/ ").save("Connected, but no machine")
        for name in ("one", "two"):
            FakeMiner(keyless.url, "txt2vid.1", "txt2img.2", "upscaler", name=name).waits(60)
        dialog.save("Connected: 2 machines, 3 workflows")
        assert dialog.address.input_value() == keyless.url
        assert not dialog.root.get_by_text("key at the server:").is_visible()
        dialog.root.get_by_text("Details", exact=True).click()
        dialog.root.get_by_text("key at the server: the server does not refuse it").wait_for()
        assert stored(any_editor) == {"workflow_url": keyless.url}

        dialog.choose("own", keyed.url).save("This sequencer needs a key")
        dialog.wait_for_focus(dialog.key)
        dialog.keyboard.type(KEY)
        FakeMiner(keyed.url, "txt2vid.1", key=MINER_KEY).waits(60)
        dialog.save("Connected: 1 machine, 1 workflow", enter=True)
        dialog.close()

        dialog = Dialog(editor)
        dialog.choose("network").save("Enter a key")
        dialog.choose("sandbox").save("The sandbox is ready")
        dialog.choose("own", nobody, "me#another").save("Saved, but it does not work yet", nobody)
        dialog.choose("sandbox").save("The sandbox is ready")
        dialog.choose("own", keyed.url)
        dialog.root.get_by_text("Leave empty to keep the key of consumer").wait_for()
        dialog.save("Connected")
        dialog.close()
        # Chromium itself reports the answers 400.
        assert [each for each in editor.problems if "status of 400" not in each] == []

    consumer, _, secret = KEY.partition("#")
    kept = stored(any_editor)
    assert (kept["workflow_url"], kept["api_key"]) == (keyed.url, KEY)
    assert kept["keys"] == {keyless.url: "", nobody: "me#another"}
    assert stat.S_IMODE((any_editor.base / "xalora" / "config.json").stat().st_mode) == 0o600
    shown = any_editor.get("/xalora/config").text
    assert consumer in shown
    assert secret not in shown
    any_editor.post("/xalora/config", {"api_key": "", "workflow_url": ""}).raise_for_status()
