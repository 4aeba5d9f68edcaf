"""Answers without end and files that are too large: each ends in one clear error."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time

import pytest

from tests.support.fake_comfyui import FakeComfyUI, picture
from tests.support.raw_server import RawServer, answer
from xalora_client import APIStatusError, NetworkError, ResponseError
from xalora_client.miner import comfyui, sequencer_api, task
from xalora_client.miner.comfyui import ComfyUI
from xalora_client.miner.errors import UnexpectedAnswerError
from xalora_client.miner.sequencer_api import SequencerAPI
from xalora_client.protocol.miner import Input

IMAGE = f"data:image/png;base64,{base64.b64encode(picture('the input')).decode()}"


def endless(head):
    yield f"HTTP/1.1 {head}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    yield from itertools.repeat(b"10000\r\n" + b"x" * 65536 + b"\r\n")


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "not announced"])
def test_an_input_that_is_too_large_ends_the_task(farm, monkeypatch, announced):
    monkeypatch.setattr(task if announced else sequencer_api, "LARGEST_INPUT", 10)

    async def scenario(world):
        box = await world.pair()
        ended = await world.ended(await world.create(image=IMAGE))
        assert ended["status"] == "failed"
        assert "larger than" in ended["msg"]
        assert box.posted == box.uploads == []
        assert world.lines

    farm(scenario)


def test_a_result_that_is_too_large_ends_the_task(farm, monkeypatch):
    monkeypatch.setattr(comfyui, "LARGEST_RESULT", 10)

    async def scenario(world):
        box = await world.pair()
        ended = await world.ended(await world.create(prompt="a fox"))
        assert ended["status"] == "failed"
        assert "larger than" in ended["msg"]
        assert len(box.posted) == 1

    farm(scenario)


@pytest.mark.parametrize("ask", [ComfyUI.object_info, ComfyUI.queue, lambda comfy: comfy.history("1")])
def test_an_answer_of_comfyui_that_is_too_large_is_an_error(monkeypatch, ask):
    monkeypatch.setattr(comfyui, "LARGEST_ANSWER", 1)

    async def scenario():
        box = await FakeComfyUI().start()
        async with ComfyUI(box.url) as comfy:
            with pytest.raises(UnexpectedAnswerError, match="larger than"):
                await ask(comfy)
        await box.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("call", ["ask", "fetch"])
def test_an_endless_answer_of_the_sequencer_is_an_error(monkeypatch, call):
    monkeypatch.setattr(sequencer_api, "LARGEST_INPUT", 2**20)
    with RawServer(lambda _: endless("200 OK")) as server:
        api = SequencerAPI(server.url, "box", None)
        asking = api.workflows() if call == "ask" else api.fetch(Input("http://gpu.example/miner_input/token-0", "x/y"))
        with pytest.raises(ResponseError, match="larger than") as raised:
            asyncio.run(asking)
        assert "token" not in str(raised.value)


def test_an_endless_refusal_of_the_sequencer_is_an_error():
    with RawServer(lambda _: endless("503 Busy")) as server, pytest.raises(APIStatusError, match="503: x") as raised:
        asyncio.run(SequencerAPI(server.url, "box", None).request([]))
    assert raised.value.transient


def test_a_redirect_is_not_followed():
    with RawServer(lambda _: iter([answer(status="302 Found", location="http://other.example/")])) as server:
        with pytest.raises(APIStatusError, match="302") as raised:
            asyncio.run(SequencerAPI(server.url, "box", "secret-key").workflows())
        assert server.connections == 1
        assert "secret-key" not in str(raised.value)


def test_what_worked_once_may_work_again():
    """A result waits for that, whatever the failure is."""
    answers = iter([answer(b"{}"), b"nonsense\r\n\r\n"])

    async def scenario(url):
        api = SequencerAPI(url, "box", None)
        await api.workflows()
        with pytest.raises(NetworkError) as raised:
            await api.workflows()
        assert raised.value.transient

    with RawServer(lambda _: iter([next(answers)])) as server:
        asyncio.run(scenario(server.url))


def dripping(head):
    yield head
    while True:
        time.sleep(0.01)
        yield b"1\r\nx\r\n"


@pytest.mark.parametrize("what", ["an input", "an upload's answer", "a result", "a queue"])
def test_a_byte_now_and_then_is_no_progress(monkeypatch, tmp_path, what):
    monkeypatch.setattr(sequencer_api, "_FETCH_SILENCE", -14.7)  # The transport adds 15 s.
    monkeypatch.setattr(sequencer_api, "_UPLOAD_SILENCE", -14.7)
    monkeypatch.setattr(sequencer_api, "_SLOWEST_BYTES_PER_SECOND", 0.1)
    (tmp_path / "made").write_bytes(b"made")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def ask(url):
        api = SequencerAPI(url, "box", None)
        async with ComfyUI(url, answer_seconds=0.3) as comfy:
            await {
                "an input": lambda: api.fetch(Input("http://x/input", "image/png")),
                "an upload's answer": lambda: api.upload("http://x/upload", tmp_path / "made"),
                "a result": lambda: comfy.download({"filename": "a"}, tmp_path / "result"),
                "a queue": comfy.queue,
            }[what]()

    with RawServer(lambda _: dripping(head)) as server, pytest.raises(NetworkError, match="in time"):
        asyncio.run(asyncio.wait_for(ask(server.url), 20))


def test_a_result_leaves_room_on_the_disk(farm, monkeypatch):
    monkeypatch.setattr(comfyui, "LEAST_FREE", 2**60)

    async def scenario(world):
        await world.pair()
        ended = await world.ended(await world.create(prompt="a fox"))
        assert ended["status"] == "failed"
        assert "No space left" in ended["msg"]
        assert any("No space left" in line for line in world.lines)

    farm(scenario)
