"""Paid work is never lost and never paid twice: what the ledger promises, with real files and real processes."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xalora_client import (
    ConfigurationError,
    CustomTask,
    InvalidParameterError,
    TaskStatus,
    Text2VideoTask,
    UpscalerTask,
    WorkflowTask,
    WorkflowTaskResult,
)
from xalora_client.ledger import Intent, Ledger, Step, database, schema
from xalora_client.ledger.intent import LONGEST_TEXT
from xalora_client.protocol.credentials import Credentials

ROOT = Path(__file__).parents[2]
WHO = Credentials("consumer-1", "secret-key")
SERVER = "https://sequencer.example"

COMMON = """
import os, sys, time
from pathlib import Path
from xalora_client import ConfigurationError, CustomTask
from xalora_client.protocol.credentials import Credentials
from xalora_client.ledger import Intent, Ledger, Step
home = Path(sys.argv[1])
def intent(name):
    return Intent.of("https://sequencer.example", CustomTask("kind", {"name": name}), Credentials("c", "secret-key"))
def claim(ledger, name, reuse=True):
    return ledger.claim(intent(name), f"job-{os.getpid()}-{name}", reuse=reuse, source="library")
"""

RACE = (
    COMMON
    + """
sys.stdin.readline()
with Ledger(home) as ledger:
    for number in range(50):
        while (claimed := claim(ledger, number)).step is Step.BUSY:
            time.sleep(0.001)
        if claimed.step is Step.NEW:
            ledger.created(claimed, f"task-{number}")
            print("new", number)
        else:
            assert claimed.step is Step.ATTACH, claimed
"""
)

HOLD = (
    COMMON
    + """
ledger = Ledger(home)
claimed = claim(ledger, "held")
print(claimed.step.value, claimed.entry.job_id, flush=True)
sys.stdin.readline()
"""
)

FULL = (
    COMMON
    + """
import resource
with Ledger(home) as ledger:
    ledger.created(claim(ledger, "before"), "t0")
    size = max(path.stat().st_size for path in home.glob("ledger.sqlite3*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        for number in range(1000):
            claim(ledger, number).release()
    except ConfigurationError as error:
        print(error)
    print(claim(ledger, "before").step.value)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(claim(ledger, number).step.value, [path.name for path in home.glob("*corrupt*")])
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

SPOIL = (
    COMMON
    + """
sys.stdin.readline()
with Ledger(home) as ledger:
    print(claim(ledger, "x").step.value)
"""
)


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def together(script, count, *arguments):
    """Run a script in some processes that begin at once; returns their outputs."""
    processes = [start(script, *arguments) for _ in range(count)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * count, results
    return [output for output, _ in results]


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(home, clock):
    with Ledger(home, clock) as ledger:
        yield ledger


def intent(name="a rabbit", **options):
    return Intent.of(SERVER, CustomTask("kind", {"name": name}, **options), WHO)


_jobs = iter(range(10**9))


def claim(ledger, what=None, *, reuse=True, source="library"):
    return ledger.claim(what or intent(), f"job-{next(_jobs)}", reuse=reuse, source=source)


def answer(status, task_id="t1", **fields):
    return WorkflowTaskResult(task_id, TaskStatus(status), **fields)


def run_to(ledger, status, task_id="t1", what=None):
    ledger.created(claim(ledger, what, reuse=False), task_id)
    ledger.observed(task_id, answer(status, task_id))


# Claims.


def test_the_life_of_a_task(ledger, clock):
    claimed = claim(ledger, source="node")
    assert claimed.step is Step.NEW
    assert (claimed.entry.state, claimed.entry.tries, claimed.entry.source) == ("creating", 1, "node")
    assert claimed.entry.parameters == {"name": "a rabbit"}
    assert claim(ledger).step is Step.BUSY

    clock.now += 1
    entry = ledger.created(claimed, "t1")
    assert (entry.task_id, entry.state, entry.submitted) == ("t1", "waiting", clock.now)
    attached = claim(ledger)
    assert (attached.step, attached.entry.task_id) == (Step.ATTACH, "t1")
    assert repr(attached) == f"<Claim attach {entry.job_id} t1>"

    clock.now += 2
    ledger.observed("t1", answer("running"))
    assert ledger.find("t1").state == "running"
    clock.now += 4
    said = {"result": {"url": "x.mp4"}, "media_url": f"{SERVER}/x.mp4", "inference_latency": 3.5, "upload_latency": 0.5}
    ledger.observed("t1", answer("finished", **said, msg="done"))
    ledger.stored("t1", "ab" * 32, ".mp4", 123)
    finished = claim(ledger)
    assert finished.step is Step.FINISHED
    entry = finished.entry
    assert (entry.created, entry.submitted, entry.finished) == (1_700_000_000, 1_700_000_001, 1_700_000_007)
    assert entry.ran == 4.0  # Between the look after 2 s and the one after 6 s.
    assert (entry.sha256, entry.extension, entry.size) == ("ab" * 32, ".mp4", 123)
    result = entry.as_result()
    assert (result.status, result.message, result.task_type) == (TaskStatus.FINISHED, "done", "kind")
    assert {name: getattr(result, name) for name in said} == said
    assert ledger.find("t1") == entry == ledger.entries()[0]


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_what_failed_is_started_anew(ledger, status):
    run_to(ledger, status)
    claimed = claim(ledger)
    assert claimed.step is Step.NEW
    assert [entry.state for entry in ledger.entries()] == ["creating", status]


def test_what_was_refused_is_started_anew_under_another_id(ledger):
    claimed = claim(ledger)
    ledger.refused(claimed, "no credit")
    entry = ledger.entries()[0]
    assert (entry.state, entry.message, entry.owner) == ("refused", "no credit", None)
    with pytest.raises(ValueError, match="no id"):
        entry.as_result()
    again = claim(ledger)
    assert again.step is Step.NEW
    assert again.entry.job_id != claimed.entry.job_id


def test_a_doubtful_create_is_sent_again_under_its_id(ledger):
    first = claim(ledger)
    ledger.doubtful(first, "the line broke \ud800")
    assert ledger.entries()[0].message == "the line broke ?"
    again = claim(ledger)
    assert (again.step, again.entry.job_id, again.entry.tries) == (Step.RESEND, first.entry.job_id, 2)
    assert claim(ledger).step is Step.BUSY
    assert ledger.created(again, "t1").message is None
    assert len(ledger.entries()) == 1


def test_a_released_claim_is_sent_again(ledger):
    first = claim(ledger)
    first.release()
    first.release()
    assert claim(ledger).step is Step.RESEND


def test_a_dropped_claim_is_sent_again(ledger):
    claim(ledger)
    assert claim(ledger).step is Step.RESEND


def test_without_reuse_each_intent_is_new(ledger):
    claims = [claim(ledger, reuse=False) for _ in range(3)]
    assert {each.step for each in claims} == {Step.NEW}
    assert len({each.entry.job_id for each in claims}) == 3


def test_what_is_paid_for_comes_first(ledger):
    run_to(ledger, "finished", "t1")
    ledger.doubtful(claim(ledger, reuse=False), "who knows")
    run_to(ledger, "failed", "t3")
    assert claim(ledger).entry.task_id == "t1"
    run_to(ledger, "running", "t4")
    assert claim(ledger).entry.task_id == "t4"


def test_other_intents_are_strangers(ledger):
    run_to(ledger, "finished")
    assert claim(ledger, intent("a hare")).step is Step.NEW


def test_a_job_id_is_used_once(ledger):
    first = ledger.claim(intent(), "same", reuse=True, source="cli")
    with pytest.raises(ConfigurationError, match="job_id"):
        ledger.claim(intent("a hare"), "same", reuse=True, source="cli")
    assert [entry.owner for entry in ledger.entries()] == [first.entry.owner]
    assert len(list((ledger._database.path.parent / "owners").iterdir())) == 1


def test_two_ledgers_in_one_process_share_claims(ledger, home):
    with Ledger(home) as other:
        mine = claim(ledger)
        assert claim(other).step is Step.BUSY
        mine.release()
        assert claim(other).step is Step.RESEND


def test_threads_get_one_new_each(ledger):
    steps = []

    def work():
        for number in range(10):
            claimed = claim(ledger, intents[number])
            steps.append((number, claimed.step))
            kept.append(claimed)

    intents, kept = [intent(number) for number in range(10)], []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, step in steps if step is Step.NEW) == list(range(10))
    assert {step for _, step in steps} == {Step.NEW, Step.BUSY}


def test_two_processes_get_one_new_each(home):
    outputs = together(RACE, 2, home)
    assert sorted("".join(outputs).split("\n")) == sorted(["", *(f"new {number}" for number in range(50))])
    with Ledger(home) as ledger:
        assert len(ledger.entries(200)) == 50


def test_a_killed_process_leaves_a_create_to_be_sent_again(ledger, home):
    with start(HOLD, home) as holder:
        step, job_id = holder.stdout.readline().split()
        assert step == "new"
        what = Intent.of(SERVER, CustomTask("kind", {"name": "held"}), Credentials("c", "another-key"))
        assert claim(ledger, what).step is Step.BUSY
        holder.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        holder.communicate()
        again = claim(ledger, what)
        assert (again.step, again.entry.job_id, again.entry.tries) == (Step.RESEND, job_id, 2)
        again.release()
    assert not list((home / "owners").iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_another_owner(home):
    with start(FORK, home) as parent:
        output, errors = parent.communicate(timeout=60)
    assert output.splitlines() == ["child: busy new", "parent: busy resend", "orphan: resend"], errors


# What became of a claim.


def test_late_words_of_the_first_sender_do_no_harm(ledger, caplog):
    first = claim(ledger)
    first.release()
    second = claim(ledger)
    ledger.refused(first, "too late")
    assert ledger.entries()[0].state == "creating"
    ledger.created(second, "t1")
    ledger.doubtful(first, "too late")
    ledger.refused(second, "too late")
    assert ledger.created(first, "t1").task_id == "t1"
    assert ledger.find("t1").state == "waiting"
    assert not caplog.text
    assert "t1 and t2" in ledger.created(first, "t2").message
    assert "t1 and t2" in caplog.text


def test_a_forgotten_task_is_written_down_when_it_is_paid_for(ledger):
    created, doubtful, refused = (claim(ledger, intent(name)) for name in "abc")
    for each in (created, doubtful, refused):
        assert [entry.job_id for entry in ledger.forget(each.entry.job_id)] == [each.entry.job_id]
    assert ledger.entries() == []
    assert ledger.created(created, "t1").task_id == "t1"
    ledger.doubtful(doubtful, "who knows")
    ledger.refused(refused, "no")
    assert [entry.state for entry in ledger.entries()] == ["doubtful", "waiting"]
    assert [entry.task_id for entry in ledger.forget("t1")] == ["t1"]
    assert ledger.forget("t1") == []


def test_a_task_id_that_cannot_be_written_is_in_the_error(ledger):
    claimed = claim(ledger)
    full(ledger)
    task_id = "t9" * 50_000
    with pytest.raises(ConfigurationError, match=rf"task {task_id}.*running and paid for.*Free some space"):
        ledger.created(claimed, task_id)
    assert claim(ledger).step is Step.BUSY
    ledger.close()
    assert claim(ledger).step is Step.RESEND


def test_a_task_id_that_could_not_be_written_is_written_once_there_is_room(ledger):
    claimed = claim(ledger)
    full(ledger)
    task_id = "t9" * 50_000
    with pytest.raises(ConfigurationError):
        ledger.created(claimed, task_id)
    with pytest.raises(ConfigurationError):
        ledger.observed(task_id, answer("running", task_id))
    ledger._database.run(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())
    ledger.observed(task_id, answer("running", task_id))
    attached = claim(ledger)
    assert (attached.step, attached.entry.task_id, attached.entry.state) == (Step.ATTACH, task_id, "running")


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
    ledger.observed("t\ud8001", answer("running", msg="\ud800", extra={"x": 1}))
    ledger.observed("t\ud8001", answer("finished", result={"odd": {1, 2}}, media_url="https://e/\ud800"))
    entry = ledger.find("t?1")
    assert (entry.state, entry.message, entry.media_url) == ("finished", "?", "https://e/?")
    assert entry.result == {"odd": "{1, 2}"}


def test_answers_change_only_what_they_say(ledger):
    ledger.created(claim(ledger), "t1")
    ledger.observed("t1", answer("running", inference_latency=2.0, msg="busy"))
    ledger.observed("t1", answer("running"))
    assert (ledger.find("t1").inference_latency, ledger.find("t1").message) == (2.0, "busy")


def test_servers_are_kept_apart(ledger):
    ledger.created(claim(ledger), "t1")
    there = Intent.of("https://other.example", CustomTask("kind"), WHO)
    ledger.created(claim(ledger, there), "t1")
    ledger.observed("t1", answer("failed"), server=SERVER)
    assert ledger.find("t1").server == "https://other.example"
    assert ledger.find("t1", server=SERVER).state == "failed"
    assert ledger.find("t1", server="https://third.example") is None


def test_entries_newest_first(ledger):
    for number in range(5):
        run_to(ledger, "finished" if number % 2 else "failed", f"t{number}")
    assert [entry.task_id for entry in ledger.entries(3)] == ["t4", "t3", "t2"]


def test_durations_are_those_of_watched_ends(ledger, clock):
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
    assert ledger.durations(SERVER, "kind", None) == [2.0, 21.0]
    assert ledger.durations(SERVER, "kind", None, limit=1) == [2.0]
    assert ledger.durations(SERVER, "kind", "1") == []
    ledger.close()
    with Ledger(ledger._database.path.parent, clock) as other:  # It came back after a crash: nobody watched.
        ledger.created(claim(ledger, reuse=False), "t6")
        other.observed("t6", answer("finished", "t6"))
        assert other.durations(SERVER, "kind", None) == [2.0, 21.0]


# Fingerprints.


class OddTask(WorkflowTask):
    task_type = "odd"
    task_details = None

    def __init__(self, details):
        super().__init__()
        self.task_details = details


def data_uri(content, media_type="image/png"):
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def fingerprint(server, task, who):
    return Intent.of(server, task, who).fingerprint


def test_what_counts_in_a_fingerprint():
    task = Text2VideoTask("a rabbit", width=848)
    base = fingerprint(SERVER, task, WHO)
    assert len(base) == 64
    same = Text2VideoTask("a rabbit", width=848, job_id_prefix="other", timeout_seconds=60, workflow_id=None)
    assert fingerprint(SERVER, same, Credentials("consumer-1", "another-key")) == base
    others = [
        fingerprint("https://other.example", task, WHO),
        fingerprint(SERVER, task, Credentials("consumer-2", "secret-key")),
        fingerprint(SERVER, Text2VideoTask("a rabbit", width=832), WHO),
        fingerprint(SERVER, Text2VideoTask("a rabbit", width=848, workflow_id="1"), WHO),
        fingerprint(SERVER, CustomTask("other", {"prompt": "a rabbit", "width": 848}), WHO),
    ]
    assert len({base, *others}) == 6
    assert fingerprint(SERVER, CustomTask("txt2vid", {"width": 848.0, "prompt": "a rabbit"}), WHO) == base


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


def exact(value):
    """Tell values apart as JSON does: true is not 1, but 1.0 is."""
    match value:
        case bool():
            return ("bool", value)
        case list():
            return tuple(map(exact, value))
        case dict():
            return ("object", frozenset((name, exact(each)) for name, each in value.items()))
    return value


@given(json_values, json_values)
def test_equal_parameters_and_only_they_have_equal_fingerprints(one, other):
    prints = [Intent.of(SERVER, CustomTask("kind", {"value": value}), WHO).fingerprint for value in (one, other)]
    assert (prints[0] == prints[1]) == (exact(one) == exact(other))


def test_media_counts_by_its_bytes():
    content = os.urandom(3000)
    task = UpscalerTask(data_uri(content))
    what = Intent.of(SERVER, task, WHO)
    assert what.parameters["image"].keys() == {"sha256", "bytes", "media_type"}
    assert (what.parameters["image"]["bytes"], what.parameters["image"]["media_type"]) == (3000, "image/png")
    wrapped = "DATA:image/x-png;charset=utf-8;BASE64," + base64.encodebytes(content).decode().replace("+", "%2B")
    assert fingerprint(SERVER, UpscalerTask(wrapped), WHO) == what.fingerprint
    assert fingerprint(SERVER, UpscalerTask(data_uri(content + b"x")), WHO) != what.fingerprint


@pytest.mark.parametrize("uri", ["data:", "data:,a%20b", "data:image/png;base64,!!!x", "data:;base64,é", "data:x"])
def test_odd_data_uris_count_too(uri):
    what = Intent.of(SERVER, UpscalerTask(uri), WHO)
    assert what.fingerprint != Intent.of(SERVER, UpscalerTask(f"{uri}abcd"), WHO).fingerprint
    assert set(what.parameters["image"]) == {"sha256", "bytes", "media_type"}


def test_long_texts_are_kept_by_hash():
    texts = ["x" * LONGEST_TEXT, "x" * (LONGEST_TEXT + 1), "x" * LONGEST_TEXT + "y"]
    kept = [Intent.of(SERVER, CustomTask("kind", {"text": text}), WHO) for text in texts]
    assert kept[0].parameters["text"] == texts[0]
    assert kept[1].parameters["text"]["characters"] == LONGEST_TEXT + 1
    assert len({each.fingerprint for each in kept}) == 3


def test_other_details_than_parameters_are_kept_whole():
    assert Intent.of(SERVER, OddTask({"parameters": {}, "more": (1, 2.5)}), WHO).parameters == {
        "parameters": {},
        "more": [1, 2.5],
    }
    assert Intent.of(SERVER, OddTask([1]), WHO).parameters == [1]


@pytest.mark.parametrize("details", [{"x": object()}, {1: "x"}, {"x": float("nan")}, {"x": b"bytes"}])
def test_details_that_are_not_json_are_refused(details):
    with pytest.raises(InvalidParameterError, match="task_details"):
        Intent.of(SERVER, OddTask(details), WHO)


def test_endless_details_are_refused():
    details = {}
    details["x"] = details
    with pytest.raises(InvalidParameterError, match="task_details"):
        Intent.of(SERVER, OddTask(details), WHO)


def test_no_key_and_no_media_on_the_disk(ledger, home):
    content = os.urandom(300)
    parameters = {"secret-key": "my secret-key!", "list": ["secret-key"], "image": data_uri(content)}
    task = CustomTask("kind", parameters, api_key="task-own-key")
    for number, who in enumerate((WHO, Credentials("c", "task-own-key"))):
        ledger.created(claim(ledger, Intent.of(SERVER, task, who)), f"t{number}")
    assert ledger.find("t0").parameters["***"] == "my ***!"
    written = b"".join(path.read_bytes() for path in home.glob("ledger*"))
    assert b"a rabbit" not in written
    assert b"my ***!" in written
    for secret in (b"task-own-key", base64.b64encode(content)[:60]):
        assert secret not in written
    ledger.forget("t1")  # There the key was another's, and "secret-key" only words.
    assert "secret-key" not in str(ledger.entries())


def test_short_keys_are_not_looked_for():
    what = Intent.of(SERVER, CustomTask("kind", {"text": "a b c"}), Credentials("c", "b"))
    assert what.parameters == {"text": "a b c"}


# The file.


def full(ledger):
    """Let the file grow no more."""
    ledger._database.run(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall())


def test_a_full_disk_is_told_before_anything_is_sent(ledger):
    claim(ledger).release()
    full(ledger)
    with pytest.raises(ConfigurationError, match=r"full.*Free some space"):
        claim(ledger, Intent.of(SERVER, CustomTask("kind", {"texts": ["long" * 1000] * 50}), WHO))
    assert not list(ledger._database.path.parent.glob("*corrupt*"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_file_that_cannot_grow(home):
    with start(FULL, home) as process:
        output, errors = process.communicate(timeout=60)
    lines = output.splitlines()
    assert len(lines) == 3, errors
    assert "cannot be used" in lines[0]
    assert "Free some space" in lines[0]
    assert lines[1] == "attach"
    assert lines[2] == "new []"


@pytest.mark.parametrize("make", [Path.touch, lambda path: (path / "ledger.sqlite3").mkdir(parents=True)])
def test_a_home_that_cannot_be_used(home, make):
    make(home)
    with pytest.raises(ConfigurationError, match=r"cannot be used.*XALORA_HOME"):
        claim(Ledger(home))


def test_a_locked_ledger_is_waited_for_and_never_set_aside(ledger, home, monkeypatch):
    claim(ledger).release()
    ledger.close()
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    other = sqlite3.connect(home / "ledger.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConfigurationError, match=r"locked.*Another program"):
        claim(ledger)
    other.execute("ROLLBACK")
    other.close()
    assert claim(ledger).step is Step.RESEND
    assert not list(home.glob("*corrupt*"))


def test_a_ledger_that_is_being_built_for_too_long(home, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    home.mkdir()
    building = database.ProcessLock.acquire(home / "ledger.sqlite3.building")
    with pytest.raises(ConfigurationError, match="too long"):
        claim(Ledger(home))
    building.release()


def test_nothing_is_opened_before_the_first_use(home):
    with Ledger(home):
        pass
    assert not home.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs file modes")
def test_the_file_is_nobody_elses_business(ledger, home):
    claim(ledger)
    assert {path.stat().st_mode & 0o777 for path in home.glob("ledger.sqlite3*")} == {0o600}


def test_a_deleted_ledger_is_begun_anew(ledger, home):
    run_to(ledger, "finished")
    for path in home.glob("ledger.sqlite3*"):
        path.unlink()
    claimed = claim(ledger)
    assert claimed.step is Step.NEW
    with Ledger(home) as other:
        assert claim(other).step is Step.BUSY


@pytest.mark.parametrize("content", [b"no database " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_ledger_is_set_aside(ledger, home, caplog, content):
    home.mkdir()
    (home / "ledger.sqlite3").write_bytes(content)
    assert claim(ledger).step is Step.NEW
    (aside,) = home.glob("ledger.sqlite3.corrupt-*")
    assert aside.read_bytes() == content
    assert str(aside) in caplog.text
    assert len(caplog.records) == 1


def spoil(ledger, name):
    """Write over the root page of a table or index."""
    query = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_master WHERE name = ?"
    page, size = ledger._database.run(lambda db: db.execute(query, (name,)).fetchone())
    ledger.close()
    with ledger._database.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xaa" * size)


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
    with pytest.raises(ConfigurationError, match="cannot be used"):
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
    outputs = "".join(together(SPOIL, 4, home)).split()
    assert outputs.count("new") == 1
    assert set(outputs) <= {"new", "busy", "resend"}
    assert len(list(home.glob("*corrupt-*"))) == 1


def test_unreadable_parameters_do_not_hide_an_entry(ledger):
    run_to(ledger, "running")
    ledger._database.run(lambda db: db.execute("UPDATE tasks SET parameters = '{', state = 'running'"))
    assert ledger.find("t1").parameters == "{"


# The schema.


def test_a_newer_schema_is_left_alone(ledger, home):
    run_to(ledger, "finished")
    ledger._database.run(lambda db: db.execute("PRAGMA user_version = 99"))
    ledger.close()
    with pytest.raises(ConfigurationError, match=r"newer version.*Update the client"):
        claim(ledger)
    assert not list(home.glob("*corrupt*"))


def test_an_older_schema_is_brought_up_to_date(ledger, home):
    run_to(ledger, "finished")
    ledger.close()
    steps = (*schema.STEPS, ("ALTER TABLE tasks ADD COLUMN price REAL", "CREATE INDEX by_price ON tasks (price)"))
    newer = database.Database(home / "ledger.sqlite3", steps)
    assert newer.run(lambda db: db.execute("SELECT task_id, price FROM tasks").fetchone()[:]) == ("t1", None)
    assert newer.run(lambda db: db.execute("PRAGMA user_version").fetchone()[0]) == len(steps)
    newer.close()


def test_a_step_that_fails_changes_nothing(ledger, home):
    run_to(ledger, "finished")
    ledger.close()
    broken = database.Database(
        home / "ledger.sqlite3", (*schema.STEPS, ("ALTER TABLE tasks ADD COLUMN price REAL", "NO SQL"))
    )
    with pytest.raises(ConfigurationError, match="syntax"):
        broken.run(lambda db: None)
    assert ledger.find("t1").state == "finished"
    assert ledger._database.run(lambda db: db.execute("PRAGMA user_version").fetchone()[0]) == len(schema.STEPS)
