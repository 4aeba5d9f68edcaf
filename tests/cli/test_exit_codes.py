"""What the command exits with, and what it says then. The first number in a name is the exit code."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.command_line import SMALL, picture, state_of
from tests.support.fake_file_server import File
from tests.support.fake_sequencer import Answer, status
from tests.support.loopback import deaf_url
from tests.support.processes import poll
from tests.support.subject import KEY, SECRET
from xalora_client import __version__


@pytest.mark.parametrize(("state", "error"), [("failed", "TaskFailedError"), ("canceled", "TaskCanceledError")])
def test_1_the_task_did_not_end_well(xalora, scripted, state, error):
    scripted.script("task_result_query", status(state, msg="out of memory"))
    failed = xalora("fetch", "t1", "-o", "x.png", "--json")
    assert failed.code == 1
    assert failed.json["error"] == error
    assert failed.json["task_id"] == "t1"
    assert "out of memory" in failed.json["message"]
    assert failed.err.endswith(f"xalora: {failed.json['message']}\n")
    assert xalora("fetch", "t1", "-o", "x.png").out == ""


@pytest.mark.parametrize("content", [b"<html>log in</html>", picture()[:60], b"PK\3\4 a model", b"\0" * 500])
@pytest.mark.parametrize("arguments", [("fetch", "t1"), ("flux-lora", "a gecko", "--lora", "gecko")])
def test_1_the_result_cannot_be_read_and_is_saved_where_nothing_is(xalora, scripted, files, arguments, content):
    files.serve("/result.png", File(content))
    failed = xalora(*arguments, "-o", "x.png", "--json")
    assert failed.code == 1
    assert failed.json["error"] == "DecodeError"
    assert " x.png;" in failed.json["message"]
    assert Path("x.png").read_bytes() == content

    Path("y.png").write_bytes(b"good")
    again = xalora(*arguments, "-o", "y.png")
    assert (again.code, Path("y.png").read_bytes()) == (1, b"good")
    (kept,) = re.findall(r"kept for inspection at (\S+);", again.err)
    assert Path(kept).read_bytes() == content


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["text2video"], ["text2video", "x"], ["text2video", "x", "-o", "y", "--len", "5"],
     ["flux-lora", "x", "-o", "y"], ["run", "-o", "y"], ["upscale", "-o", "y"], ["status"], ["fetch"],
     ["text2video", "x", "-o", "y", "--width", "wide"], ["sandbox", "--video-format", "gif"]],
    ids=" ".join,
)  # fmt: skip
def test_2_usage(xalora, arguments):
    refused = xalora(*arguments)
    assert refused.code == 2
    assert refused.out == ""
    assert re.fullmatch(r"xalora: .+\. (Did you mean \S+\? )?See `xalora( [\w-]+)? --help`\.\n", refused.err)


@pytest.mark.parametrize("arguments", [["--json"], ["text2video", "--json"], ["run", "--json", "--param", "odd"]])
def test_2_usage_in_json(xalora, arguments):
    refused = xalora(*arguments)
    assert refused.code == 2
    assert refused.json["error"] == "ConfigurationError"
    assert "--help" in refused.json["message"]


@pytest.mark.parametrize("arguments", [["--help"], ["text2video", "--help"], ["sandbox", "--help"], [], ["workflows"]])
def test_0_help(xalora, arguments):
    done = xalora(*arguments)
    assert done.code == 0
    assert done.out.startswith("usage: xalora")
    assert done.err == ""


@pytest.mark.parametrize("timeout", ["0", "-1", "nan"])
def test_2_a_timeout_nobody_can_wait(xalora, scripted, timeout):
    assert xalora("run", "--task-type", "t", "-o", "x.png", "--timeout", timeout).code == 2
    assert scripted.seen == []


@pytest.mark.parametrize(
    "arguments",
    [["text2video", "x", "-o", "y.mp4"], ["status", "t1"], ["cancel", "t1"], ["fetch", "t1", "-o", "y"]],
    ids=lambda each: each[0],
)
def test_2_no_key(xalora, monkeypatch, arguments):
    monkeypatch.delenv("XALORA_API_KEY")
    refused = xalora(*arguments, "--json")
    assert refused.code == 2
    for way in ("XALORA_API_KEY", ".env", "xalora login", "--sandbox"):
        assert way in refused.json["message"]
    assert refused.json["task_id"] is None


def test_2_a_key_or_url_in_the_wrong_form(xalora, monkeypatch):
    monkeypatch.setenv("XALORA_API_KEY", SECRET.replace("-", ""))
    assert xalora("status", "t1").code == 2
    monkeypatch.setenv("XALORA_API_KEY", KEY)
    monkeypatch.setenv("XALORA_WORKFLOW_URL", "non sense")
    assert xalora("status", "t1").code == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer({"message": "no"}, 400), "BadRequestError"),
        (Answer({"message": f"unknown key {SECRET}"}, 401), "AuthenticationError"),
        (Answer({"message": "no credit"}, 402), "PaymentRequiredError"),
        (Answer({"message": "broken"}, 500), "ServerError"),
        (Answer(b"<html>"), "ResponseError"),
        (Answer(drop=True), "NetworkError"),
    ],
    ids=["400", "401", "402", "500", "no JSON", "drop"],
)
def test_3_the_server(xalora, scripted, answer, error):
    scripted.script("task_create", answer)
    failed = xalora("run", "--task-type", "t", "-o", "x.png", "--json")
    assert failed.code == 3
    assert failed.json["error"] == error
    assert failed.err == f"xalora: {failed.json['message']}\n"


def test_3_no_server(xalora, monkeypatch):
    with deaf_url() as url:
        monkeypatch.setenv("XALORA_WORKFLOW_URL", url)
        failed = xalora("run", "--task-type", "t", "-o", "x.png", "--timeout", 1, "--json")
    assert failed.code == 3
    assert failed.json["error"] == "NetworkError"


def test_3_the_file_is_gone(xalora, scripted, files):
    files.serve("/result.png", File(b"gone", 410))
    failed = xalora("fetch", "t1", "-o", "x.png", "--json")
    assert failed.code == 3
    assert failed.json["error"] == "DownloadError"
    assert failed.json["task_id"] == "t1"


def test_4_timed_out_and_fetched_later(xalora, scripted, files, tmp_path):
    scripted.script("task_result_query", status("running"))
    late = xalora("run", "--task-type", "t", "-o", "x.png", "--timeout", 0.1, "--json")
    assert late.code == 4
    assert late.json["error"] == "TaskTimeoutError"
    assert late.json["task_id"] == "t1"
    assert scripted.count("task_cancel") == 0
    scripted.script("task_result_query", status("finished", result=f"{files.url}/result.png"))
    done = xalora("fetch", "t1", "-o", "x.png", "--json", "--timeout", 5)
    assert done.code == 0
    assert done.json["path"] == "x.png"
    assert (tmp_path / "x.png").read_bytes() == picture(32, 16)


@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_130_ctrl_c_cancels_remotely(command, slow, as_json):
    run = command(
        "text2video", "a rabbit", *SMALL, "-o", "x.mp4", *["--json"] * as_json,
        XALORA_API_KEY=KEY, XALORA_WORKFLOW_URL=slow.url,
    )  # fmt: skip
    task_id = run.said(r"task (\S+) queued")[1]
    poll(lambda: state_of(slow, task_id) == "running")
    run.interrupt()
    assert run.wait() == 130
    assert state_of(slow, task_id) == "canceled"
    assert "xalora: Interrupted" in run.errors()
    assert "Traceback" not in run.errors()
    assert SECRET not in run.output() + run.errors()
    if as_json:
        assert json.loads(run.output())["error"] == "KeyboardInterrupt"
    else:
        assert run.output() == ""


def test_130_in_this_process(xalora, scripted):
    """As above, where coverage sees it."""

    def press(_):
        os.kill(os.getpid(), signal.SIGINT)
        return status("running")

    scripted.script("task_result_query", press, status("running"))
    stopped = xalora("fetch", "t1", "-o", "x.png", "--json")
    assert (stopped.code, stopped.json["error"]) == (130, "KeyboardInterrupt")
    assert "xalora cancel t1" in stopped.err  # A task of another run is not canceled.
    assert scripted.count("task_cancel") == 0


def test_130_cancels_each_of_several(command, slow, tmp_path):
    for width, name in enumerate(("a.png", "b.png", "c.png"), start=16):
        (tmp_path / name).write_bytes(picture(width))
    run = command("upscale", "a.png", "b.png", "c.png", "-o", "out", "--max-parallel", 2, "--sandbox")
    tasks = run.said(r"(?s)png: task (\S+) queued.*png: task (?!\1 )(\S+) queued").groups()
    run.interrupt()
    assert run.wait() == 130
    assert [state_of(slow, task, "local-preview") for task in tasks] == ["canceled"] * 2
    assert set(re.findall(r"png: task (\S+)", run.errors())) == set(tasks)


def test_130_before_anything_was_made(command, sequencer):
    sequencer.script("task_result_query", Answer({}, 503))
    run = command("fetch", "t1", "-o", "x.png", XALORA_API_KEY=KEY, XALORA_WORKFLOW_URL=sequencer.url)
    run.said("trying again")
    run.interrupt()
    assert run.wait() == 130


def test_the_version(xalora, command):
    shown = xalora("--version")
    assert (shown.code, shown.out) == (0, f"xalora {__version__}\n")
    assert command("--version").first_line() == f"xalora {__version__}"
