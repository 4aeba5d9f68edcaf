"""The images of tasks: fetched by the sequencer, or uploaded to it, and given to the miner."""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import hashlib
import http.server
import json
import os
from urllib.parse import quote_from_bytes

import pytest
import requests

from tests.support.bombs import BOMBS
from tests.support.fake_miner import IMAGE, workflow
from tests.support.loopback import HandlerBase, LoopbackServer
from tests.support.pictures import noise, png
from xalora_client.sequencer import file_store, inputs

UPSCALER = workflow("upscaler", IMAGE)


@pytest.fixture
def server(sequencer):
    return sequencer(allow_private_images=True)


@pytest.fixture
def miner(server):
    return server.miner(UPSCALER)


def given(server, miner, image):
    """Create a task with an image, and return it and the bytes that its miner gets."""
    task_id = server.make("upscaler", image=image)
    waiting = miner.waits()
    task = waiting.result(20)
    assert task["task_id"] == task_id
    answer = requests.get(task["inputs"]["image"]["url"], timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == task["inputs"]["image"]["content_type"]
    assert len(answer.content) == task["inputs"]["image"]["size"]
    return task, answer.content


def data_uri(content):
    return "data:image/png;base64," + base64.b64encode(content).decode()


def announce(server, content, **change):
    body = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "content_type": "image/png"}
    return server.post("image_upload", consumer_id=server.consumer_id, **{**body, **change})


def uploaded(server, content):
    answer = announce(server, content).json()
    if "upload_url" in answer:
        assert requests.put(answer["upload_url"], data=content, timeout=30).status_code == 200
    return answer["image"]


@pytest.mark.parametrize("way", ["http", "data", "upload"])
def test_the_miner_gets_the_bytes(server, miner, website, way):
    content = png(7, 5)
    website.pages["/cat.png"] = content
    image = {"http": f"{website.url}/cat.png", "data": data_uri(content)}.get(way) or uploaded(server, content)
    task, received = given(server, miner, image)
    assert received == content
    assert task["task_details"]["parameters"]["image"] == f"image/png, {len(content)} bytes"
    assert content[:20] not in (server.data / "sequencer.sqlite3").read_bytes()
    miner.finish(task)
    assert requests.get(task["inputs"]["image"]["url"], timeout=30).status_code == 404


LARGE = noise(side=580)
IN_LINES = "data:image/png;base64," + base64.encodebytes(LARGE).decode()


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(data_uri(LARGE)),
        json.dumps(data_uri(LARGE)).replace("/", "\\/"),
        json.dumps(data_uri(LARGE)).replace("A", "\\u0041"),
        json.dumps(IN_LINES),
        json.dumps(IN_LINES.replace("\n", "%0D%0A")),
        json.dumps("DATA:," + quote_from_bytes(LARGE)),
    ],
    ids=["plain", "escaped slashes", "escaped letters", "lines", "escaped lines", "percent signs"],
)
def test_a_large_data_uri_is_stored_at_the_create(sequencer, text):
    """Beside a small one and one that is uploaded: each is the image that it was."""
    server = sequencer()
    names = ("image", "mask", "style")
    miner = server.miner(workflow("upscaler", [{"name": name, "kind": "image"} for name in names]))
    small, sent = png(3, 4), png(5, 6)
    images = f'{{"style": "{uploaded(server, sent)}", "mask": "{data_uri(small)}", "image": {text}}}'
    body = (
        f'{{"consumer_id": "{server.consumer_id}", "api_key": "{server.api_key}", "job_id": "large",'
        f' "task_type": "upscaler", "task_details": {{"parameters": {images}}}}}'
    )
    answer = requests.post(f"{server.url}/task_create", body, headers={"Content-Type": "application/json"}, timeout=30)
    assert answer.status_code == 200, answer.text
    task = miner.waits().result(20)
    received = {name: requests.get(task["inputs"][name]["url"], timeout=30).content for name in names}
    assert received == {"image": LARGE, "mask": small, "style": sent}
    shown = server.query(answer.json()["task_id"])["task_details"]["parameters"]["image"]
    assert shown.lower().startswith("data:")
    assert len(shown) < 100
    assert server.rows("SELECT sum(length(work)) FROM tasks")[0][0] < 2000


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("data:image/png;base64," + "A" * 2**20 + "\\ud83d", 400),
        ("data:image/png;base64," + "A" * 2**20 + "\\", 400),
        ("data:image/png;base64" + "A" * 2**20, 400),
        ("data:image/png;base64," + "A" * 2**20, 400),
        ("http://127.0.0.1/" + "A" * 2**20, 413),
        ("A" * 2**21, 413),
    ],
)
def test_a_large_text_that_is_no_image_is_refused(server, miner, text, status):
    answer = server.try_create("upscaler", {"image": "IMAGE"})
    body = answer.request.body.decode().replace("IMAGE", text)
    answer = requests.post(f"{server.url}/task_create", body, headers={"Content-Type": "application/json"}, timeout=30)
    assert answer.status_code == status, answer.text
    assert server.rows("SELECT count(*) FROM tasks")[0][0] == 0


def test_a_task_waits_until_its_image_is_here(server, miner, website, poll):
    task_id = server.make("upscaler", image=f"{website.url}/silent")
    poll(website.asked.is_set)
    assert miner.ask() == {"msg": "no task at the moment"}
    other = server.make("upscaler", image=data_uri(png()))
    assert miner.waits().result(20)["task_id"] == other
    assert server.query(task_id)["status"] == "waiting"
    server.cancel(task_id)


@pytest.mark.parametrize(("path", "said"), [("/missing.png", "answered 404"), ("/page.html", "cannot be decoded")])
def test_an_image_that_cannot_be_had_fails_the_task(server, miner, website, path, said):
    website.pages["/page.html"] = b"<html>the words of a page</html>"
    state = server.wait(server.make("upscaler", image=f"{website.url}{path}"))
    assert state["status"] == "failed"
    assert said in state["msg"]
    assert "the words" not in state["msg"]


def test_an_image_is_fetched_after_a_restart(sequencer, website, poll):
    first = sequencer(allow_private_images=True)
    first.miner(UPSCALER)
    task_id = first.make("upscaler", image=f"{website.url}/silent")
    poll(website.asked.is_set)
    first.stop()
    website.asked.clear()
    second = sequencer(allow_private_images=True)
    poll(website.asked.is_set)
    assert second.query(task_id)["status"] == "waiting"
    second.cancel(task_id)


def test_a_full_disk_only_delays_the_image(server, miner, monkeypatch, poll):
    tries = []

    def full(self, content):
        tries.append(content)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(file_store.IncomingFile, "write", full)
        task_id = server.make("upscaler", image=data_uri(png()))
        poll(lambda: len(tries) == 1 and server.clock.due_in(5))
        assert server.query(task_id)["status"] == "waiting"
    server.advance(5)
    assert miner.waits().result(20)["task_id"] == task_id


class Redirecting(LoopbackServer):
    """Answers each request with a redirect to ``target``."""

    target = ""

    def __init__(self):
        super().__init__(_Redirect)


class _Redirect(HandlerBase, http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", self.owner.target)
        self.end_headers()


@pytest.fixture
def redirecting():
    server = Redirecting()
    yield server
    server.close()


def test_redirects_are_followed(server, miner, website, redirecting):
    website.pages["/cat.png"] = png(3, 3)
    redirecting.target = f"{website.url}/cat.png"
    assert given(server, miner, redirecting.url)[1] == png(3, 3)


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_to_where_nothing_is_asked_are_not_followed(server, miner, redirecting, target):
    redirecting.target = target
    state = server.wait(server.make("upscaler", image=redirecting.url))
    assert state["status"] == "failed"
    assert "private network" in state["msg"] or "not http" in state["msg"]


class _Zipped(HandlerBase, http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(gzip.compress(bytes(inputs.MAX_BYTES + 1)))


def test_also_what_unpacks_to_too_many_bytes_is_refused(server, miner):
    website = LoopbackServer(_Zipped)
    state = server.wait(server.make("upscaler", image=website.url))
    website.close()
    assert "too large" in state["msg"]


def test_an_image_that_is_here_is_not_sent_again(server):
    content = png(4, 4)
    first = announce(server, content).json()
    assert announce(server, content).json() == first  # announced, but never sent
    assert requests.put(first["upload_url"], data=content, timeout=30).json() == {"image": first["image"]}
    assert announce(server, content).json() == {"image": first["image"]}


def test_images_belong_to_their_owner(server, miner):
    content = png(4, 4)
    image = uploaded(server, content)
    other = announce(server, content, api_key="another").json()
    assert other["image"] != image
    assert "upload_url" in other
    answer = server.try_create("upscaler", {"image": image}, api_key="another")
    assert answer.status_code == 400
    assert "not here" in answer.json()["message"]


@pytest.mark.parametrize("wrong", [png(5, 4), png(4, 4)[:-1], png(4, 4) + b"x", b""])
def test_other_bytes_than_announced_are_refused(server, wrong):
    content = png(4, 4)
    answer = announce(server, content).json()
    assert requests.put(answer["upload_url"], data=wrong, timeout=30).status_code in (413, 422)
    assert requests.put(answer["upload_url"], data=content, timeout=30).status_code == 200


def test_what_is_no_image_is_refused(server):
    answer = announce(server, b"no image").json()
    assert requests.put(answer["upload_url"], data=b"no image", timeout=30).status_code == 415


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"sha256": "../x"}, 400),
        ({"sha256": None}, 400),
        ({"size": 128 * 2**20 + 1}, 413),
        ({"size": "1"}, 400),
        ({"content_type": "text/html"}, 400),
        ({"api_key": None}, 401),
    ],
    ids=str,
)
def test_announcements_that_make_no_sense(server, change, status):
    assert announce(server, png(), **change).status_code == status


def test_unused_images_are_forgotten_after_a_day(server, miner):
    image = uploaded(server, png(4, 4))
    for _ in range(2):
        server.advance(86_000)
        miner.register()
        miner.finish(given(server, miner, image)[0])
    server.advance(86_500)
    assert server.try_create("upscaler", {"image": image}).status_code == 400


def test_no_one_else_puts_an_image(server):
    for token in ("x", "0" * 64):
        assert requests.put(f"{server.url}/image_upload/{token}", data=png(), timeout=30).status_code == 404


@pytest.mark.parametrize(
    "announced", ["image/png\r\nX-Evil: 1", "image/\x00", "image/\x7f", "image/p ng", "text/html", "image/é"]
)
def test_a_type_that_is_none_is_refused(server, announced):
    answer = server.post("image_upload", consumer_id="c", sha256="0" * 64, size=9, content_type=announced)
    assert (answer.status_code, "image/png" in answer.json()["message"]) == (400, True)


def test_the_type_of_an_image_is_that_of_its_bytes(server, miner):
    content = png(9, 9)
    said = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "content_type": "image/svg+xml"}
    answer = server.post("image_upload", consumer_id=server.consumer_id, **said).json()
    requests.put(answer["upload_url"], data=content, timeout=30)
    server.make("upscaler", image=answer["image"])
    assert miner.waits().result(20)["inputs"]["image"]["content_type"] == "image/png"


@pytest.mark.parametrize("bomb", [BOMBS["png"], BOMBS["gif of many frames"]], ids=["a picture", "frames"])
@pytest.mark.parametrize("way", ["http", "data", "upload", "result"])
def test_no_bomb_reaches_a_miner(server, miner, website, way, bomb):
    website.pages["/bomb.png"] = bomb
    if way == "upload":
        answer = requests.put(announce(server, bomb).json()["upload_url"], data=bomb, timeout=30)
        assert (answer.status_code, "too large" in answer.json()["message"]) == (413, True)
        assert "upload_url" in announce(server, bomb).json()
        return
    if way == "result":
        first = server.make("upscaler", image=data_uri(png()))
        miner.finish(miner.waits().result(20), bomb)
        image = server.query(first)["result"]
    else:
        image = {"http": f"{website.url}/bomb.png", "data": data_uri(bomb)}[way]
    state = server.wait(server.make("upscaler", image=image))
    assert (state["status"], "too large" in state["msg"]) == ("failed", True)
    assert miner.ask() == {"msg": "no task at the moment"}


@pytest.mark.parametrize("host", ["127.1", "0177.1", "00.0", "169.254.43518", "2130706433", "0x7f.1", "127%2e0.0.1"])
@pytest.mark.parametrize("private", [True, False])
def test_a_host_that_is_a_number_is_refused_at_once(sequencer, website, host, private):
    server = sequencer(allow_private_images=private)
    server.miner(UPSCALER)
    answer = server.try_create("upscaler", {"image": website.url.replace("127.0.0.1", host)})
    assert (answer.status_code, "private network" in answer.json()["message"]) == (400, True)
    assert not website.asked.is_set()


def test_silent_servers_of_one_hold_up_only_his_images(server, miner, website, poll):
    silent = [server.make("upscaler", image=f"{website.url}/silent") for _ in range(40)]
    poll(website.asked.is_set)
    other = server.make("upscaler", {"api_key": "another-consumer"}, image=data_uri(png()))
    assert miner.waits().result(20)["task_id"] == other
    for task_id in silent:
        server.cancel(task_id)


def test_owners_get_slots_by_turns():
    async def run():
        slots, order = inputs.FairSlots(3, 2), []

        async def work(owner):
            async with slots.of(owner):
                order.append(owner)
                await asyncio.sleep(0)

        works = [asyncio.ensure_future(work(owner)) for owner in [b"a"] * 6 + [b"b"] * 2 + [b"c"] * 2]
        await asyncio.sleep(0)
        works[2].cancel()
        await asyncio.gather(*works, return_exceptions=True)
        assert order[:3] == [b"a", b"a", b"b"]
        assert set(order[3:6]) == {b"a", b"b", b"c"}
        assert len(order) == 9
        async with slots.of(b"a"), slots.of(b"a"), slots.of(b"b"):
            pass

    asyncio.run(run())


def test_an_image_that_cannot_be_stored_ends_its_task(server, miner, monkeypatch, poll):
    def full(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_store.IncomingFile, "write", full)
    monkeypatch.setattr(inputs, "TRIES", 3)
    task_id = server.make("upscaler", image=data_uri(png()))
    for _ in range(3):
        poll(lambda: server.clock.due_in(5))
        assert server.query(task_id)["status"] == "waiting"
        server.advance(5)
    assert "in 3 tries: its disk is full" in server.wait(task_id)["msg"]


def announced(server, number, size, **more):
    return announce(server, b"", sha256=f"{number:064x}", size=size, **more)


def test_announcements_are_limited_for_each_owner(server):
    largest = 128 * 2**20
    for number in range(file_store.QUOTA // largest):
        assert announced(server, number, largest).status_code == 200
    answer = announced(server, 999, largest)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    assert "in the last 10 minutes" in answer.json()["message"]
    assert announced(server, 1, largest).status_code == 200  # It is announced already.
    assert announced(server, 999, largest, api_key="another").status_code == 200
    server.advance(601)
    assert announced(server, 999, largest).status_code == 200


def test_the_number_of_announcements_is_limited(server, monkeypatch):
    monkeypatch.setattr(file_store, "MOST_ANNOUNCED", 3)
    assert [announced(server, number, 9).status_code for number in range(5)] == [200, 200, 200, 429, 429]
    content = png(5, 5)
    assert announced(server, 9, 9, api_key="another").status_code == 200
    server.advance(601)
    uploaded(server, content)
    assert [announced(server, number, 9).status_code for number in range(10, 15)] == [200, 200, 200, 429, 429]


def test_announced_long_ago_does_not_mean_uploaded_for_nothing(server, monkeypatch):
    content = png(4, 4)
    first = announce(server, content).json()
    server.advance(601)
    monkeypatch.setattr(file_store, "QUOTA", 2000)
    assert announced(server, 1, 1999).status_code == 200
    assert requests.put(first["upload_url"], data=content, timeout=30).status_code == 429


def test_above_the_quota_the_owners_own_oldest_images_go(server, monkeypatch, poll):
    def here(content, **more):
        return "upload_url" not in announce(server, content, **more).json()

    contents = [noise(number, 64) for number in range(4)]
    monkeypatch.setattr(file_store, "QUOTA", len(contents[0]) * 2 + 100)
    other = announce(server, contents[0], api_key="another").json()["upload_url"]
    assert requests.put(other, data=contents[0], timeout=30).status_code == 200
    for content in contents:
        uploaded(server, content)
        server.advance(601)
    server.advance(61)
    names = {"oldest": contents[0], "newest": contents[3]}
    poll(lambda: len(server.rows("SELECT 1 FROM images")) == 3)
    assert {name: here(content) for name, content in names.items()} == {"oldest": False, "newest": True}
    assert here(contents[0], api_key="another")
