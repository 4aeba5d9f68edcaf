"""What a sequencer acknowledged is there after a power cut. ``python -m tests.hostile.power_cuts`` makes many."""

from __future__ import annotations

import shutil
import sys

import pytest

from tests.hostile.power_cuts import BROKEN, main

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="the shim that records writes needs Linux and gcc"
)


def test_what_was_acknowledged_survives_power_cuts():
    found = main(5, seed=1)
    assert found.lost == []
    assert found.count > 100


@pytest.mark.parametrize("what", BROKEN)
def test_the_cuts_find_what_is_not_flushed(what):
    assert main(10, seed=1, broken=BROKEN[what]).lost != []
