"""A SQLite file for one user: its mode, durability and version. What several users share is tested with the ledger."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing

import pytest

from xalora_client import StorageError
from xalora_client.storage.sqlite_file import connect, is_damage, unusable

FIRST = ("CREATE TABLE things (name TEXT)", "INSERT INTO things VALUES ('a')")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "things.sqlite3"


def test_it_is_made_complete_and_written_through(path):
    with closing(connect(path, [FIRST], "The list")) as db:
        pragmas = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "fullfsync")]
        assert pragmas == ["wal", 2, 1]
        db.execute("INSERT INTO things VALUES ('b')")
        assert [row["name"] for row in db.execute("SELECT name FROM things")] == ["a", "b"]
    with closing(connect(path, [FIRST], "The list")) as db:
        assert [row["name"] for row in db.execute("SELECT name FROM things")] == ["a", "b"]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="needs file modes")
def test_only_its_owner_reads_it(path):
    before = os.umask(0o022)
    try:
        with closing(connect(path, [FIRST], "The list")) as db:
            db.execute("INSERT INTO things VALUES ('b')")
            assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(before)


def test_steps_are_sql_and_functions(path):
    connect(path, [FIRST], "The list").close()
    second = ("ALTER TABLE things ADD COLUMN length", lambda db: db.execute("UPDATE things SET length = length(name)"))
    with closing(connect(path, [FIRST, second], "The list")) as db:
        assert [tuple(row) for row in db.execute("SELECT * FROM things")] == [("a", 1)]


def test_a_step_that_fails_changes_nothing(path):
    connect(path, [FIRST], "The list").close()
    with pytest.raises(sqlite3.OperationalError, match="syntax"):
        connect(path, [FIRST, ("ALTER TABLE things ADD COLUMN length", "NO SQL")], "The list")
    with closing(connect(path, [FIRST], "The list")) as db:
        assert [tuple(row) for row in db.execute("SELECT * FROM things")] == [("a",)]


def test_a_newer_version_is_left_alone(path):
    connect(path, [FIRST, (), ()], "The list").close()
    with pytest.raises(StorageError, match=r"The list was written by a newer version.*schema 3.*Update the client"):
        connect(path, [FIRST], "The list")


def test_damage_is_told_from_other_trouble(path):
    connect(path, [FIRST], "The list").close()
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        connect(path, [FIRST], "The list")
    assert is_damage(caught.value)
    assert "The list" in str(unusable(path, "The list", caught.value))
    assert not is_damage(sqlite3.OperationalError("database is locked"))
    assert "Another program" in str(unusable(path, "The list", sqlite3.OperationalError("database is locked")))
