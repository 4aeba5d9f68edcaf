"""What a wait says of its task: real progress, an estimate that is marked as one, and trouble in plain words."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress

import pytest

from tests.support.fake_sequencer import DROP, Answer, status
from tests.support.pictures import png
from xalora_client import TaskError, TaskProgress, TaskStatus, TaskUpdate, Text2VideoTask, WorkflowTaskResult
from xalora_client.client.updates import estimate
from xalora_client.protocol.parameters import encode_data_uri


def answered(**more):
    return WorkflowTaskResult("t1", TaskStatus.WAITING, msg="no miner is free", **more)


def said(elapsed=None, **fields):
    return TaskUpdate("t1", **{"status": "running", "elapsed": 48.0, "next_poll": 0.0} | fields).describe(elapsed)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "running 0:48"),
        ({"status": "waiting", "elapsed": 61.9}, "queued 1:01"),
        ({"progress": TaskProgress(12, 30, "KSampler")}, "running 0:48 · KSampler 12 / 30"),
        ({"progress": TaskProgress(0.5, 2)}, "running 0:48 · 0.5 / 2"),
        ({"progress": TaskProgress(48, 78, estimated=True)}, "running 0:48, about 0:30 left"),
        (
            {"last_error": "x", "connected": False, "next_poll": 3.9},
            "running 0:48 · connection lost, trying again in 4 s",
        ),
        ({"last_error": "503: busy", "next_poll": 2.0}, "running 0:48 · 503: busy, trying again in 2 s"),
        ({"origin": "attach"}, "running 0:48 · continued from an earlier run"),
        ({"origin": "given"}, "running 0:48"),
        ({"status": "waiting", "result": answered(revision=1)}, "queued 0:48 · no miner is free"),
        ({"status": "waiting", "result": answered(), "origin": "given"}, "queued 0:48"),  # Another kind of server.
    ],
)  # fmt: skip
def test_in_words(fields, words):
    assert said(**fields) == words


def test_the_words_count_on_between_updates():
    left = TaskProgress(48, 78, estimated=True)
    assert said(58.0, progress=left) == "running 0:58, about 0:20 left"
    assert said(80.0, progress=left) == "running 1:20"  # What it was taken for has passed: nothing is claimed.
    lost = {"last_error": "No answer", "connected": False, "next_poll": 4.0}
    assert said(50.0, **lost) == "running 0:50 · connection lost, trying again in 2 s"
    assert said(53.0, **lost) == "running 0:53 · connection lost, trying again"


class TestEstimates:
    def test_half_of_those_that_took_longer_were_done_by_then(self):
        assert estimate([10, 20, 30, 40, 50], 15) == TaskProgress(15, 35, estimated=True)

    @pytest.mark.parametrize(("durations", "elapsed"), [([], 1), ([60, 60], 1), ([10, 20, 30], 30)])
    def test_nothing_is_claimed_without_knowledge(self, durations, elapsed):
        assert estimate(durations, elapsed) is None


def test_a_server_without_progress_gets_an_estimate_once_the_task_runs(subject, sequencer, home):
    """From the ledger's own record of such tasks, and only while the task runs."""
    numbers = iter(range(1, 100))
    sequencer.script("task_create", lambda _: Answer({"task_id": f"t{next(numbers)}"}))
    for seed in range(3):
        subject.options["ledger"] = True
        sequencer.script("task_result_query", *[status("running")] * 3, status("finished"))
        subject.do(lambda c, seed=seed: c.execute_workflow_and_wait_for_result(Text2VideoTask("a", seed=seed)))
    _known(home, sequencer.url, 100.0)
    updates = []
    sequencer.script("task_result_query", status("waiting"), status("running"), status("finished"))
    subject.do(lambda c: c.execute_workflow_and_wait_for_result(Text2VideoTask("b"), on_update=updates.append))
    assert [update.progress is not None for update in updates] == [False, False, True, True]
    assert updates[-1].progress.share == 1
    assert updates[2].progress.estimated
    assert updates[2].progress.maximum == 100
    assert "about 1:" in updates[2].describe()


def _known(home, server, seconds):
    """All tasks in the ledger took so long."""
    with closing(sqlite3.connect(home / "ledger.sqlite3")) as db:
        assert db.execute("UPDATE tasks SET ran = ? WHERE server = ?", (seconds, server)).rowcount == 3
        db.commit()


def test_real_progress_is_reported_with_its_preview(subject, sequencer):
    steps = {"value": 3, "maximum": 30, "title": "KSampler", "preview": encode_data_uri(png(), "image/png")}
    sequencer.script("task_result_query", status("running", progress=steps), status("finished"))
    updates = []
    subject.do(lambda c: c.execute_workflow_and_wait_for_result(Text2VideoTask("b"), on_update=updates.append))
    assert [update.progress for update in updates] == [
        None, TaskProgress(3, 30, "KSampler", png()), TaskProgress(30, 30, "KSampler"),
    ]  # fmt: skip


def test_trouble_is_replaced_when_it_is_over(subject, sequencer):
    sequencer.script("task_result_query", DROP, status("running"), status("finished"))
    updates = []
    subject.do(lambda c: c.execute_workflow_and_wait_for_result(Text2VideoTask("b"), on_update=updates.append))
    assert [(update.connected, update.last_error is None) for update in updates] == [
        (True, True), (False, False), (True, True), (True, True),
    ]  # fmt: skip
    assert "connection lost, trying again in" in updates[1].describe()


def test_a_create_that_is_tried_again_is_reported(subject, sequencer):
    """While the server cannot be reached there is no task yet, and still something to say."""
    sequencer.script("task_create", Answer({"message": "busy"}, 429), Answer({"task_id": "t1"}))
    updates = []
    subject.do(lambda c: c.execute_workflow_and_wait_for_result(Text2VideoTask("b"), on_update=updates.append))
    assert [(update.task_id, update.status) for update in updates] == [
        ("", "submitting"), ("t1", "waiting"), ("t1", "finished"),
    ]  # fmt: skip
    assert updates[0].describe() == "submitting 0:00 · The server answered 429: busy, trying again in 1 s"


@pytest.mark.parametrize("end", ["finished", "failed", "canceled"])
@pytest.mark.parametrize("by_id", [True, False])
def test_the_last_update_is_the_end(subject, sequencer, end, by_id):
    """Also a bad one. A bar that follows the progress is full when the task is finished."""
    sequencer.script("task_result_query", status("running"), status(end, result="https://media.example/a.mp4"))
    updates = []

    def wait(client):
        if by_id:
            return client.wait_for_result("t1", on_update=updates.append)
        return client.execute_workflow_and_wait_for_result(Text2VideoTask("b"), on_update=updates.append)

    with suppress(TaskError):
        subject.do(wait)
    assert [update.status for update in updates][-2:] == ["running", end]
    assert (updates[-1].progress is not None) == (end == "finished")
    assert updates[-1].describe().startswith(f"{end} 0:0")


@pytest.mark.parametrize("by_id", [True, False])
def test_who_stops_at_the_end_cancels_nothing(subject, sequencer, by_id):
    sequencer.script("task_result_query", status("finished", result="https://media.example/a.mp4"))

    def stop(update):
        if update.status == "finished":
            raise KeyboardInterrupt

    def wait(client):
        if by_id:
            return client.wait_for_result("t1", on_update=stop)
        return client.execute_workflow_and_wait_for_result(Text2VideoTask("b"), on_update=stop)

    with pytest.raises(KeyboardInterrupt):
        subject.do(wait)
    assert sequencer.count("task_cancel") == 0
