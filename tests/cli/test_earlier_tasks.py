"""Tasks that an earlier run, or another process, has started."""

from __future__ import annotations

import json
import os
import re
import time

import pytest

from tests.support.command_line import SMALL, picture
from tests.support.fake_sequencer import Answer, status
from tests.support.subject import KEY
from xalora_client.config import SANDBOX_KEY
from xalora_client.protocol.parameters import encode_data_uri

MASK = encode_data_uri(picture(), "image/png")


@pytest.fixture
def past(xalora, scripted, files):
    """Three tasks of three kinds: finished and downloaded, finished unseen, failed."""
    ids = iter(["made", "late", "lost"])
    scripted.script("task_create", lambda _: Answer({"task_id": next(ids)}))
    url = f"{files.url}/result.png"
    assert xalora("run", "--task-type", "first", "-o", "x.png").code == 0
    scripted.script("task_result_query", status("running"))
    assert xalora("run", "--task-type", "second", "-o", "x.png", "--timeout", 0.1).code == 4
    scripted.script("task_result_query", status("failed", task_id="lost", msg="out of memory"))
    assert xalora("run", "--task-type", "third", "-o", "x.png").code == 1
    scripted.script("task_result_query", status("finished", result=url))
    scripted.seen.clear()
    return scripted


class TestTasksOfOtherProcesses:
    def test_timed_out_in_one_fetched_in_another(self, command, tmp_path):
        late = command("text2video", "a rabbit", "-o", "x.mp4", "--sandbox", "--timeout", 0.05, "--json")
        assert late.wait() == 4
        task_id = json.loads(late.output())["task_id"]
        done = command("fetch", task_id, "-o", "x.mp4", "--sandbox")
        assert done.wait() == 0, done.errors()
        assert (tmp_path / "x.mp4").stat().st_size > 1000
        status = command("status", task_id, "--sandbox")
        assert status.wait() == 0
        assert status.output().startswith("finished http://127.0.0.1:")

    def test_canceled_by_another(self, command, slow):
        first = command("text2video", "a rabbit", *SMALL, "-o", "x.mp4", "--sandbox", "--json")
        task_id = first.said(r"task (\S+) queued")[1]
        first.said("running")
        asked = command("status", task_id, "--sandbox", "--json")
        assert asked.wait() == 0
        assert json.loads(asked.output())["status"] == "running"
        canceled = command("cancel", task_id, "--sandbox", "--json")
        assert canceled.wait() == 0
        assert json.loads(canceled.output()) == {"task_id": task_id, "message": "canceled"}
        assert first.wait() == 1
        assert json.loads(first.output())["error"] == "TaskCanceledError"
        again = command("status", task_id, "--sandbox")
        assert again.wait() == 1
        assert again.output().startswith("canceled")

    def test_unknown_ones(self, xalora, preview):
        for name, more in (("status", []), ("cancel", []), ("fetch", ["-o", "x.mp4"])):
            failed = xalora(name, "no-such-task", *more, "--json")
            assert failed.code == 3
            assert failed.json["error"] == "NotFoundError"
            assert failed.json["task_id"] == "no-such-task"

    def test_status_in_words_and_json(self, xalora, scripted):
        scripted.script("task_result_query", status("waiting", msg="3 before it"))
        assert xalora("status", "t1").out == "waiting 3 before it\n"
        shown = xalora("status", "t1", "--json")
        assert (shown.code, shown.json["status"], shown.json["message"]) == (0, "waiting", "3 before it")
        scripted.script("task_result_query", status("failed", msg="out of memory"))
        assert (xalora("status", "t1").code, xalora("status", "t1", "--json").json["status"]) == (1, "failed")

    def test_cancel_in_words(self, xalora, scripted):
        done = xalora("cancel", "t1")
        assert (done.code, done.out, done.err) == (0, "cancelled\n", "")
        assert scripted.paths() == ["task_cancel"]


class TestPast:
    def test_the_tasks_so_far_newest_first(self, xalora, past):
        shown = xalora("tasks", "--json")
        assert shown.code == 0
        assert [each["task_id"] for each in shown.json["tasks"]] == ["lost", "late", "made"]
        assert [each["task_type"] for each in shown.json["tasks"]] == ["third", "second", "first"]
        lines = xalora("tasks").out.splitlines()[1:]
        assert [re.search(r"\b(made|late|lost)\b", line)[1] for line in lines] == ["lost", "late", "made"]
        assert [each["task_id"] for each in xalora("tasks", "--json", "--limit", 2).json["tasks"]] == ["lost", "late"]
        assert past.seen == []

    def test_none_so_far(self, xalora):
        assert xalora("tasks", "--json").json["tasks"] == []
        assert xalora("tasks").code == 0
        assert [xalora("tasks", "--limit", limit).code for limit in (0, -3)] == [2, 2]

    def test_the_same_again_is_not_paid_again(self, xalora, past, files, tmp_path):
        asked = len(files.seen)
        done = xalora("run", "--task-type", "first", "-o", "again.png")
        assert (done.code, done.out) == (0, "again.png\n")
        assert (tmp_path / "again.png").read_bytes() == picture(32, 16)
        assert len(files.seen) == asked
        assert past.seen == []
        assert xalora("run", "--task-type", "second", "-o", "late.png").code == 0
        assert past.count("task_create") == 0
        assert {seen.body["task_id"] for seen in past.seen} == {"late"}

    def test_a_damaged_ledger_costs_no_second_task(self, xalora, past, tmp_path):
        ledger = tmp_path / "home" / "ledger.sqlite3"
        content = ledger.read_bytes()
        codes = set()
        for at in range(0, len(content), 4096):
            ledger.write_bytes(content[:at] + bytes(4096) + content[at + 4096 :])
            done = xalora("run", "--task-type", "first", "-o", "again.png")
            assert (done.code, "xalora repair" in done.err) in ((0, False), (2, True))
            codes.add(done.code)
        assert past.count("task_create") == 0
        assert codes == {0, 2}
        assert xalora("tasks").code == 2
        assert xalora("repair").code == 0
        assert xalora("run", "--task-type", "first", "-o", "again.png").code == 0
        assert past.count("task_create") == 0

    def test_unless_one_wants_it_anew_or_strikes_it_out(self, xalora, past):
        past.script("task_create", Answer({"task_id": "new"}), Answer({"task_id": "newer"}))
        assert xalora("run", "--task-type", "first", "-o", "x.png", "--no-reuse").code == 0
        assert past.count("task_create") == 1
        for task_id in ("made", "new"):
            assert task_id in xalora("tasks", "--forget", task_id).out
        assert xalora("run", "--task-type", "first", "-o", "x.png").code == 0
        assert past.count("task_create") == 2

    def test_what_was_never_there_cannot_be_struck_out(self, xalora):
        refused = xalora("tasks", "--forget", "never", "--json")
        assert refused.code == 2
        assert "never" in refused.json["message"]

    def test_what_a_task_was_about_is_shown_in_words(self, xalora, past, tmp_path):
        past.script("task_create", lambda _: Answer({"task_id": "more"}))
        (tmp_path / "holiday photo.png").write_bytes(picture())
        assert xalora("upscale", "holiday photo.png", "-o", "x.png").code == 0
        assert xalora("run", "--task-type", "t", "--param", f"mask={MASK}", "-o", "x.png").code == 0
        assert (
            xalora("run", "--task-type", "t", "--param", "text=two\nlines", "--param", "n=2", "-o", "x.png").code == 0
        )
        shown = [line.partition("  cli  ")[2].strip() for line in xalora("tasks", "--limit", 3).out.splitlines()[1:]]
        assert shown == ["n=2, text=two lines", "mask=image", "image=holiday photo.png"]

    def test_downloads_are_pruned(self, xalora, command, scripted, tmp_path):
        made = ["run", "--task-type", "first", "-o", "x.png"]
        # In a process of its own: what a living one has fetched is in use.
        assert command(*made, XALORA_API_KEY=KEY, XALORA_WORKFLOW_URL=scripted.url).wait() == 0
        size = len(picture(32, 16))
        assert xalora("prune", "--json").json == {"removed": [], "freed_bytes": 0, "left_bytes": size}
        [stored] = (tmp_path / "home" / "media").glob("??/*.png")
        an_hour_ago = time.time() - 3600
        os.utime(stored, (an_hour_ago, an_hour_ago))
        pruned = xalora("prune", "--budget", 0, "--json")
        assert (pruned.code, pruned.json["removed"], pruned.json["freed_bytes"]) == (0, [str(stored)], size)
        assert not stored.exists()
        assert xalora("prune").out == "0 files removed, 0.0 MB freed, 0.0 MB left\n"
        # What is gone is fetched again, not paid again.
        assert xalora(*made).code == 0
        assert scripted.count("task_create") == 1
        for budget in ("-1", "nan"):
            assert xalora("prune", "--budget", budget).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("text2video", "a rabbit", *SMALL),
        ("run", "--task-type", "txt2vid", "--param", "prompt=a fox", "--param", "length=5"),
    ],
    ids=["text2video", "run"],
)
def test_no_wait_and_fetch_later(command, sandbox, tmp_path, arguments):
    """The id comes at once; the result is collected by it, here, under its name."""
    environ = {"XALORA_API_KEY": SANDBOX_KEY, "XALORA_WORKFLOW_URL": sandbox.url}
    made = command(*arguments, "--no-wait", **environ)
    assert made.wait() == 0, made.errors()
    task_id = made.output().strip()
    fetched = command("fetch", task_id, **environ)
    assert fetched.wait() == 0, fetched.errors()
    assert fetched.output().strip().removeprefix("./") == f"{task_id}.mp4"
    assert (tmp_path / f"{task_id}.mp4").stat().st_size > 1000


def test_no_wait_for_several_images(xalora, scripted, tmp_path):
    for width, name in enumerate(("a.png", "b.png"), start=16):
        (tmp_path / name).write_bytes(picture(width))
    done = xalora("upscale", "a.png", "b.png", "--no-wait", "--json")
    assert done.code == 0
    assert [(each["image"], bool(each["task_id"])) for each in done.json["results"]] == [
        ("a.png", True),
        ("b.png", True),
    ]
    assert (scripted.count("task_create"), scripted.count("task_result_query")) == (2, 0)


@pytest.mark.parametrize("more", [(), ("--no-wait", "-o", "x.mp4")])
def test_a_result_goes_somewhere_or_later(xalora, scripted, more):
    refused = xalora("text2video", "a rabbit", *more)
    assert (refused.code, "--no-wait" in refused.err) == (2, True)
    assert scripted.seen == []
