"""One thing is said once, in plain words and in its place, until its cause has gone; in each editor."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from conftest import Editor

KEY = "artist-7#of-tests"

OF_THIS_MACHINE = [
    "Node 3 Sampler input:prompt (BarPainter): CUDA out of memory. Tried to allocate 2.00 GiB",
    "Allocation on device\nThis error means you ran out of memory on your GPU.",
    "Node 3 Sampler: Unauthorized: Please login first to use this node.",
    "Payment Required: Please add credits to your account to use this node.",
]
"""What ComfyUIs say of themselves, and editors take for this one's when they read it in an error."""


@pytest.fixture
def page(any_editor: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any]) -> Iterator[Editor]:
    with opening(any_editor) as editor:
        editor.page.set_viewport_size({"width": 1280, "height": 720})
        yield editor


@pytest.fixture
def miner(any_editor: ComfyUIProcess) -> Iterator[FakeXalora]:
    server = FakeXalora()
    any_editor.use(server.url, XALORA_API_KEY=KEY)
    yield server
    server.close()


def fail(editor: Editor, node: int) -> Any:
    """Run a node that will fail; returns its message."""
    editor.queue()
    end = editor.end()
    assert end["name"] == "execution_error"
    history = editor.comfy.get
    editor.until(lambda: history(f"/history/{end['prompt_id']}").json(), "the history has the run")
    assert history(f"/history/{end['prompt_id']}").json()[end["prompt_id"]]["status"]["status_str"] == "error"
    editor.close_error()
    messages = editor.page.locator(".xalora-notice[role=alert]")
    messages.first.wait_for()
    return messages


def add(editor: Editor, **values: Any) -> int:
    return editor.add("XaloraFluxLora", **{"prompt": secrets.token_hex(4), "lora_name": "gecko"} | values)


@pytest.mark.parametrize("said", OF_THIS_MACHINE)
def test_a_remote_failure_is_not_this_machines(page: Editor, miner: FakeXalora, said: str) -> None:
    miner.ends = lambda number, parameters: status("failed", msg=said)
    node = add(page)
    messages = fail(page, node)
    assert messages.count() == 1
    assert messages.locator("strong").inner_text() == "Text to Image (Xalora Flux LoRA) · Task"
    assert not page.page.get_by_text("Not enough GPU memory").count()
    # Nor does a dialog ask to log in, or to pay.
    assert not page.page.locator("[role=dialog]:visible").count()
    assert "BarPainter" not in messages.inner_text()
    overlay = page.page.get_by_test_id("error-overlay")
    if overlay.count():
        told, ours = overlay.bounding_box(), messages.bounding_box()
        assert told["y"] + told["height"] <= ours["y"] or ours["y"] + ours["height"] <= told["y"]


def test_at_most_two_stand_until_their_causes_have_gone(page: Editor, miner: FakeXalora) -> None:
    miner.script("task_create", Answer({"message": "balance is 0.00"}, 402))
    node = add(page)
    messages = fail(page, node)
    assert messages.get_by_text("The account does not have enough credit").is_visible()
    assert not messages.get_by_text("balance is 0.00").is_visible()
    messages.get_by_text("Details").click()
    assert messages.get_by_text("balance is 0.00").is_visible()
    notify = "async text => (await import('/extensions/xalora-nodes/notices.js')).notify({text})"
    for text in ("one", "two"):
        page.js(notify, text)
    others = page.page.locator(".xalora-notice")
    assert others.locator("p").all_inner_texts() == ["one", "two"]
    for _ in range(2):
        others.first.get_by_role("button", name="Close").click()
    fail(page, node)
    miner.script("task_create", miner._create)
    page.queue()
    assert page.end()["name"] == "execution_success"
    page.until(lambda: messages.all_inner_texts() == [], "the message of the failed run has gone")
    page.js("() => app.graph.clear()")
    node = add(page, prompt=" ")
    assert fail(page, node).last.locator("p").first.inner_text() == "Write a prompt first."
    page.comfy.use()
    add(page)
    page.js("id => app.graph.remove(app.graph.getNodeById(id))", node)
    assert "No API key is set" in fail(page, node).inner_text()
    page.comfy.post("/xalora/config", {"workflow_url": "sandbox"}).raise_for_status()
    page.js("async () => (await import('/extensions/xalora-nodes/settings_state.js')).announce({}, {})")
    page.until(lambda: not messages.count(), "the settings are others")


@pytest.mark.parametrize("how", ["in the tab", "in the queue"])
def test_cancel_says_the_same_from_everywhere(page: Editor, endless: SandboxProcess, how: str) -> None:
    page.comfy.use(endless.url, XALORA_API_KEY=KEY)
    prompt = secrets.token_hex(4)
    page.add("XaloraText2Video", prompt=prompt, width=64, height=48, length=5)
    page.js("""() => {
        seen.lines = [];
        app.api.addEventListener('progress_text', ({detail}) => seen.lines.push(detail.text));
    }""")
    page.queue()
    page.until(lambda: any("running" in text for text in page.js("() => seen.lines")), "the task runs")
    if how == "in the tab":
        page.xalora.act(prompt, "Cancel task")
    else:
        page.comfy.interrupt()
    assert page.end()["name"] == "execution_interrupted"
    page.until(lambda: page.js("() => seen.lines.at(-1)") == "canceled", "the node says so")
    page.page.wait_for_timeout(500)
    assert not page.page.locator(".xalora-notice[role=alert], [role=dialog]:visible").count()
    assert not page.page.get_by_text("The task is canceled").count()
    assert not page.page.get_by_test_id("error-overlay").count()
