"""The tasks that this machine remembers, as programs see them."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from tests.support.ledger_steps import SERVER, answer, claim, identity, run_to
from xalora_client import TaskRecords
from xalora_client.ledger import Ledger
from xalora_client.media.store import MediaStore

CONTENT = b"not really a video"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LONG_AGO = 1_000_000_000


@pytest.fixture
def ledger(home):
    with Ledger(home, SERVER) as ledger:
        yield ledger


@pytest.fixture
def records(home):
    with TaskRecords(home) as records:
        yield records


@pytest.fixture
def stored(home, ledger):
    """The file of the finished task t1, last used long ago."""
    run_to(ledger, "finished")
    store = MediaStore(home)
    part = store.incoming("t1")
    part.write_bytes(CONTENT)
    path = store.commit(part, SHA256, ".mp4")
    ledger.stored("t1", SHA256, ".mp4", len(CONTENT))
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def pruned(home):
    return MediaStore(home).prune(0).files


def test_without_a_ledger_there_is_nothing_and_no_file_is_made(home, records):
    assert records.tasks() == ([], 0)
    assert records.find("t1") is None
    assert not home.exists()


def test_the_home_is_that_of_the_settings(ledger):
    run_to(ledger, "finished")
    with TaskRecords() as records:
        assert records.find("t1").state == "finished"


def test_pages_and_filters(ledger, records):
    for number, state in enumerate(["running", "finished", "failed", "finished"]):
        run_to(ledger, state, f"t{number}", identity(f"rabbit {number}"))
    first, total = records.tasks(2)
    rest, _ = records.tasks(2, before=first[-1].number)
    assert ([each.task_id for each in first + rest], total) == (["t3", "t2", "t1", "t0"], 4)
    assert [each.task_id for each in records.tasks(state="open")[0]] == ["t0"]
    assert [each.task_id for each in records.tasks(text="RABBIT 2")[0]] == ["t2"]


def test_a_task_is_known_by_its_job_id_before_it_has_another(ledger, records):
    begun = claim(ledger)
    record = records.find(begun.record.job_id)
    assert (record.task_id, record.state, record.is_final, record.submitted) == (None, "creating", False, None)
    ledger.created(begun, "t1")
    assert records.find("t1").number == record.number


def test_a_record_is_json_without_the_key_and_the_internals(ledger, records):
    run_to(ledger, "finished", what=identity("a rabbit with secret-key"))
    told = json.loads(json.dumps(records.find("t1").to_json()))
    assert told["parameters"] == {"name": "a rabbit with ***"}
    assert (told["is_final"], told["server"], told["media"]) == (True, SERVER, None)
    assert told.keys().isdisjoint({"fingerprint", "owner", "tries"})


def test_what_is_forgotten_is_gone_and_its_file_stays(ledger, records, stored):
    (gone,) = records.forget("t1")
    assert gone.task_id == "t1"
    assert records.find("t1") is None
    assert records.forget("t1") == []
    assert records.media_path(gone) == stored


def test_the_usual_time_is_that_of_the_kind(home, records):
    now = [1000.0]
    with Ledger(home, SERVER, clock=lambda: now[0]) as ledger:
        ledger.created(claim(ledger), "t1")
        now[0] += 20
        ledger.observed("t1", answer("running"))
        ledger.observed("t1", answer("finished"))
    assert records.usual_seconds(records.find("t1")) == 20


def test_a_look_at_a_file_is_no_use_of_it(home, records, stored):
    record = records.find("t1")
    assert (record.media, record.media_bytes) == (stored.name, len(CONTENT))
    assert records.media_path(record) == stored
    assert stored.stat().st_mtime == LONG_AGO
    assert pruned(home) == (stored,)
    assert records.media_path(record) is None


def test_a_file_that_is_used_stays(home, records, stored):
    assert records.use_media(records.find("t1")) == stored
    assert pruned(home) == ()
    os.utime(stored, (LONG_AGO, LONG_AGO))
    assert pruned(home) == (stored,)


def test_a_damaged_file_is_not_handed_out(records, stored):
    stored.write_bytes(b"something else")
    assert records.use_media(records.find("t1")) is None


def test_a_task_without_a_file_has_none(ledger, records):
    run_to(ledger, "failed")
    record = records.find("t1")
    assert records.media_path(record) is None
    assert records.use_media(record) is None
