"""What became of a claim, and what the server says of a task, is written down."""

from __future__ import annotations

import pytest

from tests.support.ledger_steps import SERVER, WHO, answer, claim, full, identity, records_of, run_to
from xalora_client import CustomTask, StorageError, WorkflowTaskResult
from xalora_client.ledger import Ledger, Step, TaskIdentity


def test_late_words_of_the_first_sender_do_no_harm(ledger, caplog):
    first = claim(ledger)
    first.release()
    second = claim(ledger)
    ledger.rejected(first, "too late")
    assert records_of(ledger)[0].state == "creating"
    ledger.created(second, "t1")
    ledger.unconfirmed(first, "too late")
    ledger.rejected(second, "too late")
    ledger.created(first, "t1")
    assert ledger.find("t1").state == "waiting"
    assert not caplog.text
    ledger.created(first, "t2")
    assert "t1 and t2" in ledger.find("t2").message
    assert "t1 and t2" in caplog.text


def test_a_forgotten_task_is_written_down_when_it_is_paid_for(ledger):
    created, doubtful, rejected = (claim(ledger, identity(name)) for name in "abc")
    for each in (created, doubtful, rejected):
        assert [record.job_id for record in ledger.forget(each.record.job_id)] == [each.record.job_id]
    assert records_of(ledger) == []
    ledger.created(created, "t1")
    assert ledger.find("t1").job_id == created.record.job_id
    ledger.unconfirmed(doubtful, "who knows")
    ledger.rejected(rejected, "no")
    assert [record.state for record in records_of(ledger)] == ["doubtful", "waiting"]
    assert [record.task_id for record in ledger.forget("t1")] == ["t1"]
    assert ledger.forget("t1") == []


def test_a_task_id_that_cannot_be_written_is_in_the_error(ledger):
    claimed = claim(ledger)
    full(ledger)
    task_id = "t9" * 50_000
    with pytest.raises(StorageError, match=rf"[Tt]ask {task_id}.*running and charged.*Free some space"):
        ledger.created(claimed, task_id)
    assert claim(ledger).step is Step.IN_PROGRESS
    ledger.close()
    assert claim(ledger).step is Step.RESENT


def test_a_task_id_that_could_not_be_written_is_written_once_there_is_room(ledger):
    claimed = claim(ledger)
    full(ledger)
    task_id = "t9" * 50_000
    with pytest.raises(StorageError):
        ledger.created(claimed, task_id)
    with pytest.raises(StorageError):
        ledger.observed(task_id, answer("running", task_id))
    ledger._database.run(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())
    ledger.observed(task_id, answer("running", task_id))
    attached = claim(ledger)
    assert (attached.step, attached.record.task_id, attached.record.state) == (Step.EXISTING, task_id, "running")


def test_final_states_stay(ledger, clock):
    run_to(ledger, "finished")
    first = ledger.find("t1")
    clock.now += 5
    for status in ("running", "failed", "canceled"):
        ledger.observed("t1", answer(status))
    assert ledger.find("t1") == first
    ledger.observed("t1", answer("finished", media_url="https://media.example/new"))
    assert ledger.find("t1").media_url == "https://media.example/new"
    assert ledger.find("t1").finished == first.finished


def test_a_result_after_all_is_taken(ledger):
    run_to(ledger, "failed")
    ledger.observed("t1", answer("finished", result="x.mp4"))
    assert ledger.find("t1").state == "finished"


def test_strange_answers_are_survived(ledger):
    ledger.observed("unknown", answer("finished"))
    ledger.stored("unknown", "ab" * 32, ".mp4", 1)
    ledger.created(claim(ledger), "t\ud8001")
    ledger.observed("t\ud8001", WorkflowTaskResult("t1", "refused"))
    ledger.observed("t\ud8001", answer("running", msg="a\ud800b", extra={"x": 1}))
    ledger.observed("t\ud8001", answer("finished", result={"odd": {1, 2}}, media_url="https://e/\ud800"))
    record = ledger.find("t?1")
    assert (record.state, record.message, record.media_url) == ("finished", "a b", "https://e/?")
    assert record.result == {"odd": "{1, 2}"}


def test_answers_change_only_what_they_say(ledger):
    ledger.created(claim(ledger), "t1")
    ledger.observed("t1", answer("running", inference_latency=2.0, msg="busy"))
    ledger.observed("t1", answer("running"))
    assert (ledger.find("t1").inference_latency, ledger.find("t1").message) == (2.0, "busy")


def test_servers_are_kept_apart(ledger, home):
    ledger.created(claim(ledger), "t1")
    there = TaskIdentity.of("https://other.example", CustomTask("kind"), WHO)
    ledger.created(claim(ledger, there), "t1")
    ledger.observed("t1", answer("failed"))
    assert (ledger.find("t1").server, ledger.find("t1").state) == (SERVER, "failed")
    with Ledger(home, "https://other.example") as other, Ledger(home, "https://third.example") as third:
        assert other.find("t1").state == "waiting"
        assert third.find("t1") is None
    with Ledger(home) as every:
        assert every.find("t1").server == "https://other.example"


def test_entries_newest_first(ledger):
    for number in range(5):
        run_to(ledger, "finished" if number % 2 else "failed", f"t{number}")
    assert [record.task_id for record in records_of(ledger, 3)] == ["t4", "t3", "t2"]


def test_durations_are_those_of_watched_ends(ledger, home, clock):
    def task(task_id, *looks, last="finished"):
        ledger.created(claim(ledger, reuse=False), task_id)
        for gap in looks[:-1]:
            clock.now += gap
            ledger.observed(task_id, answer("running", task_id))
        clock.now += looks[-1]
        ledger.observed(task_id, answer(last, task_id))

    task("t1", 10, 10, 2)
    task("t2", 10, 200)
    task("t3", 10, 2, last="failed")
    task("t4", 4)
    task("t5", 1, -50)
    assert ledger.durations("kind", None) == [2.0, 21.0]
    assert ledger.durations("kind", None, limit=1) == [2.0]
    assert ledger.durations("kind", "1") == []
    ledger.close()
    with Ledger(home, SERVER, clock) as other:  # It came back after a crash: nobody watched.
        ledger.created(claim(ledger, reuse=False), "t6")
        other.observed("t6", answer("finished", "t6"))
        assert other.durations("kind", None) == [2.0, 21.0]
