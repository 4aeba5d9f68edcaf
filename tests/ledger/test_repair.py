"""``xalora repair``: what can be read of a damaged ledger is saved, and what cannot is named."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.ledger_steps import COMMON, SERVER, claim, identity, records_of, run_to
from tests.support.processes import run_together, start_script
from xalora_client import StorageError
from xalora_client.cli import main
from xalora_client.ledger import Ledger, Step
from xalora_client.ledger.repair import repair

PAGE = 4096
TABLE = 2
REPAIR = (
    COMMON
    + """
from xalora_client.ledger.repair import repair
sys.stdin.readline()
print("repaired" if repair(home) else "sound")
"""
)
KILLED = (
    COMMON
    + """
import os
from xalora_client.storage import files
from xalora_client.ledger.repair import repair
moves = int(sys.argv[2])
sync = files.sync_folder
def killed(folder):
    global moves
    moves -= 1
    if not moves:
        os._exit(0)
    sync(folder)
files.sync_folder = killed
repair(home)
"""
)


@pytest.fixture
def full(ledger, home):
    """A ledger with 60 finished tasks, t0 to t59, as a function that damages its pages."""
    for number in range(60):
        run_to(ledger, "finished", f"t{number}", identity(f"{number}"))
    ledger.close()
    path = home / "ledger.sqlite3"

    def damage(*pages, content=b"\xaa" * PAGE):
        with path.open("r+b") as file:
            for page in pages:
                file.seek((page - 1) * PAGE)
                file.write(content)

    return damage


def leaves(home):
    """The pages with the tasks."""
    with closing(sqlite3.connect(home / "ledger.sqlite3")) as db:
        query = "SELECT pageno FROM dbstat WHERE name = 'tasks' AND pagetype = 'leaf' ORDER BY path"
        return [page for (page,) in db.execute(query)]


def found_in(home):
    with Ledger(home) as ledger:
        return {record.task_id for record in records_of(ledger, 100)}


def everything():
    return {f"t{number}" for number in range(60)}


def test_a_sound_ledger_is_left_alone(full, home, capsys):
    before = (home / "ledger.sqlite3").read_bytes()
    assert repair(home) is None
    assert main(["repair"]) == 0
    assert "not damaged" in capsys.readouterr().out
    assert (home / "ledger.sqlite3").read_bytes() == before


def test_without_a_ledger_there_is_nothing_to_repair(home):
    assert repair(home) is None
    assert not home.exists()


@pytest.mark.parametrize("page", [1, TABLE, 3, 4, 5, 6, 7], ids=["first", "table", *"abcde"])
@pytest.mark.parametrize("content", [bytes(PAGE), b"\xaa" * PAGE])
def test_all_tasks_are_read_without_the_page_that_leads_to_them(full, ledger, home, page, content):
    full(page, content=content)
    found = repair(home)
    assert (found.recovered, found.lost, found.unsure, found.untraced) == (60, [], [], [])
    assert found_in(home) == everything()
    assert claim(ledger, identity("7")).record.task_id == "t7"
    assert repair(home) is None


def test_an_index_that_looks_right_does_not_cost_a_task(full, home):
    content = (home / "ledger.sqlite3").read_bytes()
    full(4, content=content[2 * PAGE : 3 * PAGE])
    assert repair(home).recovered == 60


def test_what_was_lost_is_named(full, ledger, home, capsys):
    jobs = {record.task_id: record.job_id for record in records_of(ledger, 100)}
    ledger.close()
    full(leaves(home)[1])
    assert main(["repair", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    lost = {task["task_id"] for task in told["lost"]}
    assert 0 < len(lost) < 30
    assert found_in(home) == everything() - lost
    assert told["recovered"] == 60 - len(lost)
    assert all(task["job_id"] == jobs[task["task_id"]] for task in told["lost"])
    assert (told["repaired"], told["untraced"]) == (True, [])
    assert b"\xaa" * PAGE in Path(told["kept"]).read_bytes()


def test_what_was_lost_is_told_to_people(full, home, capsys):
    full(leaves(home)[1])
    assert main(["repair", "--home", str(home)]) == 1
    said = capsys.readouterr().out
    assert "is kept as" in said
    assert "Lost: task t" in said
    assert "would be charged again. `xalora fetch ID` still gets its result." in said


def test_numbers_without_a_trace_are_told(full, home, capsys):
    full(leaves(home)[1], 3, 4, 5, 6, 7)
    assert main(["repair", "--home", str(home)]) == 1
    assert "Lost, or forgotten before: numbers " in capsys.readouterr().out


def test_what_was_forgotten_does_not_come_back(full, ledger, home):
    ledger.forget("t30")
    ledger.close()
    full(TABLE)
    found = repair(home)
    assert (found.recovered, found.lost) == (59, [])


def test_a_text_that_cannot_be_read_costs_no_task(full, ledger, home):
    path = home / "ledger.sqlite3"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'{"name": "31"}', b'{"name": "\xff1"}'))
    with pytest.raises(StorageError, match="damaged"):
        claim(ledger, identity("31"))
    assert repair(home).recovered == 60
    assert claim(ledger, identity("31")).step is Step.REUSED


def test_a_wrong_job_id_is_told(full, ledger, home):
    record = ledger.find("t31")
    ledger.close()
    path = home / "ledger.sqlite3"
    content, job = path.read_bytes(), record.job_id.encode()
    path.write_bytes(content.replace(job, job[:-1] + b"!", 1))
    found = repair(home)
    assert found.recovered == 60
    assert [(task["number"], task["task_id"]) for task in found.unsure] == [(32, "t31")]


def test_who_had_the_damaged_file_open_moves_on_to_the_new_one(full, ledger, home):
    with Ledger(home, SERVER) as other:
        other.find("t1")
        full(leaves(home)[1])
        repair(home)
        assert claim(ledger, identity("new")).step is Step.NEW
        assert claim(other, identity("new")).step is Step.RESENT


def test_many_who_repair_at_once_repair_once(full, home):
    full(TABLE)
    outputs = "".join(run_together(REPAIR, 3, home)).split()
    assert sorted(outputs) == ["repaired", "sound", "sound"]
    assert len(list(home.glob("*.damaged-*"))) == 1


def test_a_second_damage_in_the_same_second_gets_a_name_of_its_own(full, home, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _: "20260101-000000")
    for _ in range(3):
        full(TABLE)
        repair(home)
    assert len(list(home.glob("*.damaged-*"))) == 3
    assert found_in(home) == everything()


def test_where_nothing_new_can_be_written_the_damaged_ledger_stays(full, ledger, home):
    full(TABLE)
    damaged = (home / "ledger.sqlite3").read_bytes()
    (home / "ledger.sqlite3.new").mkdir()
    with pytest.raises(StorageError, match="cannot be used"):
        repair(home)
    assert (home / "ledger.sqlite3").read_bytes() == damaged
    (home / "ledger.sqlite3.new").rmdir()
    assert repair(home).recovered == 60


@pytest.mark.parametrize("moves", [1, 2, 3])
def test_a_repair_that_is_killed_is_taken_up(full, ledger, home, moves):
    """Meanwhile nobody takes the missing ledger for an empty one."""
    full(TABLE)
    with start_script(KILLED, home, moves) as process:
        assert process.communicate(timeout=60)[1] == ""
    if not (home / "ledger.sqlite3").exists():
        for use in (lambda: claim(ledger, identity("7")), lambda: records_of(ledger)):
            with pytest.raises(StorageError, match=r"a repair of it was interrupted.*xalora repair"):
                use()
        assert repair(home).recovered == 60
    assert claim(ledger, identity("7")).step is Step.REUSED
    assert found_in(home) == everything()


@pytest.mark.skipif(os.name == "nt", reason="needs file modes")
def test_the_new_file_is_nobody_elses_business_either(full, home):
    full(TABLE)
    repair(home)
    assert {path.stat().st_mode & 0o777 for path in home.glob("ledger*")} == {0o600}
