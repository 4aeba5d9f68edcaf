"""With a ledger, nothing is paid for twice: whatever an earlier call left is taken up."""

from __future__ import annotations

import concurrent.futures
import sqlite3
import threading

import pytest

from tests.support.fake_sequencer import DROP, Answer, status
from tests.support.ledger_steps import records_of
from tests.support.subject import Stop
from xalora_client import (
    BadRequestError,
    Client,
    ConflictError,
    NotFoundError,
    StorageError,
    Text2VideoTask,
    XaloraError,
)
from xalora_client.ledger import Ledger

TASK = Text2VideoTask("a rabbit")


def make(client, **options):
    return client.execute_workflow_and_wait_for_result(TASK, **options)


def creates(sequencer):
    return [seen.body["job_id"] for seen in sequencer.seen if seen.path == "/task_create"]


def origins(keeper, **options):
    seen = []
    result = keeper.do(lambda c: make(c, on_update=seen.append, **options))
    return result, {update.origin for update in seen}


def test_a_finished_task_is_asked_for_its_link_alone(keeper, ids):
    first = keeper.do(make)
    sent = len(ids.seen)
    again, told = origins(keeper)
    assert (again.task_id, again.media_url, told) == (first.task_id, first.media_url, {"finished"})
    assert ids.paths()[sent:] == ["task_result_query"]


@pytest.mark.parametrize("trouble", [Answer({}, 404), Answer({}, 401)], ids=repr)
def test_a_finished_task_whose_link_cannot_be_asked_for_keeps_the_old_one(keeper, ids, trouble):
    first = keeper.do(make)
    ids.script("task_result_query", trouble)
    assert keeper.do(make).media_url == first.media_url


def test_an_open_task_is_waited_for(keeper, ids):
    ids.script("task_result_query", status("running"), status("running"), status("finished"))
    task_id = keeper.do(lambda c: c.execute_workflow(TASK))
    result, told = origins(keeper)
    assert (result.task_id, told) == (task_id, {"attach"})
    assert len(creates(ids)) == 1


def test_a_server_that_cannot_be_asked_at_the_moment_is_waited_for(keeper, ids):
    task_id = keeper.do(lambda c: c.execute_workflow(TASK))
    ids.script("task_result_query", *[Answer({}, 503)] * 20, status("finished"))
    assert keeper.do(lambda c: make(c, timeout=900)).task_id == task_id
    assert len(creates(ids)) == 1
    assert keeper.clock.now - 1000 > 60


def test_an_interruption_while_an_open_task_is_looked_at_cancels_it(keeper, ids):
    keeper.do(lambda c: c.execute_workflow(TASK))
    ids.script("task_result_query", Answer({}, 503))
    keeper.clock.interrupt = (1, Stop())
    with pytest.raises(Stop):
        keeper.do(make)
    assert ids.paths()[-2:] == ["task_cancel", "task_result_query"]  # How it ended is for the ledger to know.


def test_submitting_again_gives_the_same_id(keeper, ids):
    ids.script("task_result_query", status("running"))
    assert {keeper.do(lambda c: c.execute_workflow(TASK)) for _ in range(3)} == {"t1"}
    assert len(creates(ids)) == 1


@pytest.mark.parametrize("end", ["failed", "canceled"])
def test_a_task_that_ended_badly_is_made_anew(keeper, ids, end):
    ids.script("task_result_query", status(end))
    with pytest.raises(XaloraError, match=end):
        keeper.do(make)
    ids.script("task_result_query", status("finished"))
    result, told = origins(keeper)
    assert (result.task_id, told) == ("t2", {"new"})
    assert len(set(creates(ids))) == 2


def test_a_task_that_ended_badly_unseen_is_made_anew(keeper, ids):
    keeper.do(lambda c: c.execute_workflow(TASK))
    ids.script("task_result_query", status("canceled"), status("finished"))
    result, told = origins(keeper)
    assert (result.task_id, told) == ("t2", {"new"})


def test_reuse_can_be_declined(keeper, ids):
    assert [keeper.do(lambda c: make(c, reuse=False)).task_id for _ in range(2)] == ["t1", "t2"]
    assert len(set(creates(ids))) == 2


def test_without_a_ledger_every_call_is_an_intent(subject, ids):
    assert [subject.do(make).task_id for _ in range(2)] == ["t1", "t2"]


@pytest.mark.parametrize("other", [{"prompt": "a fox"}, {"seed": 2}, {"workflow_id": "2"}, {"consumer_id": "else"}])
def test_another_intent_is_another_task(keeper, ids, other):
    keeper.do(make)
    task = Text2VideoTask(**{"prompt": "a rabbit", **other})
    assert keeper.do(lambda c: c.execute_workflow(task)) == "t2"


@pytest.mark.parametrize("doubt", [DROP, Answer({}, 500), Answer(b"<html>"), Answer({}, 408)], ids=repr)
def test_after_an_ambiguous_create_the_next_run_sends_the_same_job(keeper, ids, doubt):
    ids.script("task_create", doubt, Answer({"task_id": "t9"}))
    with pytest.raises(XaloraError, match="may have been created"):
        keeper.do(make)
    result, told = origins(keeper)
    assert (result.task_id, told) == ("t9", {"resend"})
    assert len(creates(ids)) == 2
    assert len(set(creates(ids))) == 1


def test_a_create_that_was_refused_is_a_new_job_next_time(keeper, ids):
    ids.script("task_create", Answer({"message": "no such model"}, 400), Answer({"task_id": "t9"}))
    with pytest.raises(BadRequestError):
        keeper.do(make)
    assert keeper.do(make).task_id == "t9"
    assert len(set(creates(ids))) == 2


def test_a_resend_that_is_refused_stays_in_doubt(keeper, ids):
    """The first create may have been taken: a refusal of the second says nothing of it."""
    ids.script("task_create", DROP, Answer({"message": "no"}, 401), Answer({"task_id": "t9"}))
    for _ in range(2):
        with pytest.raises(XaloraError):
            keeper.do(make)
    keeper.do(make)
    assert len(set(creates(ids))) == 1


def test_a_resend_of_a_job_that_is_known_says_the_way_out(keeper, ids):
    ids.script("task_create", DROP, Answer({"message": "duplicate job"}, 409), Answer({"task_id": "t9"}))
    with pytest.raises(XaloraError):
        keeper.do(make)
    with pytest.raises(ConflictError, match="duplicate job") as caught:
        keeper.do(make)
    (job,) = set(creates(ids))
    assert f"xalora tasks --forget {job}" in str(caught.value)
    with Ledger(keeper.options["home"]) as ledger:
        assert ledger.forget(job)
    assert keeper.do(make).task_id == "t9"
    assert len(set(creates(ids))) == 2


def test_a_create_that_was_refused_and_interrupted_in_the_pause_is_a_new_task_next_time(keeper, ids, caplog):
    ids.script("task_create", Answer({}, 429), Answer({"task_id": "t9"}))
    keeper.clock.interrupt = (0, Stop())
    with pytest.raises(Stop):
        keeper.do(make)
    assert "may have been created" not in caplog.text
    keeper.clock.interrupt = None
    _, told = origins(keeper)
    assert told == {"new"}
    assert len(set(creates(ids))) == 2


def test_a_cancelled_wait_is_a_new_task_next_time(keeper, ids):
    ids.script("task_result_query", status("running"), status("canceled"), status("finished"))
    keeper.clock.interrupt = (1, Stop())
    with pytest.raises(Stop):
        keeper.do(make)
    assert ids.count("task_cancel") == 1
    keeper.clock.interrupt = None
    assert keeper.do(make).task_id == "t2"


def test_a_task_the_server_forgot_is_not_silently_paid_for_again(keeper, ids):
    keeper.do(lambda c: c.execute_workflow(TASK))
    ids.script("task_result_query", Answer({"message": "unknown"}, 404))
    with pytest.raises(NotFoundError, match=r"tasks --forget t1") as caught:
        keeper.do(make)
    assert caught.value.task_id == "t1"
    assert len(creates(ids)) == 1


def test_a_finished_task_the_server_forgot_is_still_known(keeper, ids):
    result = keeper.do(make)
    ids.script("task_result_query", Answer({"message": "unknown"}, 404))
    for look in (lambda c: c.query_task_result("t1"), lambda c: c.wait_for_result("t1")):
        assert keeper.do(look).media_url == result.media_url
    with pytest.raises(NotFoundError):
        keeper.do(lambda c: c.query_task_result("t7"))


def test_many_at_once_make_one_create(keeper, ids, tmp_path):
    ids.script("task_result_query", status("running"))
    together = threading.Barrier(8)

    def one(_):
        with Client("a#b", ids.url, home=tmp_path / "home", ledger=True) as client:
            together.wait()
            return client.execute_workflow(TASK)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(8))) == {"t1"}
    assert len(creates(ids)) == 1


def test_a_ledger_that_cannot_be_written_stops_before_anything_is_sent(keeper, ids, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="XALORA_HOME"):
        keeper.do(make, home=tmp_path / "file" / "home")
    assert ids.seen == []


def test_a_ledger_that_breaks_later_stops_no_paid_task(keeper, ids, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("xalora_client.storage.sqlite_file.PATIENCE", 0.1)

    def lock_out(_):
        blocker.execute("BEGIN EXCLUSIVE")
        return status("finished", result="https://m/x")

    ids.script("task_result_query", lock_out)
    keeper.do(lambda c: c.execute_workflow(Text2VideoTask("other")))
    blocker = sqlite3.connect(tmp_path / "home" / "ledger.sqlite3", check_same_thread=False, isolation_level=None)
    try:
        assert keeper.do(make).media_url == "https://m/x"
    finally:
        blocker.close()
    assert "locked" in caplog.text


def test_the_ledger_holds_what_happened_and_no_key(keeper, ids, tmp_path):
    keeper.do(make)
    with Ledger(tmp_path / "home") as ledger:
        (record,) = records_of(ledger)
    assert (record.task_id, record.state, record.source, record.task_type) == ("t1", "finished", "library", "txt2vid")
    assert record.parameters == {"prompt": "a rabbit"}
    kept = b"".join(each.read_bytes() for each in (tmp_path / "home").rglob("*") if each.is_file())
    assert b"a rabbit" in kept
    assert b"secret-key" not in kept


def test_a_task_that_is_not_known_yet_is_taken_up_all_the_same(keeper, ids):
    task_id = keeper.do(lambda c: c.execute_workflow(TASK))
    ids.script("task_result_query", Answer({}, 404), Answer({}, 404), status("finished"))
    assert keeper.do(make).task_id == task_id
    assert len(creates(ids)) == 1


def test_a_cancel_that_was_accepted_is_known_although_the_task_still_runs(keeper, ids):
    task_id = keeper.do(lambda c: c.execute_workflow(TASK))
    ids.script("task_result_query", status("running"))
    keeper.do(lambda c: c.cancel_task(task_id))
    with Ledger(keeper.options["home"]) as ledger:
        assert records_of(ledger)[0].state == "canceled"
    ids.script("task_result_query", status("finished"))  # The cancel came too late: the result is paid for.
    assert keeper.do(make).task_id == task_id
    assert len(creates(ids)) == 1


def test_a_cancel_that_was_confirmed_makes_way_for_a_new_task(keeper, ids):
    task_id = keeper.do(lambda c: c.execute_workflow(TASK))
    ids.script("task_result_query", status("running"))
    keeper.do(lambda c: c.cancel_task(task_id))
    ids.script("task_result_query", status("canceled"), status("finished"))
    assert keeper.do(make).task_id != task_id
    assert len(creates(ids)) == 2
