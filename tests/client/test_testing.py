"""The fake sequencer for users' tests, used as a user would: no network, no waiting."""

import asyncio
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.pictures import png
from xalora_client import (
    BadRequestError,
    CustomTask,
    FluxLoraTask,
    NotFoundError,
    PaymentRequiredError,
    TaskCanceledError,
    TaskFailedError,
    TaskTimeoutError,
    Text2VideoTask,
    UpscalerTask,
    decode,
)
from xalora_client.protocol.parameters import decode_data_uri
from xalora_client.testing import FakeSequencer


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def connect(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("XALORA_API_KEY", "real#secret-key")
    monkeypatch.setenv("XALORA_WORKFLOW_URL", "https://sequencer.example")
    monkeypatch.setenv("XALORA_IMAGE_DELIVERY", "bucket")
    monkeypatch.setenv("XALORA_BUCKET", "s3://real/bucket")


@pytest.fixture
def sequencer():
    with FakeSequencer() as sequencer:
        yield sequencer


@pytest.fixture
def client(sequencer):
    with sequencer.client() as client:
        yield client


def test_all_goes_well(sequencer, client):
    video = client.run(Text2VideoTask("a rabbit", workflow_id="1"))
    picture = client.run(FluxLoraTask("a gecko", "x.safetensors"))
    assert [len(decode(file).frames) for file in (video, picture)] == [3, 1]
    first, second = sequencer.created
    assert (first.task_type, first.workflow_id, first.parameters) == ("txt2vid", "1", {"prompt": "a rabbit"})
    assert second.parameters["lora_name"] == "x.safetensors"
    assert first.job_id.startswith("sdk-workflow-")


def test_what_the_test_says(sequencer, client, tmp_path):
    (tmp_path / "a.png").write_bytes(png(16, 16))
    sequencer.next(fails="out of memory")
    sequencer.next(refuses=402)
    sequencer.next(fails=True)
    sequencer.next(refuses=True)
    sequencer.next(media=png(32, 8))
    sequencer.next(media=tmp_path / "a.png")
    with pytest.raises(TaskFailedError, match="out of memory"):
        client.run(CustomTask("any", {}))
    with pytest.raises(PaymentRequiredError, match="as the test says"):
        client.run(CustomTask("any", {}))
    with pytest.raises(TaskFailedError):
        client.run(CustomTask("any", {}))
    with pytest.raises(BadRequestError):
        client.run(CustomTask("any", {}))
    sizes = [client.run(CustomTask("any", {})).info for _ in range(3)]
    assert [(info.width, info.height) for info in sizes] == [(32, 8), (16, 16), (64, 48)]
    assert len(sequencer.created) == 5


def test_an_hour_passes_at_once_with_progress(sequencer, client):
    began = time.monotonic()
    sequencer.next(seconds=3600, progress=30)
    updates = []
    client.run(CustomTask("any", {}), timeout=4000, on_update=updates.append)
    steps = [update.progress.value for update in updates if update.progress]
    assert steps == sorted(steps)
    assert steps[-1] == 30
    assert sequencer.now >= 3600
    assert time.monotonic() - began < 30


def test_a_timeout_and_a_cancel(sequencer, client):
    sequencer.next(seconds=100)
    handle = client.submit(CustomTask("any", {}))
    with pytest.raises(TaskTimeoutError):
        handle.result(timeout=10)
    handle.cancel()
    with pytest.raises(TaskCanceledError):
        handle.result()
    with pytest.raises(NotFoundError):
        client.query_task_result("unknown")


def test_an_interruption_cancels(sequencer, client):
    sequencer.next(seconds=100)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.run(CustomTask("any", {}), on_update=stop)
    assert client.query_task_result(sequencer.created[0].task_id).status == "canceled"


def test_it_tells_nothing_of_workflows(client):
    assert client.workflows() is None


def test_pictures_arrive(sequencer, client):
    client.run(UpscalerTask(np.zeros((4, 6, 3), np.uint8)))
    media_type, content = decode_data_uri(sequencer.created[0].parameters["image"])
    assert (media_type, content[:4]) == ("image/png", b"\x89PNG")


def test_in_an_event_loop_and_with_a_ledger(sequencer):
    async def main():
        async with sequencer.async_client(ledger=True) as client:
            tasks = [CustomTask("any", {"number": number}) for number in range(5)]
            return [outcome async for outcome in client.map(tasks, ordered=True)]

    for _ in range(2):
        assert [outcome.error for outcome in asyncio.run(main())] == [None] * 5
    assert len(sequencer.created) == 5  # The second run reused them.


def test_tasks_that_cannot_all_be_made_cost_nothing(sequencer):
    def tasks():
        yield CustomTask("any", {})
        raise ValueError("the second picture is missing")

    async def main():
        async with sequencer.async_client() as client:
            with pytest.raises(ValueError, match="second"):
                await anext(client.map(tasks()))
            await asyncio.sleep(0)

    asyncio.run(main())
    with sequencer.client() as client, pytest.raises(ValueError, match="second"):
        client.map(tasks())
    assert sequencer.created == []


def test_it_leaves_nothing(sequencer):
    with sequencer.client() as client:
        file = client.run(CustomTask("any", {}))
    sequencer.close()
    assert not Path(file).exists()
