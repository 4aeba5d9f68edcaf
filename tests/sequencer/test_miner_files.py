"""The bytes of tasks: uploads of results, and where they are kept."""

from __future__ import annotations

import errno
import os
import socket
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from tests.support.pictures import encoded, png
from xalora_client.sequencer import file_store
from xalora_client.sequencer.options import SequencerOptions


@pytest.fixture
def server(sequencer):
    return sequencer()


@pytest.fixture
def miner(server):
    return server.miner()


def jpeg(side):
    return encoded(Image.new("RGB", (side, side)), "JPEG")


def finished(server, miner, content):
    task_id = server.make()
    miner.finish(miner.take(), content)
    return server.query(task_id)["result"]


def test_a_result_has_an_address_that_cannot_be_guessed(server, miner):
    task_id = server.make()
    task = miner.take()
    key = miner.upload(task, jpeg(9)).json()["result"]
    miner.submit(task, result=key)
    name = server.query(task_id)["result"].removeprefix(f"{server.url}/media/")
    assert name.endswith(".jpg")
    assert len(name) > 40
    for known in (task_id, key.partition(".")[0], task["lease"], task["prompt_id"]):
        assert known not in name
    assert requests.get(f"{server.url}/media/{key}", timeout=30).status_code == 404


def test_a_result_is_sent_whole_or_in_parts(server, miner):
    content = jpeg(64)
    url = finished(server, miner, content)
    answer = requests.get(url, timeout=30)
    assert (answer.content, answer.headers["Content-Type"]) == (content, "image/jpeg")
    part = requests.get(url, headers={"Range": "bytes=10-19"}, timeout=30)
    assert (part.status_code, part.content) == (206, content[10:20])


def test_the_same_upload_again_gives_the_same_key_and_what_is_submitted_counts(server, miner):
    task_id = server.make()
    task = miner.take()
    first = miner.upload(task, jpeg(9))
    assert miner.upload(task, jpeg(9)).json() == first.json()
    assert miner.upload(task, jpeg(10)).status_code == 200
    assert miner.submit(task, result=first.json()["result"]).status_code == 200
    answer = server.query(task_id)
    assert requests.get(answer["result"], timeout=30).content == jpeg(9)
    assert "results" not in answer
    assert requests.get(f"{answer['result']}/2", timeout=30).status_code == 404


def test_an_upload_that_broke_off_may_be_repeated(server, miner, poll):
    server.make()
    task = miner.take()
    where = urlsplit(task["credential"]["upload_url"])
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(
            f"PUT {where.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode() + png()[:20]
        )
        poll(lambda: list((server.data / "incoming").iterdir()))
    poll(lambda: not list((server.data / "incoming").iterdir()))
    assert server.query(task["task_id"])["status"] == "running"
    miner.finish(task)


@pytest.mark.parametrize("content", [b"", b"<html>secret words</html>", b"\0" * 5000, b"MZ" + bytes(100)])
def test_what_is_no_media_is_refused(server, miner, content):
    server.make()
    task = miner.take()
    answer = miner.upload(task, content)
    assert answer.status_code == 415
    assert "not a picture or video" in answer.json()["message"]
    assert list((server.data / "media").iterdir()) == []
    miner.finish(task)


def test_a_full_disk_is_said_and_the_upload_can_be_repeated(server, miner, monkeypatch):
    server.make()
    task = miner.take()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(file_store.IncomingFile, "write", full)
        answer = miner.upload(task)
        assert answer.status_code == 507
        assert "disk is full" in answer.json()["message"]
    assert list((server.data / "incoming").iterdir()) == []
    assert server.query(task["task_id"])["status"] == "running"
    miner.finish(task)


def test_the_same_content_is_stored_once(server, miner):
    urls = {finished(server, miner, png()) for _ in range(3)}
    assert len(urls) == 3
    assert len(list((server.data / "media").iterdir())) == 1


def test_above_the_budget_the_oldest_results_go_but_none_of_the_last_hour(sequencer, poll):
    server = sequencer(result_bytes=2**20)
    miner = server.miner()
    urls = []
    for number in range(4):
        noise = Image.effect_noise((700, 700), 90 + number)
        urls.append(finished(server, miner, encoded(noise)))
        server.advance(600)
    server.advance(60)
    assert [requests.head(url, timeout=30).status_code for url in urls] == [200] * 4
    server.advance(3600 - 600)
    poll(lambda: requests.head(urls[0], timeout=30).status_code == 410)
    assert requests.head(urls[-1], timeout=30).status_code == 200


@pytest.mark.parametrize("budget", [0, -1, 1.5])
def test_a_budget_that_makes_no_sense(budget):
    with pytest.raises(ValueError, match="result_bytes"):
        SequencerOptions(result_bytes=budget)


@pytest.mark.parametrize("path", ["media/..%2Fsequencer.sqlite3", "media/%2e%2e", "miner_input/..%2F..", "media/a%00"])
def test_names_from_the_network_are_no_paths(server, path):
    assert requests.get(f"{server.url}/{path}", timeout=30).status_code == 404


def test_unfinished_uploads_of_a_dead_process_are_removed(sequencer):
    first = sequencer()
    (first.data / "incoming" / "half").write_bytes(b"x")
    first.stop()
    sequencer()
    assert list((first.data / "incoming").iterdir()) == []
