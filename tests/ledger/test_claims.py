"""Who asks the ledger for an intent: one sends it, others wait or take up what is there."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tests.support.ledger_steps import COMMON, SERVER, answer, claim, identity, records_of, run_to
from tests.support.processes import run_together, start_script
from xalora_client import CustomTask, StorageError, TaskStatus
from xalora_client.ledger import Ledger, Step, TaskIdentity
from xalora_client.protocol.requests import Credentials

RACE = (
    COMMON
    + """
sys.stdin.readline()
with Ledger(home) as ledger:
    for number in range(50):
        while (claimed := claim(ledger, number)).step is Step.IN_PROGRESS:
            time.sleep(0.001)
        if claimed.step is Step.NEW:
            ledger.created(claimed, f"task-{number}")
            print("new", number)
        else:
            assert claimed.step is Step.EXISTING, claimed
"""
)
HOLD = (
    COMMON
    + """
ledger = Ledger(home)
claimed = claim(ledger, "held")
print(claimed.step.value, claimed.record.job_id, flush=True)
sys.stdin.readline()
"""
)
FORK = (
    COMMON
    + """
to_child, from_parent = os.pipe()
to_parent, from_child = os.pipe()
ledger = Ledger(home)
mine = claim(ledger, "shared")
child = os.fork()
if not child:
    mine.release()
    print("child:", claim(ledger, "shared").step.value, claim(ledger, "own").step.value, flush=True)
    os.write(from_child, b"x")
    os.close(from_parent)
    os.read(to_child, 1)  # Ends with the parent.
    print("orphan:", claim(ledger, "shared").step.value, flush=True)
    os._exit(0)
os.read(to_parent, 1)
print("parent:", claim(ledger, "shared").step.value, claim(ledger, "own").step.value, flush=True)
os._exit(0)
"""
)


def test_the_life_of_a_task(ledger, clock):
    claimed = claim(ledger, source="node")
    assert claimed.step is Step.NEW
    assert (claimed.record.state, claimed.record.tries, claimed.record.source) == ("creating", 1, "node")
    assert claimed.record.parameters == {"name": "a rabbit"}
    assert claim(ledger).step is Step.IN_PROGRESS

    clock.now += 1
    ledger.created(claimed, "t1")
    record = ledger.find("t1")
    assert (record.task_id, record.state, record.submitted) == ("t1", "waiting", clock.now)
    attached = claim(ledger)
    assert (attached.step, attached.record.task_id) == (Step.EXISTING, "t1")
    assert repr(attached) == f"<Claim attach {record.job_id} t1>"

    clock.now += 2
    ledger.observed("t1", answer("running"))
    assert ledger.find("t1").state == "running"
    clock.now += 4
    said = {"result": {"url": "x.mp4"}, "media_url": f"{SERVER}/x.mp4", "inference_latency": 3.5, "upload_latency": 0.5}
    ledger.observed("t1", answer("finished", **said, msg="done"))
    ledger.stored("t1", "ab" * 32, ".mp4", 123)
    finished = claim(ledger)
    assert finished.step is Step.REUSED
    record = finished.record
    assert (record.created, record.submitted, record.finished) == (1_700_000_000, 1_700_000_001, 1_700_000_007)
    assert record.ran == 4.0  # Between the look after 2 s and the one after 6 s.
    assert (record.sha256, record.extension, record.media_bytes) == ("ab" * 32, ".mp4", 123)
    result = record.as_result()
    assert (result.status, result.message, result.task_type) == (TaskStatus.FINISHED, "done", "kind")
    assert {name: getattr(result, name) for name in said} == said
    assert ledger.find("t1") == record == records_of(ledger)[0]


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_what_failed_is_started_anew(ledger, status):
    run_to(ledger, status)
    claimed = claim(ledger)
    assert claimed.step is Step.NEW
    assert [record.state for record in records_of(ledger)] == ["creating", status]


def test_what_was_refused_is_started_anew_under_another_id(ledger):
    claimed = claim(ledger)
    ledger.rejected(claimed, "no credit")
    record = records_of(ledger)[0]
    assert (record.state, record.message, record.owner) == ("refused", "no credit", None)
    with pytest.raises(ValueError, match="no id"):
        record.as_result()
    again = claim(ledger)
    assert again.step is Step.NEW
    assert again.record.job_id != claimed.record.job_id


def test_a_doubtful_create_is_sent_again_under_its_id(ledger):
    first = claim(ledger)
    ledger.unconfirmed(first, "the line broke \ud800")
    assert records_of(ledger)[0].message == "the line broke ?"
    again = claim(ledger)
    assert (again.step, again.record.job_id, again.record.tries) == (Step.RESENT, first.record.job_id, 2)
    assert claim(ledger).step is Step.IN_PROGRESS
    ledger.created(again, "t1")
    assert ledger.find("t1").message is None
    assert len(records_of(ledger)) == 1


def test_a_released_claim_is_sent_again(ledger):
    first = claim(ledger)
    first.release()
    first.release()
    assert claim(ledger).step is Step.RESENT


def test_a_dropped_claim_is_sent_again(ledger):
    claim(ledger)
    assert claim(ledger).step is Step.RESENT


def test_without_reuse_each_intent_is_new(ledger):
    claims = [claim(ledger, reuse=False) for _ in range(3)]
    assert {each.step for each in claims} == {Step.NEW}
    assert len({each.record.job_id for each in claims}) == 3


def test_what_is_paid_for_comes_first(ledger):
    run_to(ledger, "finished", "t1")
    ledger.unconfirmed(claim(ledger, reuse=False), "who knows")
    run_to(ledger, "failed", "t3")
    assert claim(ledger).record.task_id == "t1"
    run_to(ledger, "running", "t4")
    assert claim(ledger).record.task_id == "t4"


def test_other_intents_are_strangers(ledger):
    run_to(ledger, "finished")
    assert claim(ledger, identity("a hare")).step is Step.NEW


def test_a_job_id_is_used_once(ledger):
    first = ledger.claim(identity(), "same", reuse=True, source="cli")
    with pytest.raises(StorageError, match="job_id"):
        ledger.claim(identity("a hare"), "same", reuse=True, source="cli")
    assert [record.owner for record in records_of(ledger)] == [first.record.owner]
    assert len(list((ledger._database.path.parent / "owners").iterdir())) == 1


def test_two_ledgers_in_one_process_share_claims(ledger, home):
    with Ledger(home) as other:
        mine = claim(ledger)
        assert claim(other).step is Step.IN_PROGRESS
        mine.release()
        assert claim(other).step is Step.RESENT


def test_threads_get_one_new_each(ledger):
    steps = []

    def work():
        for number in range(10):
            claimed = claim(ledger, identities[number])
            steps.append((number, claimed.step))
            kept.append(claimed)

    identities, kept = [identity(number) for number in range(10)], []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, step in steps if step is Step.NEW) == list(range(10))
    assert {step for _, step in steps} == {Step.NEW, Step.IN_PROGRESS}


def test_two_processes_get_one_new_each(home):
    outputs = run_together(RACE, 2, home)
    assert sorted("".join(outputs).split("\n")) == sorted(["", *(f"new {number}" for number in range(50))])
    with Ledger(home) as ledger:
        assert len(records_of(ledger, 200)) == 50


def test_a_killed_process_leaves_a_create_to_be_sent_again(ledger, home):
    with start_script(HOLD, home) as holder:
        step, job_id = holder.stdout.readline().split()
        assert step == "new"
        what = TaskIdentity.of(SERVER, CustomTask("kind", {"name": "held"}), Credentials("c", "another-key"))
        assert claim(ledger, what).step is Step.IN_PROGRESS
        holder.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        holder.communicate()
        again = claim(ledger, what)
        assert (again.step, again.record.job_id, again.record.tries) == (Step.RESENT, job_id, 2)
        again.release()
    assert not list((home / "owners").iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_another_owner(home):
    with start_script(FORK, home) as parent:
        output, errors = parent.communicate(timeout=60)
    assert output.splitlines() == ["child: busy new", "parent: busy resend", "orphan: resend"], errors
