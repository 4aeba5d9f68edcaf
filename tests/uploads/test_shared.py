"""Several runs, or several calls of one run, with the same task: one upload, one create, and nobody waits in vain."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.support.buckets import Fault, images_of, picture
from tests.support.processes import poll
from xalora_client import AdvancedOptions, AsyncClient, Client, ConfigurationError, InputImage, UpscalerTask
from xalora_client.client import create
from xalora_client.storage.file_locks import ProcessLock

KEY = "consumer-1#secret-key"


def task_of(seed=0, **options):
    return UpscalerTask(InputImage.from_bytes(picture(seed), name=f"photo{seed}.png"), **options)


@pytest.fixture
def slow_upload(bucket):
    """The first upload goes on until this is set."""
    ended = Event()
    fault = Fault("PUT", hold=ended, times=1)
    bucket.faults.append(fault)
    yield ended
    ended.set()
    bucket.quiet()
    assert not fault.held_out


@pytest.fixture
def waiting(monkeypatch):
    """Set once a run finds that another has the claim of its task."""
    seen, acquire = Event(), ProcessLock.acquire

    def watched(path):
        lock = acquire(path)
        if lock is None:
            seen.set()
        return lock

    monkeypatch.setattr(ProcessLock, "acquire", watched)
    return seen


def uploads(bucket):
    return [each.path for each in bucket.asked if each.method == "PUT"]


def test_two_runs_of_one_task_at_once(bucket, counted, slow_upload, waiting):
    with (
        Client(KEY, counted.url, ledger=True) as one,
        Client(KEY, counted.url, ledger=True) as two,
        ThreadPoolExecutor() as threads,
    ):
        first = threads.submit(one.execute_workflow_and_wait_for_result, task_of())
        poll(lambda: uploads(bucket))
        second = threads.submit(two.execute_workflow_and_wait_for_result, task_of())
        assert waiting.wait(10)
        slow_upload.set()
        assert first.result().task_id == second.result().task_id
    assert len(uploads(bucket)) == len(images_of(counted)) == 1
    assert bucket.names() == []


def test_a_run_that_has_stopped_is_not_waited_for_without_end(bucket, counted, slow_upload, monkeypatch):
    monkeypatch.setattr(create, "LONGEST_WAIT_FOR_OTHER_RUN", 0.1)
    with (
        Client(KEY, counted.url, ledger=True) as one,
        Client(KEY, counted.url, ledger=True) as two,
        ThreadPoolExecutor() as threads,
    ):
        first = threads.submit(one.execute_workflow, task_of())
        poll(lambda: uploads(bucket))
        for call in (two.execute_workflow, two.upload_images):
            with pytest.raises(ConfigurationError, match=r"Another run is submitting the same task"):
                call(task_of())
        assert counted.seen == []
        slow_upload.set()
        assert two.execute_workflow(task_of()) == first.result()
    assert len(uploads(bucket)) == 1


def test_the_same_image_twice_in_a_batch(bucket, counted):
    """Whichever of the two comes first creates the task: neither waits for the other's turn."""

    async def main():
        async with AsyncClient(KEY, counted.url, ledger=True) as client:
            tasks = [task_of(), task_of()]
            for task in tasks:
                await client.upload_images(task)
            return [await client.execute_workflow(task) for task in reversed(tasks)]

    one, two = asyncio.run(main())
    assert one == two
    assert len(uploads(bucket)) == len(images_of(counted)) == 1


def test_without_reuse_the_same_image_twice_is_two_tasks(bucket, counted):
    async def main():
        async with AsyncClient(KEY, counted.url, ledger=True) as client:
            tasks = [task_of(), task_of()]
            await asyncio.gather(*(client.upload_images(task, reuse=False) for task in tasks))
            return [await client.execute_workflow(task, reuse=False) for task in tasks]

    assert len(set(asyncio.run(main()))) == 2
    assert len(set(uploads(bucket))) == len(uploads(bucket)) == len(set(images_of(counted))) == 2


def test_two_batches_of_the_same_tasks_in_another_order(bucket, counted, monkeypatch):
    """A run that waits for the other's claims holds nothing that the other waits for."""
    monkeypatch.setattr(create, "SECONDS_BETWEEN_CLAIMS_AHEAD", 0.05)

    async def batch(seeds):
        turns = asyncio.Semaphore(1)

        async def one(client, seed):
            await client.upload_images(task_of(seed))
            async with turns:
                return await client.execute_workflow_and_wait_for_result(task_of(seed))

        async with AsyncClient(KEY, counted.url, ledger=True, advanced=AdvancedOptions(images_at_once=2)) as client:
            results = await asyncio.gather(*(one(client, seed) for seed in seeds))
            return {seed: each.task_id for seed, each in zip(seeds, results, strict=True)}

    async def main():
        return await asyncio.wait_for(asyncio.gather(batch(range(6)), batch(range(5, -1, -1))), 60)

    one, two = asyncio.run(main())
    assert one == two
    assert len(uploads(bucket)) == len(images_of(counted)) == 6
    assert bucket.names() == []
