"""Lists of the ledger: pages, filters, and reading while others write."""

from __future__ import annotations

import pytest

from tests.support.ledger_steps import answer, claim, identity, run_to
from xalora_client.ledger import Ledger, Listing


@pytest.fixture
def ledger(home):
    with Ledger(home, "https://sequencer.example") as ledger:
        yield ledger


@pytest.fixture
def listing(home):
    listing = Listing(home)
    yield listing
    listing.close()


def test_without_a_ledger_lists_are_empty_and_no_file_is_made(home, listing):
    assert listing.tasks(10) == ([], 0)
    assert listing.find("t1") is None
    assert not home.exists()


def test_pages_go_from_the_newest_to_the_oldest(ledger, listing):
    for number in range(7):
        run_to(ledger, "finished", f"t{number}", identity(f"a rabbit {number}"))
    first, total = listing.tasks(3)
    assert ([record.task_id for record in first], total) == (["t6", "t5", "t4"], 7)
    second, _ = listing.tasks(3, before=first[-1].number)
    assert [record.task_id for record in second] == ["t3", "t2", "t1"]


def test_filters_by_state(ledger, listing):
    for number, state in enumerate(["waiting", "running", "finished", "failed"]):
        run_to(ledger, state, f"t{number}", identity(f"a rabbit {number}"))
    sending = claim(ledger, identity("unsent"))
    assert [record.state for record in listing.tasks(10, state="open")[0]] == ["creating", "running", "waiting"]
    assert [record.task_id for record in listing.tasks(10, state="failed")[0]] == ["t3"]
    ledger.canceled("t1")
    # Accepted, but its end was not seen.
    assert [record.state for record in listing.tasks(10, state="open")[0]] == ["creating", "canceled", "waiting"]
    assert listing.is_being_sent(listing.find(sending.record.job_id))
    sending.release()
    assert not listing.is_being_sent(listing.find(sending.record.job_id))


@pytest.mark.parametrize("text", ["rabbit in", "RABBIT", "schön", "100%", "t1", "kind", '"quoted"'])
def test_finds_text_in_parameters_and_ids(ledger, listing, text):
    run_to(ledger, "finished", "t1", identity('A rabbit in 100% schön "quoted" snow'))
    found, total = listing.tasks(10, text=text)
    assert ([record.task_id for record in found], total) == (["t1"], 1)


@pytest.mark.parametrize("text", ["100_", "a%t", "fox"])
def test_finds_no_other_text(ledger, listing, text):
    run_to(ledger, "finished", "t1", identity("A rabbit in 100% snow"))
    assert listing.tasks(10, text=text) == ([], 0)


def test_reads_while_another_writes(ledger, listing):
    run_to(ledger, "finished")

    def read(db):
        db.execute("UPDATE tasks SET message = 'half'")
        return listing.tasks(10)

    ((record,), _) = ledger._database.run(read)
    assert record.message is None


def test_the_usual_time_is_the_median_of_the_last(home, listing):
    now = [1000.0]
    with Ledger(home, "https://sequencer.example", clock=lambda: now[0]) as ledger:
        for number, seconds in enumerate([10, 20, 60]):
            task_id = f"t{number}"
            ledger.created(claim(ledger, identity(f"{number}")), task_id)
            now[0] += seconds
            ledger.observed(task_id, answer("running", task_id))
            ledger.observed(task_id, answer("finished", task_id))
        record = ledger.find("t0")
    assert listing.usual_seconds(record) == 20


def test_a_task_is_found_by_either_id(ledger, listing):
    begun = claim(ledger)
    assert listing.find(begun.record.job_id).task_id is None
    ledger.created(begun, "t1")
    assert listing.find("t1") == listing.find(begun.record.job_id)
