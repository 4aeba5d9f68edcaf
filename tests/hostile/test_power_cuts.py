"""What a sequencer acknowledged is there after a power cut. ``python -m tests.hostile.power_cuts`` makes many."""

from __future__ import annotations

import shutil
import sys

import pytest

from tests.hostile.power_cuts import BROKEN, Disk, main

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


@pytest.mark.parametrize(
    ("ended", "is_left"), [("1 2", b"onetwo"), ("2 1", b"onetwo"), ("2", b"onetwo"), ("1", b"one")]
)
def test_a_flush_that_ends_late_takes_nothing_back(tmp_path, ended, is_left):
    """Two at once: the second began after more was written."""
    done = b"".join(b"flushed %d\n" % int(number) for number in ended.split())
    disk = Disk(tmp_path)
    disk.replay(
        b"open 1 0 f\nopen 2 0 .\nflush 2 9\nflushed 9\nwrite 1 0 3\noneflush 1 1\nwrite 1 3 3\ntwoflush 1 2\n" + done
    )
    disk.restore(None)
    assert (tmp_path / "f").read_bytes() == is_left
