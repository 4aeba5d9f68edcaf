"""Uploads of images that are cut: they go on where they ended."""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.cut_network import CutNetwork
from tests.support.fake_miner import IMAGE, workflow
from tests.support.pictures import png
from xalora_client import Client, InputImage, UpscalerTask
from xalora_client.sequencer import app, file_store
from xalora_client.sequencer.api import connections, files

CONTENT = png() + os.urandom(3 * 2**20)
LARGE = png() + os.urandom(24 * 2**20)


@pytest.fixture
def server(sequencer):
    return sequencer(allow_private_images=True)


@pytest.fixture
def cut_upload(server, poll):
    """``cut_upload(content, offset)`` uploads to the middle of the rest, breaks off, and returns how much came."""

    def cut(content=CONTENT, offset=0):
        url = urlsplit(announce(server, content)["upload_url"])
        more = f"Upload-Offset: {offset}\r\n" if offset else ""
        head = f"PUT {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n{more}Content-Length: {len(content) - offset}\r\n\r\n"
        middle = (offset + len(content)) // 2
        with socket.create_connection((url.hostname, url.port)) as connection:
            connection.sendall(head.encode() + content[offset:middle])
        poll(lambda: announce(server, content).get("received", 0) > offset)
        received = announce(server, content)["received"]
        assert received <= middle  # The last that came may be lost with the connection.
        return received

    return cut


def announce(server, content=CONTENT):
    body = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "content_type": "image/png"}
    return server.post("image_upload", consumer_id=server.consumer_id, **body).json()


def put(server, content, offset=None):
    headers = {} if offset is None else {"Upload-Offset": str(offset)}
    return requests.put(announce(server)["upload_url"], data=content, headers=headers, timeout=30)


def folders(server):
    return {path.parent.name for path in server.data.rglob("*") if path.is_file() and path.parent != server.data}


def test_it_goes_on_where_it_was_cut(server, cut_upload):
    received = cut_upload()
    received = cut_upload(offset=received)
    assert put(server, CONTENT[received:], received).status_code == 200
    answer = announce(server)
    assert "upload_url" not in answer
    miner = server.miner(workflow("upscaler", IMAGE))
    server.make("upscaler", image=answer["image"])
    assert requests.get(miner.waits().result(20)["inputs"]["image"]["url"], timeout=30).content == CONTENT
    assert folders(server) == {"inputs"}


@pytest.mark.parametrize("offset", ["1", str(len(CONTENT) - 1), "x", "-1"])
def test_at_another_place_it_does_not_go_on(server, cut_upload, offset):
    received = cut_upload()
    assert put(server, CONTENT[received:], offset).status_code == 409
    assert announce(server)["received"] == received
    assert put(server, CONTENT).status_code == 200
    assert folders(server) == {"inputs"}


def test_what_does_not_fit_begins_again(server, cut_upload):
    received = cut_upload()
    assert put(server, bytes(len(CONTENT) - received), received).status_code == 422
    assert "received" not in announce(server)
    assert put(server, CONTENT).status_code == 200


def test_a_few_cut_uploads_are_kept(server, cut_upload, monkeypatch):
    monkeypatch.setattr(files, "MOST_CUT", 2)
    contents = [CONTENT + bytes([number]) for number in range(3)]
    received = [cut_upload(content) for content in contents]
    assert [announce(server, content).get("received") for content in contents] == [None, *received[1:]]
    assert len(list((server.data / "incoming").iterdir())) == 2


def test_nobody_throws_out_the_cut_uploads_of_others(server, cut_upload, monkeypatch):
    monkeypatch.setattr(files, "MOST_CUT", 3)
    monkeypatch.setattr(files, "MOST_CUT_OF_OWNER", 2)
    received = cut_upload()
    own = server.api_key
    server.api_key = "another"
    for number in range(4):
        cut_upload(CONTENT + bytes([number]))
    assert len(list((server.data / "incoming").iterdir())) == 3
    server.api_key = own
    assert announce(server)["received"] == received


class Sender:
    """A raw upload that sends what it is told to. ``rest`` sends all that is left, and returns the answer's status."""

    def __init__(self, upload_url, content):
        self.url, self.left = urlsplit(upload_url), content
        self.connection = socket.create_connection((self.url.hostname, self.url.port), timeout=20)
        head = f"PUT {self.url.path} HTTP/1.1\r\nHost: {self.url.netloc}\r\nContent-Length: {len(content)}\r\n\r\n"
        self.connection.sendall(head.encode())

    def send(self, count):
        self.connection.sendall(self.left[:count])
        self.left = self.left[count:]

    def rest(self):
        try:
            self.send(len(self.left))
            return self.connection.recv(4096).split(b" ")[1].decode()
        except (OSError, IndexError):
            return "closed"
        finally:
            self.connection.close()


@pytest.fixture(params=["image", "result"])
def upload_url(request, server):
    """Where an image or a result is uploaded, as often as one likes."""
    if request.param == "image":
        return lambda: announce(server)["upload_url"]
    miner = server.miner()
    server.make()
    url = miner.take()["credential"]["upload_url"]
    return lambda: url


def test_an_address_takes_one_upload_at_a_time(server, upload_url, poll):
    """The last: the connections of the others may be dead."""
    senders, before = [], set()

    def another():
        found = {file.name for file in (server.data / "incoming").iterdir()}
        return len(found) == 1 and found != before and found

    for _ in range(6):
        senders.append(Sender(upload_url(), CONTENT))
        senders[-1].send(2**20 + 1)
        before = poll(another)
    assert [sender.rest() for sender in reversed(senders)] == ["200"] + ["closed"] * 5
    assert list((server.data / "incoming").iterdir()) == []


@pytest.mark.parametrize("at_once", [0, 1, 700_000])
def test_an_upload_that_drips_ends(server, upload_url, monkeypatch, at_once):
    monkeypatch.setattr(file_store, "PATIENCE_SECONDS", 0.4)
    sender = Sender(upload_url(), CONTENT)
    sender.send(at_once)
    with sender.connection:
        while not select.select([sender.connection], [], [], 0.05)[0]:
            sender.send(1)
        answer = sender.connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")
    assert put(server, CONTENT).status_code == 200


@pytest.mark.parametrize("end", ["cancel", "lost"])
def test_the_upload_of_an_attempt_that_is_over_ends(server, poll, end):
    miner = server.miner()
    task_id = server.make()
    sender = Sender(miner.take()["credential"]["upload_url"], CONTENT)
    sender.send(2**20 + 1)
    poll(lambda: len(list((server.data / "incoming").iterdir())) == 1)
    if end == "cancel":
        server.cancel(task_id)
    else:
        server.advance(31)
        assert server.miner(name="another").take()["task_id"] == task_id
    sender.send(1)
    assert sender.connection.recv(4096).startswith(b"HTTP/1.1 409")
    sender.connection.close()
    assert list((server.data / "incoming").iterdir()) == []


def test_a_few_uploads_of_an_owner_run_at_once(server, monkeypatch, poll):
    monkeypatch.setattr(files, "UPLOADS_OF_OWNER", 2)
    contents = [CONTENT + bytes([number]) for number in range(3)]
    running = [Sender(announce(server, content)["upload_url"], content) for content in contents[:2]]
    for sender in running:
        sender.send(1)
    poll(lambda: len(list((server.data / "incoming").iterdir())) == 2)
    answer = requests.put(announce(server, contents[2])["upload_url"], data=contents[2], timeout=30)
    assert (answer.status_code, "2 of your uploads" in answer.json()["message"]) == (429, True)
    server.api_key = "another"
    assert put(server, CONTENT).status_code == 200
    assert [sender.rest() for sender in running] == ["200", "200"]


def test_the_last_of_the_disk_is_left_alone(server, upload_url, monkeypatch):
    usage = shutil.disk_usage(server.data)
    monkeypatch.setattr(file_store.shutil, "disk_usage", lambda _: usage._replace(free=file_store.RESERVE + 2**20))
    answer = requests.put(upload_url(), data=CONTENT, timeout=30)
    assert (answer.status_code, "disk is full" in answer.json()["message"]) == (507, True)
    chunked = requests.put(upload_url(), data=iter([CONTENT[: 2**20], CONTENT[2**20 :]]), timeout=30)
    assert chunked.status_code == 507
    assert list((server.data / "incoming").iterdir()) == []


def is_cut(connection):
    try:
        return connection.send(b" ") == 0
    except OSError:
        return True


def large_result(server):
    """Its address."""
    miner = server.miner()
    task_id = server.make()
    miner.finish(miner.take(), LARGE)
    return server.query(task_id)["result"]


def reads_nothing(url):
    """A connection that asks for this, and reads no more than a byte of it."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect((urlsplit(url).hostname, urlsplit(url).port))
    reader.sendall(f"GET {urlsplit(url).path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert reader.recv(1)
    return reader


def test_a_reader_who_takes_nothing_is_cut(server, monkeypatch, poll):
    monkeypatch.setattr(connections, "READER_SECONDS", 0.3)
    url = large_result(server)
    with reads_nothing(url) as reader:
        poll(lambda: is_cut(reader))
    assert requests.get(url, timeout=30).content == LARGE


def test_readers_who_take_nothing_are_in_nobodys_way(sequencer, monkeypatch, poll):
    monkeypatch.setattr(app, "most_connections", lambda: 20)
    url = large_result(sequencer())

    def is_served():
        with suppress(requests.ConnectionError):
            return requests.get(url, timeout=30).content == LARGE

    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(reads_nothing(url))
        poll(is_served, 20.0)


def test_a_folder_that_somebody_deleted_is_made_again(server):
    shutil.rmtree(server.data / "incoming")
    assert requests.get(large_result(server), timeout=30).content == LARGE


def test_a_client_goes_on_after_a_cut(server):
    network = CutNetwork(server.url)
    network.freeze_within("PUT /image_upload")
    seen = []
    try:
        with Client("consumer-1#secret-key", network.url) as client, ThreadPoolExecutor() as threads:
            task = UpscalerTask(InputImage.from_bytes(CONTENT))
            upload = threads.submit(client.upload_images, task, lambda progress: seen.append(progress.sent))
            assert network.caught.wait(10)
            network.tear()
            network.mend()
            upload.result(30)
    finally:
        network.close()
    assert seen[-1] == len(CONTENT)
    assert sum(count for path, count in network.passed.items() if path.startswith("PUT /image_upload")) == 2
