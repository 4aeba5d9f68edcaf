"""`--dry-run`: nothing is sent, and what is said is what then happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import SMALL, picture
from tests.support.fake_sequencer import Answer, status
from xalora_client.cli import dry_run
from xalora_client.ledger import Step

COMMANDS = {
    "a video": ["text2video", "a fox", *SMALL],
    "a picture": ["flux-lora", "a fox", "--lora", "ink"],
    "an upscale": ["upscale", "photo.png"],
    "a folder": ["upscale", "photos"],
    "lines": ["text2video", "--prompts", "prompts.txt"],
    "any": ["run", "--task-type", "other", "--text", "prompt=2001", "--param", "number=2001"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_what_is_said_is_what_happens(xalora, scripted, tmp_path, arguments):
    Path("photo.png").write_bytes(picture())
    Path("photos").mkdir()
    Path("photos", "a.png").write_bytes(picture(8, 8))
    Path("photos", "notes.txt").write_text("no picture")
    Path("prompts.txt").write_text("a fox\n")
    scripted.script("task_create", *(Answer({"task_id": f"t{number}"}) for number in (1, 2, 3)))
    plan = json.loads(xalora(*arguments, "-o", "x/", "--dry-run", "--json").out)
    assert (plan["origin"], plan["task_id"], scripted.seen) == ("new", None, [])
    assert not (tmp_path / "home" / "ledger.sqlite3").exists()

    good = scripted.answers["/task_result_query"]
    scripted.script("task_result_query", status("running"))
    assert xalora(*arguments, "-o", "out/" if arguments[0] != "text2video" or "--prompts" in arguments else "x.mp4",
                  "--timeout", 0.1).code == 4  # fmt: skip
    (created,) = [seen.body for seen in scripted.seen if seen.path == "/task_create"]
    assert (created["task_type"], created.get("workflow_id")) == (plan["task_type"], plan["workflow_id"])
    if "image" not in plan["parameters"]:
        assert created["task_details"]["parameters"] == plan["parameters"]

    plan = json.loads(xalora(*arguments, "--dry-run", "--json").out)
    assert (plan["origin"], plan["task_id"], plan["state"]) == ("attach", "t1", "waiting")
    assert json.loads(xalora(*arguments, "--dry-run", "--no-reuse", "--json").out)["origin"] == "new"
    scripted.script("task_result_query", *good)
    assert xalora("fetch", "t1", "-o", "y.png").code == 0
    words = xalora(*arguments, "--dry-run").out
    assert "task t1 would be reused, without another charge" in words
    assert len([seen for seen in scripted.seen if seen.path == "/task_create"]) == 1


def test_every_step_has_words():
    assert {*dry_run._ORIGINS} == {*Step}


def test_the_same_line_twice_is_one_task(xalora, scripted):
    Path("prompts.txt").write_text("a fox\na bear\na fox\n")
    plans = [json.loads(line) for line in
             xalora("text2video", "--prompts", "prompts.txt", "--dry-run", "--json").out.splitlines()]  # fmt: skip
    assert [plan["origin"] for plan in plans] == ["new", "new", "busy"]
    words = xalora("text2video", "--prompts", "prompts.txt", "--dry-run", "--no-reuse").out
    assert words.count("would be created and charged") == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["upscale", "cut.png", "-o", "x.png"],
        ["text2video", "x", "-o", "nowhere/x.mp4"],
        ["text2video", "x", "-o", "x.png"],
    ],
)
def test_what_would_be_refused_is_refused(xalora, scripted, arguments):
    Path("cut.png").write_bytes(picture(200, 200)[:300])
    assert (xalora(*arguments, "--dry-run").code, xalora(*arguments).code, scripted.seen) == (2, 2, [])


def test_others_in_the_folder_are_named(xalora, scripted):
    Path("photos", "deeper").mkdir(parents=True)
    Path("photos", "a.png").write_bytes(picture())
    Path("photos", "notes.txt").write_text("no picture")
    said = xalora("upscale", "photos", "--dry-run").err
    assert "notes.txt is skipped: it is no image" in said
    assert "deeper is skipped: it is a folder" in said
    assert "a.png" not in said
