"""A malformed key, a server with odd words, and images that are read in their turn."""

from __future__ import annotations

import json
import os

import pytest

from tests.support.command_line import picture
from tests.support.fake_sequencer import Answer, status
from tests.support.subject import KEY

ODD = "bad \x1b[31m\u202e words \ud800 \x00\n" + "x" * 1_000_000


@pytest.mark.parametrize("arguments", [("tasks",), ("prune",), ("tasks", "--json"), ("prune", "--json")])
def test_a_malformed_key_breaks_nothing_that_needs_none(xalora, monkeypatch, arguments):
    monkeypatch.setenv("XALORA_API_KEY", "nonsense")
    assert xalora(*arguments).code == 0


def test_a_malformed_key_is_no_reason_not_to_store_a_good_one(command):
    done = command("login", stdin=f"{KEY}\n", XALORA_API_KEY="nonsense")
    assert done.wait() == 0, done.errors()


@pytest.mark.parametrize(
    "answer",
    [
        Answer({"message": ODD}, 500),
        Answer({"message": ODD}, 400),
        status("failed", msg=ODD),
        status(ODD),
        status("failed", result=ODD, extra={ODD: ODD}),
        Answer(ODD.encode("utf-8", "surrogatepass")),
    ],
    ids=["500", "400", "failed", "status", "result", "text"],
)
@pytest.mark.parametrize("arguments", [("status", "t1"), ("fetch", "t1", "-o", "x.png", "--timeout", "3")])
def test_a_servers_odd_words_are_a_plain_line(xalora, scripted, answer, arguments):
    scripted.script("task_result_query", answer)
    done = xalora(*arguments, "--json")
    json.loads(done.out)
    for text in (done.out, done.err, xalora(*arguments).out):
        assert len(text) < 3000
        assert not set("\x1b\u202e\x00") & set(text)


def test_an_image_is_read_when_its_turn_comes(xalora, scripted, tmp_path):
    for width, name in enumerate(("a.png", "b.png"), 24):
        (tmp_path / name).write_bytes(picture(width))

    def create(seen):
        (tmp_path / "b.png").unlink(missing_ok=True)
        return Answer({"task_id": f"t-{os.urandom(4).hex()}"})

    scripted.script("task_create", create)
    done = xalora("upscale", "a.png", "b.png", "-o", "out", "--max-parallel", "1", "--json")
    assert (done.code, done.json["error"]) == (2, "InvalidParameterError")
    assert [each["image"] for each in done.json["results"]] == ["a.png"]
    assert scripted.count("task_create") == 1
