"""An error of ours is a message in the pack's own words, with buttons that do what would help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from sequencer import Answer, Sequencer

if TYPE_CHECKING:
    from conftest import Editor


@pytest.fixture
def refusing(configured: Callable[[str], None], editor: Editor) -> Iterator[Sequencer]:
    """A sequencer that answers what the test says, as the editor's own."""
    server = Sequencer()
    configured(server.url)
    yield server
    server.close()


def run(editor: Editor) -> None:
    """Run a node that will fail."""
    editor.add("XaloraFluxLora", prompt="refused", lora_name="gecko", width=64, height=64)
    editor.add("PreviewImage")
    editor.js("() => { const [from, to] = app.graph.nodes; to.pos = [1000, 200]; from.connect(0, to, 0) }")
    editor.queue()
    assert editor.end()["name"] == "execution_error"


def buttons(editor: Editor, text: str) -> list[str]:
    """The names of the buttons of the message that says this."""
    return editor.xalora.message(text).locator("footer button").all_inner_texts()


@pytest.mark.parametrize(
    ("status", "offered"),
    [(401, ["Set key", "Try the sandbox"]), (402, ["Try again"]), (400, [])],
)
def test_a_refusal_offers_what_helps(editor: Editor, refusing: Sequencer, status: int, offered: list[str]) -> None:
    refusing.script("task_create", Answer({"message": f"refused with {status}"}, status))
    run(editor)
    assert buttons(editor, f"refused with {status}") == [*offered, "Open help"]
    assert editor.xalora.message(f"refused with {status}").get_attribute("role") == "alert"


def test_try_again_runs_again(editor: Editor, refusing: Sequencer) -> None:
    refusing.script(
        "task_create", Answer({"message": "the balance is used up"}, 402), Answer({"message": "again"}, 402)
    )
    run(editor)
    editor.close_error()
    editor.xalora.press("the balance is used up", "Try again")
    editor.xalora.message("again")


def test_help_is_the_page_of_the_node(editor: Editor, refusing: Sequencer) -> None:
    refusing.script("task_create", Answer({"message": "not like this"}, 400))
    run(editor)
    editor.xalora.press("not like this", "Open help")
    assert "Flux LoRA" in editor.xalora.dialog("Open help").inner_text()


def test_an_error_of_another_node_is_not_ours(editor: Editor) -> None:
    error = {"exception_type": "ValueError", "exception_message": "no", "node_type": "KSampler", "traceback": []}
    editor.js("error => app.api.dispatchCustomEvent('execution_error', error)", error)
    editor.page.wait_for_timeout(300)
    assert not editor.page.locator(".xalora-notice").count()
