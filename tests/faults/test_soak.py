"""The soak in short; ``python -m tests.faults.soak`` is the long one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.faults.soak import soak

TASKS = 100


def test_all_end_and_each_is_charged_once(tmp_path: Path, figure: Callable[[str], None]) -> None:
    soak(10, tmp_path / "warm")  # What the first tasks load stays.
    figures = soak(TASKS, tmp_path / "soak")
    figure(
        f"soak: {TASKS} tasks, {figures.wrong} of {figures.requests} requests answered wrongly, {figures.seconds:.1f} s"
    )
    assert figures.ended == {"done": TASKS}
    assert figures.charged == TASKS
    assert figures.wrong > 10
    assert figures.left == []
    if figures.memory is not None:
        middle, end = figures.memory
        assert end - middle < 20
