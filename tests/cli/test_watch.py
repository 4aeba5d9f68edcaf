"""`status` of several tasks, and `--watch`: each change, until all have ended."""

from __future__ import annotations

import json

import pytest

from tests.support.command_line import SMALL, state_of
from tests.support.fake_sequencer import DROP, Answer, status
from tests.support.processes import poll


def test_several_tasks_are_told_apart_and_the_worst_sets_the_exit_code(xalora, scripted):
    answers = {
        "t-a": status("finished", task_id="t-a", result="https://x/y.png"),
        "t-b": status("running", task_id="t-b"),
        "t-c": status("failed", task_id="t-c", msg="too hot"),
        "t-d": Answer({"message": "no such task"}, 404),
    }
    scripted.script("task_result_query", lambda seen: answers[seen.body["task_id"]])
    assert (xalora("status", "t-a", "t-b").code, xalora("status", "t-a", "t-c").code) == (0, 1)
    done = xalora("status", "t-a", "t-b", "t-d")
    assert (done.code, sorted(done.out.splitlines())) == (3, ["t-a finished https://x/y.png", "t-b running"])
    assert "task t-d" in done.err
    found = {each["task_id"]: each for each in map(json.loads, xalora("status", *answers, "--json").out.splitlines())}
    assert [found[name].get("status") for name in answers] == ["finished", "running", "failed", None]
    failed = found["t-d"]
    assert (failed["error"], failed["status_code"], failed["exit_code"]) == ("NotFoundError", 404, 3)


@pytest.mark.parametrize("command", [["status", "t1"], ["tasks", "--state", "open"], ["tasks"]])
def test_each_change_is_a_line_until_the_end(xalora, scripted, command):
    assert xalora("text2video", "a fox", "--no-wait").code == 0
    good = scripted.answers["/task_result_query"]
    progress = [{"value": value, "maximum": 3, "title": "Render"} for value in (1, 1, 2)]
    running = [status("running", progress=each) for each in progress]
    scripted.script("task_result_query", status("waiting"), status("waiting"), *running, *good)
    lines = xalora(*command, "--watch").out.splitlines()
    seen = [line for line in lines if line.startswith("t1 ") and "txt2vid" not in line]
    assert [line.split()[1] for line in seen] == ["queued", "running", "running", "finished"]
    assert "Render 2 / 3" in seen[2]
    assert scripted.paths().count("task_cancel") == 0


def test_being_stopped_cancels_nothing(command, slow):
    submitted = command("text2video", "a fox", "--no-wait", "--sandbox", *SMALL)
    assert submitted.wait() == 0
    task_id = submitted.output().strip()
    watching = command("tasks", "--watch", "--sandbox")
    poll(lambda: f"{task_id} running" in watching.output())
    watching.interrupt()
    assert watching.wait() == 130
    assert "No task was canceled" in watching.errors()
    assert state_of(slow, task_id, "local-preview") == "running"


@pytest.mark.parametrize("is_known", [True, False])
def test_a_server_that_is_gone_ends_it(xalora, scripted, is_known):
    assert xalora("text2video", "a fox", "--no-wait").code == 0
    scripted.script("task_result_query", *[status("running")] * is_known, DROP)
    watched = xalora("status", "t1", "--watch")
    assert (watched.code, watched.out.count("running")) == (3, is_known)
    assert "trying again" in watched.err
    assert "No answer" in watched.err


def test_nothing_open_needs_no_key(xalora, monkeypatch):
    monkeypatch.delenv("XALORA_API_KEY")
    assert xalora("tasks", "--watch").code == 0


def test_what_is_forgotten_is_not_watched(xalora):
    assert xalora("tasks", "--forget", "t1", "--watch").code == 2


def test_tasks_of_other_servers_are_not_asked_about_here(xalora, scripted, sandbox, at):
    assert xalora("text2video", "a fox", "--no-wait").code == 0
    at(sandbox)
    watched = xalora("tasks", "--watch")
    assert watched.code == 0
    assert "1 open tasks of other servers are not watched" in watched.err


def test_states_are_filtered(xalora, scripted):
    ids = iter("12")
    scripted.script("task_create", lambda _: Answer({"task_id": next(ids)}))
    assert xalora("text2video", "a fox", "--no-wait").code == 0
    assert xalora("flux-lora", "a fox", "--lora", "a", "-o", "x.png").code == 0
    states = {state: [task["task_id"] for task in xalora("tasks", "--state", state, "--json").json["tasks"]]
              for state in ("open", "finished", "failed")}  # fmt: skip
    assert states == {"open": ["1"], "finished": ["2"], "failed": []}
    assert "failed" in xalora("tasks", "--state", "failed").err
    assert xalora("tasks", "--state", "broken").code == 2
