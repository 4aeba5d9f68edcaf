"""A damaged ledger refuses: what it was asked for is never created a second time without a word."""

from __future__ import annotations

import random
import shutil

import pytest

from tests.support.ledger_steps import SERVER, answer, claim, full, identity, records_of, run_to, spoil
from xalora_client import StorageError, TaskRecords
from xalora_client.ledger import Ledger, Listing, Step

PAGE = 4096
STATES = ["waiting", "running", "finished", "creating", "doubtful"]


def name(number):
    return f"{number} " + "long " * (900 if number % 7 == 3 else 5)  # Some go on to a page of their own.


def fill(ledger, numbers):
    for number in numbers:
        what, state = identity(name(number)), STATES[number % 5]
        if state == "creating":
            claim(ledger, what).release()
        elif state == "doubtful":
            ledger.unconfirmed(claim(ledger, what), "who knows")
        else:
            run_to(ledger, state, f"t{number}", what)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a ledger of some twenty pages, those of an earlier one, and its job ids by what was asked for."""
    home = tmp_path_factory.mktemp("small")
    with Ledger(home, SERVER) as ledger:
        fill(ledger, range(20))
        ledger.close()
        earlier = (home / "ledger.sqlite3").read_bytes()
        for number in range(0, 20, 5):
            ledger.observed(f"t{number}", answer("finished", f"t{number}"))
        fill(ledger, range(20, 45))
        jobs = {record.parameters["name"]: record.job_id for record in records_of(ledger)}
    content = (home / "ledger.sqlite3").read_bytes()
    assert len(content) > 15 * PAGE
    return content, earlier, jobs


def pages(content):
    return [content[at : at + PAGE] for at in range(0, len(content), PAGE)]


def flipped(page, seed):
    dice = random.Random(seed)
    used = [at for at in range(PAGE) if page[at]]
    for at in dice.sample(used, min(5, len(used))):
        yield page[:at] + bytes([page[at] ^ 1 << dice.randrange(8)]) + page[at + 1 :]


OTHER_CONTENT = {
    "zeros": lambda number, all_pages, earlier: [bytes(PAGE)],
    "noise": lambda number, all_pages, earlier: [b"\xaa" * PAGE, random.Random(number).randbytes(PAGE)],
    "another page": lambda number, all_pages, earlier: [
        page for at, page in enumerate(all_pages) if at != number and page[0] == all_pages[number][0]
    ],
    "an earlier state": lambda number, all_pages, earlier: pages(earlier)[number : number + 1],
    "flipped bits": lambda number, all_pages, earlier: flipped(all_pages[number], number),
}


@pytest.mark.parametrize("kind", OTHER_CONTENT)
def test_a_damaged_page_never_leads_to_a_second_create(small, home, kind):
    """Each page in turn, also with content that SQLite takes for right."""
    content, earlier, jobs = small
    all_pages = pages(content)
    outcomes = set()
    for number in range(len(all_pages)):
        for damaged in OTHER_CONTENT[kind](number, all_pages, earlier):
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            (home / "ledger.sqlite3").write_bytes(b"".join([*all_pages[:number], damaged, *all_pages[number + 1 :]]))
            with Ledger(home, SERVER) as ledger:
                for asked in random.Random(number).sample(sorted(jobs), 12):
                    try:
                        claimed = claim(ledger, identity(asked))
                    except StorageError as error:
                        assert "is damaged" in str(error), error  # noqa: PT017
                        outcomes.add("refused")
                        continue
                    assert claimed.step in (Step.EXISTING, Step.REUSED, Step.RESENT), (number, asked)
                    assert claimed.step is not Step.RESENT or claimed.record.job_id == jobs[asked]
                    claimed.release()
                    outcomes.add(claimed.step)
    assert outcomes == {"refused", Step.EXISTING, Step.REUSED, Step.RESENT}


@pytest.mark.parametrize("column", ["job_id", "fingerprint"])
def test_one_changed_letter_is_noticed(ledger, home, column):
    """In the table or in an index: a task would be sent again under another job id, or not be found."""
    claimed = claim(ledger)
    claimed.release()
    ledger.close()
    path = home / "ledger.sqlite3"
    content = path.read_bytes()
    value = getattr(claimed.record, column).encode()
    parts = content.split(value)
    assert len(parts) > 2
    for number in range(1, len(parts)):
        changed = value[:-1] + bytes([value[-1] ^ 1])
        path.write_bytes(value.join(parts[:number]) + changed + value.join(parts[number:]))
        with pytest.raises(StorageError, match="damaged"):
            claim(ledger)
        ledger.close()


@pytest.mark.parametrize("damage", [bytes(1024), b"\xaa" * 1024])
def test_a_damaged_log_never_leads_to_a_second_create(home, tmp_path, damage):
    """Each part in turn of the log that a killed process leaves."""
    with Ledger(home, SERVER) as ledger:
        fill(ledger, range(10))
        shutil.copytree(home, tmp_path / "killed")
        jobs = {record.parameters["name"]: record.job_id for record in records_of(ledger)}
    log = (tmp_path / "killed" / "ledger.sqlite3-wal").read_bytes()
    assert len(log) > PAGE
    for at in range(0, len(log), 1024):
        shutil.rmtree(home)
        shutil.copytree(tmp_path / "killed", home)
        (home / "ledger.sqlite3-wal").write_bytes(log[:at] + damage[: len(log) - at] + log[at + 1024 :])
        with Ledger(home, SERVER) as ledger:
            for asked, job_id in jobs.items():
                try:
                    assert claim(ledger, identity(asked)).record.job_id == job_id
                except StorageError as error:
                    assert "is damaged" in str(error)  # noqa: PT017


def test_the_error_says_what_is_damaged_and_which_command_repairs_it(ledger, home):
    run_to(ledger, "finished")
    spoil(ledger, "tasks_by_fingerprint")
    with pytest.raises(StorageError, match=r"ledger\.sqlite3 is damaged: .*; nothing was sent\. No task") as caught:
        claim(ledger)
    assert f'`xalora repair --home "{home}"`' in caught.value.advice
    ledger.close()
    assert [path.name for path in home.glob("*ledger*")] == ["ledger.sqlite3"]


@pytest.mark.parametrize("content", [b"", b"no database " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_everybody_who_needs_a_damaged_ledger_is_told(ledger, home, content):
    home.mkdir()
    (home / "ledger.sqlite3").write_bytes(content)
    with TaskRecords(home) as records:
        for use in (
            lambda: claim(ledger),
            lambda: claim(ledger, reuse=False),
            lambda: ledger.find("t1"),
            lambda: ledger.forget("t1"),
            lambda: records_of(ledger),
            lambda: Listing(home).tasks(10),
            records.tasks,
        ):
            with pytest.raises(StorageError, match=r"is damaged: .*xalora repair"):
                use()
    assert (home / "ledger.sqlite3").read_bytes() == content
    assert not list(home.glob("*.damaged-*"))


def test_a_task_that_a_damaged_ledger_cannot_record_is_in_the_error(ledger):
    claimed = claim(ledger)
    spoil(ledger, "tasks")
    with pytest.raises(StorageError, match=r"Task t1 is running and charged, but not recorded: .*damaged") as caught:
        ledger.created(claimed, "t1")
    assert caught.value.task_id == "t1"


def test_an_answer_is_written_to_no_other_task(ledger, home):
    """An index that looks right, but leads to another task's row."""
    for number in range(1, 5):
        run_to(ledger, "running", f"t{number}", identity(f"{number}"))
    ledger.close()
    path = home / "ledger.sqlite3"
    content = path.read_bytes()
    assert content.count(b"t3\x03") == content.count(b"t4\x04") == 1
    path.write_bytes(content.replace(b"t3\x03", b"t3\x04").replace(b"t4\x04", b"t4\x03"))
    for use in (lambda: ledger.observed("t3", answer("failed", "t3")), lambda: ledger.forget("t4")):
        with pytest.raises(StorageError, match="damaged"):
            use()
    assert [record.state for record in records_of(ledger)] == ["running"] * 4


def test_a_full_disk_is_no_damage(ledger, home):
    run_to(ledger, "finished")
    full(ledger)
    with pytest.raises(StorageError, match="full"):
        claim(ledger, identity("long " * 3000))
    assert claim(ledger).step is Step.REUSED


def test_unreadable_parameters_do_not_hide_an_entry(ledger):
    run_to(ledger, "running")
    ledger._database.run(lambda db: db.execute("UPDATE tasks SET parameters = '{', state = 'running'"))
    assert ledger.find("t1").parameters == "{"
