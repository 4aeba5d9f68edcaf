"""`--prompts`: a task for each line of a file, several at a time, each reported as it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import SMALL, state_of
from tests.support.fake_sequencer import Answer, status
from tests.support.processes import poll
from xalora_client.config import SANDBOX_KEY

LINES = 'a fox\n\n{"prompt": "ein Bär", "seed": 7, "length": 9}\r\n  a rabbit  \n'


def test_each_line_is_a_file_and_an_object_as_it_ends(xalora, preview):
    Path("prompts.txt").write_text(LINES, encoding="utf-8-sig")
    arguments = ("text2video", "--prompts", "prompts.txt", "-o", "out/", "--json", *SMALL)
    done = xalora(*arguments)
    assert (done.code, sorted(path.name for path in Path("out").iterdir())) == (
        0,
        ["001-a-fox.mp4", "003-ein-bär.mp4", "004-a-rabbit.mp4"],
    )
    found = {each["line"]: each for each in map(json.loads, done.out.splitlines())}
    assert {line: (each["prompt"], each["frames"], Path(each["path"]).name) for line, each in found.items()} == {
        1: ("a fox", 5, "001-a-fox.mp4"),
        3: ("ein Bär", 9, "003-ein-bär.mp4"),
        4: ("a rabbit", 5, "004-a-rabbit.mp4"),
    }
    again = {each["line"]: each for each in map(json.loads, xalora(*arguments).out.splitlines())}
    assert {line: each["task_id"] for line, each in again.items()} == {
        line: each["task_id"] for line, each in found.items()
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", "no JSON object"),
        ('{"prompt": "x", "colour": 1}', "colour"),
        ('{"prompt": "x", "width": 17}', "width"),
        ('{"seed": 1}', "prompt"),
        ('{"prompt": 7}', "prompt"),
    ],
)
def test_a_bad_line_is_named_before_anything_is_sent(xalora, scripted, line, said):
    Path("prompts.txt").write_text(f"good\n{line}\n")
    refused = xalora("text2video", "--prompts", "prompts.txt", "-o", "out/")
    assert (refused.code, scripted.seen) == (2, [])
    assert "Line 2" in refused.err
    assert said in refused.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prompts", "none.txt", "-o", "out/"], "none.txt"),
        (["--prompts", "empty.txt", "-o", "out/"], "no prompt"),
        (["--prompts", "good.txt", "-o", "one.mp4"], "one.mp4"),
        (["--prompts", "good.txt", "-o", "-"], "-"),
        (["--prompts", "good.txt", "-o", "out/", "--at-once", "0"], "--at-once"),
        (["--prompts", "good.txt", "a fox", "-o", "out/"], "Either"),
        (["--prompts", "bytes.txt", "-o", "out/"], "bytes.txt is no text. Save or send it as UTF-8.\n"),
        (["--prompts", "zeros.txt", "-o", "out/"], "zeros.txt is no text. Save or send it as UTF-8.\n"),
        (["--prompts", "good.txt", "-o", "one.mp4", "--dry-run"], "one.mp4"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(xalora, scripted, arguments, said):
    Path("good.txt").write_text("a fox\na bear\n")
    Path("empty.txt").write_text(" \n\n")
    Path("bytes.txt").write_bytes(b"\xff\xfe")
    Path("zeros.txt").write_bytes("a fox\n".encode("utf-16-le"))
    refused = xalora("text2video", *arguments)
    assert (refused.code, scripted.seen) == (2, [])
    assert said in refused.err


def test_what_goes_wrong_with_one_is_reported_and_the_others_go_on(xalora, scripted, monkeypatch):
    scripted.script(
        "task_create", lambda seen: Answer({"task_id": seen.body["task_details"]["parameters"]["prompt"][-1]})
    )
    good = status("finished", result=scripted.answers["/task_result_query"][0].body["result"])
    scripted.script(
        "task_result_query",
        lambda seen: status("failed", task_id="2", msg="too hot") if seen.body["task_id"] == "2" else good,
    )
    Path("prompts.txt").write_text("task 1\ntask 2\ntask 3\n")
    arguments = ("flux-lora", "--lora", "a", "--prompts", "prompts.txt", "-o", "out/")
    done = xalora(*arguments)
    assert (done.code, len(done.out.splitlines())) == (1, 2)
    assert "line 2" in done.err
    found = {each["line"]: each for each in map(json.loads, xalora(*arguments, "--json").out.splitlines())}
    assert (found[2]["error"], found[2]["exit_code"], found[2]["task_id"]) == ("TaskFailedError", 1, "2")
    assert {1, 3} == {line for line, each in found.items() if "path" in each}


def test_from_standard_input_with_as_many_at_once_as_said_and_ctrl_c_cancels_them(command, slow):
    started = command(
        "text2video", "--prompts", "-", "--at-once", 2, "-o", "out/", "--sandbox", *SMALL, stdin="a\nb\nc\n"
    )
    poll(lambda: started.errors().count(" running ") == 2)
    assert "line 3" not in started.errors()
    started.interrupt()
    assert started.wait() == 130
    ids = {word for line in started.errors().splitlines() if " task " in line for word in line.split()[3:4]}
    assert len(ids) == 2
    assert {state_of(slow, task_id, SANDBOX_KEY.partition("#")[2]) for task_id in ids} == {"canceled"}


def test_without_waiting_each_id_is_printed(xalora, scripted):
    scripted.script("task_create", lambda seen: Answer({"task_id": seen.body["task_details"]["parameters"]["prompt"]}))
    Path("prompts.txt").write_text("x\ny\nz\n")
    lines = xalora("text2video", "--prompts", "prompts.txt", "--no-wait").out.splitlines()
    assert sorted(lines) == ["1 x", "2 y", "3 z"]
