"""What a consumer tries with images, uploads and results costs nobody else anything."""

from __future__ import annotations

import re
import sys

import pytest

from tests.hostile.consumers import attacks
from tests.hostile.world import World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sequencer's memory is read from /proc")

MOST_MEMORY = 400.0
HANGS = 5.0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.mark.parametrize("attack", attacks(), ids=lambda attack: attack.name)
def test_nobody_else_notices(world, attack):
    found = world.measure(attack)
    assert re.fullmatch(attack.answer, found.answer), found
    assert found.noticed == []
    assert found.memory <= MOST_MEMORY
    assert found.pause <= HANGS
