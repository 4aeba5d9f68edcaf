"""A task with several results: a batch of pictures that one output made."""

from __future__ import annotations

import pytest
import requests

from tests.support.pictures import png
from xalora_client.protocol.miner import MOST_RESULTS
from xalora_client.sequencer.api import files

PICTURES = [png(4, 4), png(5, 5), png(4, 4)]
"""Two of a batch may be equal."""


def media(*urls):
    return [requests.get(url, timeout=30).content for url in urls]


def uploaded(miner, task, *pictures):
    return [miner.upload(task, picture).json()["result"] for picture in pictures]


def test_all_come_back_in_their_order_also_after_a_restart(sequencer):
    server = sequencer(api_keys=("tester#secret-of-the-tester", "you#another"))
    miner, task_id = server.miner(), server.make()
    task = miner.take()
    assert task["most_results"] == MOST_RESULTS
    keys = uploaded(miner, task, *PICTURES[:2])
    server.stop()
    server = sequencer(api_keys=("tester#secret-of-the-tester", "you#another"))
    task = server.moved(task)
    miner.move_to(server.url)
    keys += uploaded(miner, task, PICTURES[2])
    assert miner.submit(task, result=keys[0], results=keys).status_code == 200
    answer = server.query(task_id)
    assert answer["results"][0] == answer["result"]
    assert media(*answer["results"]) == PICTURES
    for number in ("0", "4", "99", "100", "-1", "x", "%00", "1/1"):
        assert requests.get(f"{answer['result']}/{number}", timeout=30).status_code == 404
    server.stop()
    server = sequencer(api_keys=("you#another",))
    for url in answer["results"]:
        path = url.partition("/media/")[2]
        assert requests.get(f"{server.url}/media/{path}", timeout=30).status_code == 404  # Its key was withdrawn.


def test_each_can_be_the_input_of_another_task_of_the_same_key(sequencer):
    server = sequencer()
    upscaler = {"task_type": "upscaler", "workflow_id": None, "parameters": [{"name": "image", "kind": "image"}]}
    miner, task_id = server.miner("txt2vid.1", upscaler), server.make()
    task = miner.take()
    keys = uploaded(miner, task, *PICTURES)
    miner.submit(task, result=keys[0], results=keys)
    for url, picture in zip(server.query(task_id)["results"], PICTURES, strict=True):
        server.make("upscaler", image=url.replace(server.url, "https://other.example"))
        given = miner.ask(wait_seconds=20)
        assert media(given["inputs"]["image"]["url"]) == [picture]
        miner.submit(given, success=False, msg="enough", error={"node_id": "1"})


@pytest.mark.parametrize(
    ("results", "status"),
    [
        (["OTHERS"], 409),
        (["OWN", "OTHERS"], 409),
        (["OWN", "../sequencer.sqlite3"], 409),
        (["OWN"] * 10_000, 400),
        (["OWN"] * (MOST_RESULTS + 1), 400),
        (["OWN", 5], 400),
        (["OWN", ["OWN"]], 400),
        (["SECOND", "OWN"], 400),
        ({"0": "OWN"}, 400),
        ("OWN", 400),
        (7, 400),
    ],
)
def test_what_the_attempt_has_not_uploaded_is_no_result(sequencer, results, status):
    server = sequencer()
    miner, other = server.miner(), server.miner()
    task_id = server.make()
    server.make(prompt="another")
    task, others = miner.take(), other.take()
    names = {"OTHERS": uploaded(other, others, png(9, 9))[0]}
    names["OWN"], names["SECOND"] = uploaded(miner, task, *PICTURES[:2])
    named = [names.get(str(each), each) for each in results] if isinstance(results, list) else results
    first = named[0] if status == 409 and results != ["OTHERS"] else names["OWN"]
    first = names["OTHERS"] if results == ["OTHERS"] else first
    assert miner.submit(task, result=first, results=named).status_code == status
    assert server.query(task_id)["status"] == "running"
    assert miner.submit(task, result=names["OWN"], results=[names["OWN"], names["SECOND"]]).status_code == 200
    assert media(*server.query(task_id)["results"]) == PICTURES[:2]


def test_an_attempt_uploads_so_many_files_and_bytes(sequencer, monkeypatch):
    monkeypatch.setattr(files, "MOST_RESULTS", 3)
    monkeypatch.setattr(files, "LARGEST_RESULT", sum(map(len, PICTURES)) + 100)
    server = sequencer()
    miner, task_id = server.miner(), server.make()
    task = miner.take()
    keys = uploaded(miner, task, *PICTURES)
    large = png(40, 40) + bytes(200)
    assert miner.upload(task, large).status_code == 413
    keys += uploaded(miner, task, png(6, 6))
    assert miner.upload(task, png(7, 7)).status_code == 409
    assert uploaded(miner, task, *PICTURES) == keys[:3]  # Again is not more.
    assert {each.name for each in (server.data / "media").iterdir()} == set(keys)
    assert miner.submit(task, result=keys[0], results=keys).status_code == 200
    assert media(*server.query(task_id)["results"]) == [*PICTURES, png(6, 6)]


def test_the_next_attempt_begins_with_none(sequencer):
    server = sequencer()
    late, other = server.miner(), server.miner()
    task_id = server.make()
    keys = uploaded(late, late.take(), *PICTURES)
    server.advance(31)
    task = other.take()
    assert other.submit(task, result=keys[0], results=keys).status_code == 409
    first = uploaded(other, task, PICTURES[0])
    assert other.submit(task, result=first[0], results=[first[0], keys[1]]).status_code == 409
    assert other.submit(task, result=first[0]).status_code == 200
    assert "results" not in server.query(task_id)
