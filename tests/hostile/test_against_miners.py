"""What a hostile sequencer or ComfyUI answers costs a miner little, and it does its next task as ever.

Those that take longer are run by ``python -m tests.hostile``.
"""

from __future__ import annotations

import re
import sys

import pytest

from tests.hostile.against_miners import MinerWorld, attacks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the miner's memory is read from /proc")

MOST_MEMORY = 250.0
"""MiB: an input may have 128."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = MinerWorld(tmp_path_factory.mktemp("miner"))
    yield world
    world.close()


@pytest.mark.parametrize(
    "attack", [each for each in attacks() if not each.is_slow], ids=lambda attack: attack.name.replace("/", "")
)
def test_the_miner_goes_on(world, attack):
    found = world.measure(attack)
    assert re.fullmatch(attack.answer, found.answer), found
    assert found.noticed == []
    assert found.memory <= MOST_MEMORY
