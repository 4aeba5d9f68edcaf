"""Uploads of images that are cut: they go on where they ended."""

from __future__ import annotations

import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.cut_network import CutNetwork
from tests.support.fake_miner import IMAGE, workflow
from tests.support.pictures import png
from xalora_client import Client, InputImage, UpscalerTask
from xalora_client.sequencer.api import files

CONTENT = png() + os.urandom(3 * 2**20)


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
