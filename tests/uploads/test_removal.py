"""When images go: after their last use, never before, and without keeping anybody waiting for long."""

from __future__ import annotations

import asyncio
import os
import time
from threading import Event

import pytest

from tests.support.buckets import Fault, error_body, fetch, images_of, picture
from tests.support.fake_sequencer import DROP, Answer, status
from tests.support.subject import Stop
from xalora_client import (
    AdvancedOptions,
    AsyncClient,
    Client,
    InputImage,
    InvalidParameterError,
    NetworkError,
    UpscalerTask,
)
from xalora_client.uploads import uploads

KEY = "consumer-1#secret-key"


def task_of(seed=0, **options):
    return UpscalerTask(InputImage.from_bytes(picture(seed), name=f"photo{seed}.png"), **options)


@pytest.fixture
def hasty(monkeypatch):
    """Removals have less time."""
    monkeypatch.setattr(uploads, "REMOVAL_SECONDS", 0.5)


@pytest.fixture
def silent(bucket):
    """The bucket does not answer to removals."""
    ended = Event()
    bucket.faults.append(Fault("DELETE", hold=ended))
    yield bucket
    ended.set()
    bucket.quiet()


async def nap(_):
    await asyncio.sleep(0)


def test_a_result_waits_briefly_for_a_silent_bucket(silent, counted, hasty, caplog):
    with Client(KEY, counted.url, ledger=True) as client:
        tasks = [client.execute_workflow(task_of(seed)) for seed in range(3)]
        begun = time.monotonic()
        assert all(client.wait_for_result(each).media_url for each in tasks)
        assert time.monotonic() - begun < 3 * uploads.REMOVAL_SECONDS
        silent.faults.clear()
    assert silent.names() == []
    assert "not removed yet: no answer within" in caplog.text


def test_a_close_waits_briefly_for_a_silent_bucket(silent, counted, hasty, caplog):
    async def main():
        async with AsyncClient(KEY, counted.url, ledger=True) as client:
            await asyncio.gather(*(client.upload_images(task_of(seed)) for seed in range(20)))
            return time.monotonic()

    begun = asyncio.run(main())
    assert time.monotonic() - begun < 4 * uploads.REMOVAL_SECONDS
    assert len(silent.names()) == 20
    assert "prune --bucket" in caplog.text


def test_what_a_refused_removal_says(bucket, counted, caplog):
    bucket.faults.append(Fault("DELETE", 403, error_body("AccessDenied")))
    with Client(KEY, counted.url, ledger=True) as client:
        assert client.execute_workflow_and_wait_for_result(task_of()).media_url
    assert "An image is not removed yet: The bucket" in caplog.text
    assert "allowed to read, write and delete" in caplog.text
    assert "No task was created" not in caplog.text


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_batch_does_not_try_each_image_for_long(method, bucket, counted):
    bucket.faults.append(Fault(method, 503, error_body("SlowDown")))

    async def main():
        async with AsyncClient(KEY, counted.url, ledger=True, advanced=AdvancedOptions(sleep=nap)) as client:
            work = (client.upload_images(task_of(seed)) for seed in range(24))
            return await asyncio.gather(*work, return_exceptions=True)

    for seed, error in enumerate(asyncio.run(main())):
        assert f"Photo{seed}.png was not uploaded" in str(error) or f"photo{seed}.png was not uploaded" in str(error)
        assert "503 SlowDown" in str(error)
    assert bucket.methods().count(method) <= 9 * 5  # Of those that had begun.


def test_a_look_leaves_the_core_to_other_images(bucket, counted, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    hashed = Event()
    look = Fault("GET", hold=hashed, times=1)
    bucket.faults.append(look)

    def sha256():
        hashed.set()
        return "ab" * 32

    async def main():
        async with AsyncClient(KEY, counted.url, ledger=True) as client:
            other = UpscalerTask(InputImage(picture, sha256, "image/png"))
            await asyncio.gather(client.upload_images(task_of()), client.upload_images(other))

    asyncio.run(main())
    assert not look.held_out


@pytest.mark.parametrize("ledger", [True, False])
def test_canceled_it_is_gone(ledger, bucket, counted):
    counted.script("task_result_query", status("cancelled"))
    with Client(KEY, counted.url, ledger=ledger) as client:
        client.cancel_task(client.execute_workflow(task_of()))
        assert bucket.names() == []


@pytest.mark.parametrize("ledger", [True, False])
def test_interrupted_it_is_gone(ledger, bucket, counted):
    running, ended = status("running"), status("cancelled")
    counted.script("task_result_query", lambda _: ended if counted.count("task_cancel") else running)

    def stop(_):
        raise Stop

    with Client(KEY, counted.url, ledger=ledger) as client:
        with pytest.raises(Stop):
            client.execute_workflow_and_wait_for_result(task_of(), on_update=stop)
        assert bucket.names() == []


def test_a_create_in_doubt_that_the_same_client_sends_again(bucket, counted):
    counted.script("task_create", DROP, Answer({"task_id": "t1"}))
    with Client(KEY, counted.url, ledger=True) as client:
        with pytest.raises(NetworkError):
            client.execute_workflow(task_of())
        assert client.execute_workflow_and_wait_for_result(task_of()).media_url
    assert bucket.names() == []


def test_an_open_task_keeps_its_image_when_its_client_is_closed(bucket, counted):
    for ledger in (True, False):
        with Client(KEY, counted.url, ledger=ledger) as client:
            client.execute_workflow(task_of(seed=int(ledger)))
    assert [fetch(address)[0] for address in images_of(counted)] == [200, 200]


def test_a_file_that_changes_is_not_stored_under_its_old_hash(bucket, counted, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(picture())
    image = InputImage.from_file(path, "image/png")
    image.sha256()
    path.write_bytes(picture(1))
    with Client(KEY, counted.url) as client, pytest.raises(InvalidParameterError, match="does not change"):
        client.upload_images(UpscalerTask(image))
    assert bucket.puts() == []
