"""A damaged ledger is set aside, and what can be read of it carried over."""

from __future__ import annotations

import sqlite3

import pytest
from ledger_steps import COMMON, claim, intent, run_to, spoil
from processes import run_together

from xalora_client import StorageError
from xalora_client.ledger import Ledger, Step

SPOIL = (
    COMMON
    + """
sys.stdin.readline()
with Ledger(home) as ledger:
    print(claim(ledger, "x").step.value)
"""
)


@pytest.mark.parametrize("content", [b"no database " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_ledger_is_set_aside(ledger, home, caplog, content):
    home.mkdir()
    (home / "ledger.sqlite3").write_bytes(content)
    assert claim(ledger).step is Step.NEW
    (aside,) = home.glob("ledger.sqlite3.corrupt-*")
    assert aside.read_bytes() == content
    assert str(aside) in caplog.text
    assert len(caplog.records) == 1


def test_what_can_be_read_is_carried_over(ledger, home, caplog):
    for number in range(100):
        ledger.created(claim(ledger, intent(number)), f"t{number}")
    spoil(ledger, "tasks_by_fingerprint")
    assert claim(ledger, intent(7)).entry.task_id == "t7"
    assert len(ledger.entries(1000)) == 100
    assert "100 tasks" in caplog.text
    assert len(list(home.glob("*corrupt*"))) == 1


def test_where_nothing_new_can_be_written_the_damaged_ledger_stays(ledger, home):
    run_to(ledger, "finished")
    spoil(ledger, "tasks_by_fingerprint")
    (home / "ledger.sqlite3.new").mkdir()
    with pytest.raises(StorageError, match="cannot be used"):
        claim(ledger)
    assert not list(home.glob("*corrupt*"))
    (home / "ledger.sqlite3.new").rmdir()
    assert claim(ledger).step is Step.FINISHED


def test_a_second_damage_in_the_same_second_gets_a_name_of_its_own(ledger, home, caplog):
    for _ in range(3):
        claim(ledger).release()
        spoil(ledger, "tasks")
        claim(ledger).release()
    assert len(list(home.glob("*corrupt*"))) == 3
    assert "0 tasks" in caplog.text


def test_part_of_a_table_is_carried_over_from_both_ends(ledger, home):
    what = [intent(f"{number} " + "long " * 500) for number in range(30)]
    for number, each in enumerate(what):
        ledger.created(claim(ledger, each), f"t{number}")
    ledger.close()
    path = home / "ledger.sqlite3"
    db = sqlite3.connect(path)
    (page,) = db.execute(
        "SELECT pageno FROM dbstat WHERE name = 'tasks' AND pagetype = 'leaf' LIMIT 1 OFFSET 12"
    ).fetchone()
    db.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xaa" * 4096)
    found = {entry.task_id for entry in ledger.entries(100)}
    assert {"t0", "t1", "t28", "t29"} < found
    assert len(found) < 30


def test_who_had_the_damaged_file_open_moves_on_to_the_new_one(ledger, home):
    with Ledger(home) as other:
        claim(other).release()
        path = home / "ledger.sqlite3"
        path.rename(home / "elsewhere")
        path.write_bytes(b"no database")
        mine = claim(ledger)
        assert mine.step is Step.NEW
        assert claim(other).step is Step.BUSY
    assert len(list(home.glob("*corrupt*"))) == 1


def test_many_who_find_the_damage_at_once_set_one_file_aside(home):
    home.mkdir()
    (home / "ledger.sqlite3").write_bytes(b"no database " * 1000)
    outputs = "".join(run_together(SPOIL, 4, home)).split()
    assert outputs.count("new") == 1
    assert set(outputs) <= {"new", "busy", "resend"}
    assert len(list(home.glob("*corrupt-*"))) == 1


def test_unreadable_parameters_do_not_hide_an_entry(ledger):
    run_to(ledger, "running")
    ledger._database.run(lambda db: db.execute("UPDATE tasks SET parameters = '{', state = 'running'"))
    assert ledger.find("t1").parameters == "{"
