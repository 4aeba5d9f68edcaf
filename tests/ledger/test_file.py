"""The ledger's file: full disks, locks, permissions."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from tests.support.ledger_steps import COMMON, SERVER, WHO, claim, full, run_to
from tests.support.processes import start_script
from xalora_client import CustomTask, StorageError
from xalora_client.ledger import Ledger, Step, TaskIdentity
from xalora_client.storage import sqlite_file

FULL = (
    COMMON
    + """
import resource
with Ledger(home) as ledger:
    ledger.created(claim(ledger, "before"), "t0")
    size = max(path.stat().st_size for path in home.glob("ledger.sqlite3*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        for number in range(1000):
            claim(ledger, number).release()
    except StorageError as error:
        print(error)
    print(claim(ledger, "before").step.value)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(claim(ledger, number).step.value, [path.name for path in home.glob("*damaged*")])
"""
)


def test_a_full_disk_is_told_before_anything_is_sent(ledger):
    claim(ledger).release()
    full(ledger)
    with pytest.raises(StorageError, match=r"full.*Free some space"):
        claim(ledger, TaskIdentity.of(SERVER, CustomTask("kind", {"texts": ["long" * 1000] * 50}), WHO))
    assert not list(ledger._database.path.parent.glob("*damaged*"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_file_that_cannot_grow(home):
    with start_script(FULL, home) as process:
        output, errors = process.communicate(timeout=60)
    lines = output.splitlines()
    assert len(lines) == 3, errors
    assert "cannot be used" in lines[0]
    assert "Free some space" in lines[0]
    assert lines[1] == "attach"
    assert lines[2] == "new []"


@pytest.mark.parametrize("make", [Path.touch, lambda path: (path / "ledger.sqlite3").mkdir(parents=True)])
def test_a_home_that_cannot_be_used(home, make):
    make(home)
    with pytest.raises(StorageError, match=r"cannot be used.*XALORA_HOME"):
        claim(Ledger(home))


def test_a_locked_ledger_is_waited_for_and_never_set_aside(ledger, home, monkeypatch):
    claim(ledger).release()
    ledger.close()
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.05)
    other = sqlite3.connect(home / "ledger.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"locked.*Another program"):
        claim(ledger)
    other.execute("ROLLBACK")
    other.close()
    assert claim(ledger).step is Step.RESENT
    assert not list(home.glob("*damaged*"))


def test_a_ledger_that_is_being_built_for_too_long(home, monkeypatch):
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.05)
    home.mkdir()
    building = sqlite_file.ProcessLock.acquire(home / "ledger.sqlite3.building")
    with pytest.raises(StorageError, match="too long"):
        claim(Ledger(home))
    building.release()


def test_nothing_is_opened_before_the_first_use(home):
    with Ledger(home):
        pass
    assert not home.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs file modes")
def test_the_file_is_nobody_elses_business(ledger, home):
    claim(ledger)
    assert {path.stat().st_mode & 0o777 for path in home.glob("ledger.sqlite3*")} == {0o600}


def test_a_deleted_ledger_is_begun_anew(ledger, home):
    run_to(ledger, "finished")
    for path in home.glob("ledger.sqlite3*"):
        path.unlink()
    claimed = claim(ledger)
    assert claimed.step is Step.NEW
    with Ledger(home) as other:
        assert claim(other).step is Step.IN_PROGRESS
