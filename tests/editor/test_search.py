"""Our nodes in the search box, by what people type.

Editors rank by the words in ids and display names: a name that begins with what was typed comes first. Aliases are
looked at by newer ones only, and come after every node whose name has the words. The editor of 0.3.64 looks at the
first 30 characters of a name, and at nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Editor

WORST_RANK = {
    "text to video": ("Xalora Text2Video", 1, 3),
    "text2video": ("Xalora Text2Video", 1, 1),
    "文生视频": ("Xalora Text2Video", None, 1),
    "upscale": ("Xalora Upscale", 7, 7),
    "upscale image": ("Xalora Upscale", 4, 4),
    "enlarge": ("Xalora Upscale", 1, 1),
    "super resolution": ("Xalora Upscale", None, 4),
    "text to image": ("Xalora Flux LoRA", 1, 14),
    "flux lora": ("Xalora Flux LoRA", 1, 1),
    "lora": ("Xalora Flux LoRA", 5, 11),
    "remote": ("Xalora Run Workflow", 1, 1),
    "cloud": ("Xalora Run Workflow", 1, 3),
    "run workflow": ("Xalora Run Workflow", 1, 1),
    "cancel": ("Xalora Cancel Task", 1, 1),
    "xalora": ("Xalora Text2Video", 6, 6),
}
"""The node that is meant, its worst rank in the editor of 0.3.64 (None: not found), and that in newer ones."""


def found_by(editor: Editor, typed: str) -> list[str]:
    """The names that the search box lists, best first, once the list is still."""
    editor.js("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    editor.page.wait_for_function("['INPUT', 'TEXTAREA'].includes(document.activeElement?.tagName)")
    editor.page.keyboard.type(typed)
    options = editor.page.locator("[data-testid='result-item'], .p-autocomplete-option")
    earlier, listed = None, options.all_inner_texts()
    while earlier != listed:
        editor.page.wait_for_timeout(700)
        earlier, listed = listed, options.all_inner_texts()
    editor.page.keyboard.press("Escape")
    options.first.wait_for(state="hidden")
    return listed


def rank_of(name: str, listed: list[str]) -> int | None:
    return next((rank for rank, text in enumerate(listed, 1) if name in text), None)


@pytest.mark.parametrize("typed", WORST_RANK)
def test_a_node_is_found_by_what_people_type(canvas: Editor, figure: Callable[[str], None], typed: str) -> None:
    name, in_old, in_new = WORST_RANK[typed]
    has_aliases = "search_aliases" in canvas.comfy.get("/object_info/XaloraUpscale").json()["XaloraUpscale"]
    worst = in_new if has_aliases else in_old
    listed = found_by(canvas, typed)
    rank = rank_of(name, listed)
    figure(f"{typed!r} finds {name} at {rank} of {len(listed)}")
    if worst is not None:
        assert rank is not None
        assert rank <= worst
