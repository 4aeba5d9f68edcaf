"""Our nodes in the search box, by what people type.

Editors rank by the words in ids and display names, which are given. Aliases are looked at by newer ones only, and come
after every node whose name has the words. So they decide whether a node is found at all, and names decide its rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Editor

WORST_RANK = {
    "text2video": ("Xalora Text2Video", 1),
    "xalora": ("Xalora Upscale", 10),
    "upscale": ("Xalora Upscale", 12),
    "flux lora": ("Xalora Flux LoRA", 3),
}
"""In every editor: by the words of the name."""

WORST_RANK_BY_ALIAS = {
    "text to video": ("Xalora Text2Video", 10),
    "upscale image": ("Xalora Upscale", 15),
    "text to image": ("Xalora Flux LoRA", 30),
    "generate video": ("Xalora Text2Video", 5),
    "enlarge": ("Xalora Upscale", 5),
    "super resolution": ("Xalora Upscale", 15),
    "remote gpu": ("Xalora Upscale", 6),
    "collect result": ("Xalora Task Status", 2),
    "文生视频": ("Xalora Text2Video", 1),
}
"""Where the editor knows aliases."""


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
def test_a_node_is_found_by_words_of_its_name(canvas: Editor, figure: Callable[[str], None], typed: str) -> None:
    name, worst = WORST_RANK[typed]
    listed = found_by(canvas, typed)
    rank = rank_of(name, listed)
    figure(f"{typed!r} finds {name} at {rank} of {len(listed)}")
    assert rank is not None
    assert rank <= worst


@pytest.mark.parametrize("typed", WORST_RANK_BY_ALIAS)
def test_a_node_is_found_by_other_words_for_it(canvas: Editor, figure: Callable[[str], None], typed: str) -> None:
    name, worst = WORST_RANK_BY_ALIAS[typed]
    listed = found_by(canvas, typed)
    rank = rank_of(name, listed)
    figure(f"{typed!r} finds {name} at {rank} of {len(listed)}")
    if "search_aliases" not in canvas.comfy.get("/object_info/XaloraUpscale").json()["XaloraUpscale"]:
        pytest.skip(f"this ComfyUI has no aliases; {typed!r} finds {name} at {rank}")
    assert rank is not None
    assert rank <= worst
