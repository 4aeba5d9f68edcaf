"""The workflow check says of a prompt what ComfyUI says: a part of ``python -m tests.comfyui.validation``."""

from __future__ import annotations

from tests.comfyui.validation import GRAPHS, compare, with_files
from tests.support.comfyui_process import IS_SHORT, ComfyUIProcess


def test_the_check_refuses_what_comfyui_refuses_and_nothing_else(comfy: ComfyUIProcess) -> None:
    with_files(comfy)
    verdicts = compare(comfy, every=41 if IS_SHORT else 5)
    assert [(each.what, each.faults) for each in verdicts if not each.agrees] == []
    assert len({each.what.split(":")[0] for each in verdicts}) >= len(GRAPHS) // 2
    assert {each.is_accepted for each in verdicts} == {True, False}
