"""Ledgers of older and newer versions."""

from __future__ import annotations

import pytest

from tests.support.ledger_steps import claim, run_to
from xalora_client import StorageError
from xalora_client.ledger.task_record import STEPS
from xalora_client.storage.sqlite_file import SqliteFile


def test_a_newer_schema_is_left_alone(ledger, home):
    run_to(ledger, "finished")
    ledger._database.run(lambda db: db.execute("PRAGMA user_version = 99"))
    ledger.close()
    with pytest.raises(StorageError, match=r"newer version.*Update the client"):
        claim(ledger)
    assert not list(home.glob("*damaged*"))


def test_an_older_schema_is_brought_up_to_date(ledger, home):
    run_to(ledger, "finished")
    ledger.close()
    steps = (*STEPS, ("ALTER TABLE tasks ADD COLUMN price REAL", "CREATE INDEX by_price ON tasks (price)"))
    newer = SqliteFile(home / "ledger.sqlite3", steps, "The ledger", "")
    assert newer.run(lambda db: db.execute("SELECT task_id, price FROM tasks").fetchone()[:]) == ("t1", None)
    assert newer.run(lambda db: db.execute("PRAGMA user_version").fetchone()[0]) == len(steps)
    newer.close()


def test_a_step_that_fails_changes_nothing(ledger, home):
    run_to(ledger, "finished")
    ledger.close()
    steps = (*STEPS, ("ALTER TABLE tasks ADD COLUMN price REAL", "NO SQL"))
    broken = SqliteFile(home / "ledger.sqlite3", steps, "The ledger", "")
    with pytest.raises(StorageError, match="syntax"):
        broken.run(lambda db: None)
    assert ledger.find("t1").state == "finished"
    assert ledger._database.run(lambda db: db.execute("PRAGMA user_version").fetchone()[0]) == len(STEPS)
