"""`--dry-run`: nothing is sent, and what is said is what then happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import SMALL, picture
from tests.support.fake_sequencer import Answer, status

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


def test_others_in_the_folder_are_named(xalora, scripted):
    Path("photos", "deeper").mkdir(parents=True)
    Path("photos", "a.png").write_bytes(picture())
    Path("photos", "notes.txt").write_text("no picture")
    said = xalora("upscale", "photos", "--dry-run").err
    assert "notes.txt is skipped: it is no image" in said
    assert "deeper is skipped: it is a folder" in said
    assert "a.png" not in said
