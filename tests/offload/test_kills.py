"""Every part killed at random for a short while: no task is lost, charged twice, or run twice without need."""

from __future__ import annotations

import random
from pathlib import Path

from tests.offload.kills import run


def test_no_kill_loses_a_task_or_charges_it_twice(tmp_path: Path) -> None:
    assert run(tmp_path, tasks=12, seconds=25, dice=random.Random(1), speed=2) == []
