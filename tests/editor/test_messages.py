"""An error of ours is a message in the pack's own words, with buttons that do what would help."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_sequencer import Answer, FakeSequencer, status

if TYPE_CHECKING:
    from conftest import Editor


@pytest.fixture
def refusing(configured: Callable[[str], None], editor: Editor) -> Iterator[FakeSequencer]:
    """A sequencer that answers what the test says, as the editor's own."""
    server = FakeSequencer()
    configured(server.url)
    yield server
    server.close()


def run(editor: Editor, **values: Any) -> int:
    """Run a node that will fail; returns its id. Its inputs are new: ComfyUI would not run it again after a success."""
    inputs = {"prompt": f"refused {uuid.uuid4().hex[:8]}", "lora_name": "gecko", "width": 64, "height": 64}
    node = editor.add("XaloraFluxLora", **inputs | values)
    editor.add("PreviewImage")
    editor.js("() => { const [from, to] = app.graph.nodes; to.pos = [1000, 200]; from.connect(0, to, 0) }")
    editor.queue()
    assert editor.end()["name"] == "execution_error"
    return node


def buttons(editor: Editor, text: str) -> list[str]:
    """The names of the buttons of the message that says this."""
    return editor.xalora.message(text).locator("footer button").all_inner_texts()


@pytest.mark.parametrize(
    ("status", "offered"),
    [(401, ["Set key", "Try the sandbox"]), (402, ["Try again"]), (400, [])],
)
def test_a_refusal_offers_what_helps(editor: Editor, refusing: FakeSequencer, status: int, offered: list[str]) -> None:
    refusing.script("task_create", Answer({"message": f"refused with {status}"}, status))
    run(editor)
    assert buttons(editor, f"refused with {status}") == [*offered, "Open help"]
    assert editor.xalora.message(f"refused with {status}").get_attribute("role") == "alert"


@pytest.mark.parametrize("status", [402, 503])
def test_with_reuse_off_nothing_is_offered_that_pays_again(
    editor: Editor, refusing: FakeSequencer, status: int
) -> None:
    refusing.script("task_create", Answer({"message": f"refused with {status}"}, status))
    run(editor, reuse=False)
    assert buttons(editor, f"refused with {status}") == ["Open help"]


def test_a_wrong_value_is_about_the_input(editor: Editor, refusing: FakeSequencer) -> None:
    editor.add("XaloraTaskStatus", task_id="")
    editor.queue()
    assert editor.end()["name"] == "execution_error"
    message = editor.xalora.message("Fill in task_id first")
    assert message.locator("strong").inner_text() == "Xalora Task Status · Input"


def test_what_a_server_says_is_never_markup(editor: Editor, refusing: FakeSequencer) -> None:
    """The editor of ComfyUI 0.3.64 inserts a node's text as HTML; later ones make links of double brackets."""
    said = '<img src=x onerror="window.harmed = true"> [[click|https://x.example]] __LNK7__'
    refusing.script("task_create", Answer({"message": said}, 400))
    node = run(editor)
    editor.until(lambda: any("img src" in text for text in editor.texts(node)), "the node shows what was said")
    editor.page.wait_for_timeout(500)
    assert editor.js("() => window.harmed") is None
    assert not editor.page.get_by_role("link", name="click", exact=True).count()
    assert editor.page.get_by_text("‹img src=x").count()


def test_try_again_runs_again(editor: Editor, refusing: FakeSequencer) -> None:
    refusing.script(
        "task_create", Answer({"message": "the balance is used up"}, 402), Answer({"message": "again"}, 402)
    )
    run(editor)
    editor.close_error()
    editor.xalora.press("the balance is used up", "Try again")
    editor.xalora.message("again")


def test_collect_is_offered_for_a_task_of_the_list_alone(editor: Editor, refusing: FakeSequencer) -> None:
    """The result of a task that another computer made is collected by its node."""
    refusing.script("task_result_query", status("running"))
    editor.add("XaloraTaskStatus", task_id="task-of-another", wait=True, timeout_seconds=1)
    editor.queue()
    assert editor.end()["name"] == "execution_error"
    assert buttons(editor, "task-of-another") == ["Try again", "Open help"]
    # Chromium itself reports the answer 404.
    editor.problems[:] = [each for each in editor.problems if "status of 404" not in each]


def test_trying_the_sandbox_asks_nothing_and_removes_nothing(editor: Editor, refusing: FakeSequencer) -> None:
    editor.comfy.use()
    stored = {"api_key": "artist-7#of-one", "workflow_url": refusing.url}
    editor.comfy.post("/xalora/config", stored).raise_for_status()
    refusing.script("task_create", Answer({"message": "refused"}, 401))
    run(editor)
    editor.close_error()
    editor.xalora.press("refused", "Try the sandbox")
    editor.xalora.message("The sandbox is on")
    shown = editor.comfy.get("/xalora/config").json()
    assert shown["server"]["kind"] == "sandbox"
    assert {"kind": "own", "url": refusing.url, "consumer": "artist-7"} in shown["servers"]
    editor.comfy.post("/xalora/config", {"workflow_url": refusing.url}).raise_for_status()
    assert editor.comfy.get("/xalora/config").json()["key"]["consumer"] == "artist-7"
    editor.comfy.post("/xalora/config", {"api_key": "", "workflow_url": ""}).raise_for_status()


def test_messages_can_be_used_while_a_dialog_is_open(editor: Editor) -> None:
    notify = """async text => {
        const {notify} = await import('/extensions/xalora-nodes/notices.js');
        notify({text, buttons: [['Press', () => { window.pressed = text }]]});
    }"""
    editor.js(notify, "from before")
    editor.js("() => { app.extensionManager.command.execute('Xalora.SetKey') }")
    dialog = editor.xalora.dialog("Xalora key and server")
    editor.xalora.press("from before", "Press")
    assert editor.js("() => window.pressed") == "from before"
    # Where the focus was before, although the button that had it is gone.
    assert editor.js("() => document.activeElement.closest('dialog') !== null")
    editor.js(notify, "meanwhile")
    editor.xalora.press("meanwhile", "Press")
    assert editor.js("() => window.pressed") == "meanwhile"
    editor.js(notify, "left over")
    editor.page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    editor.xalora.press("left over", "Press")
    assert editor.js("() => window.pressed") == "left over"


def test_help_is_the_page_of_the_node_at_what_is_about_the_error(editor: Editor, refusing: FakeSequencer) -> None:
    refusing.script("task_create", Answer({"message": "not like this"}, 400))
    run(editor)
    editor.close_error()
    editor.xalora.press("not like this", "Open help")
    dialog = editor.xalora.dialog("Text to Image (Xalora Flux LoRA)")
    heading = dialog.get_by_text("If something happens on the way").bounding_box()
    whole = dialog.bounding_box()
    assert whole["y"] <= heading["y"] <= whole["y"] + whole["height"]
    assert dialog.evaluate("dialog => dialog.scrollTop") > 0


def test_an_error_of_another_node_is_not_ours(editor: Editor) -> None:
    error = {"exception_type": "ValueError", "exception_message": "no", "node_type": "KSampler", "traceback": []}
    editor.js("error => app.api.dispatchCustomEvent('execution_error', error)", error)
    editor.page.wait_for_timeout(300)
    assert not editor.page.locator(".xalora-notice").count()
