"""What the task queue promises whoever calls it, also where two calls overlap. The rest is tested over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager

import pytest

from tests.support.manual_clock import ManualClock
from xalora_client.sequencer.database import Database
from xalora_client.sequencer.queue import TaskQueue
from xalora_client.sequencer.values import (
    LeaseLost,
    NameTakenError,
    NewTask,
    NotRegisteredError,
    NotUploadedError,
    Result,
    StoreError,
)
from xalora_client.workflows import Capability, WorkflowKey

WORKFLOW = WorkflowKey("txt2vid", "1")


class Queue:
    """A queue on a file of its own, with a miner that is called box."""

    def __init__(self, database):
        self.database = database
        self.clock = ManualClock(1_000_000.0)
        self.queue = TaskQueue(database, self.clock)
        self.owner = self.queue.owner("a key")

    async def register(self, name="box"):
        await self.queue.register(name, "0a", [Capability(WORKFLOW, {})], {}, {})

    async def create(self, job_id="job"):
        return await self.queue.create(
            NewTask(
                workflow=WORKFLOW,
                details={"parameters": {}},
                inputs={},
                timeout_seconds=None,
                owner=self.owner,
                consumer_id="me",
                job_id=job_id,
            )
        )

    async def status(self, task_id):
        return (await self.queue.query(task_id, self.owner)).status

    async def claim(self, name="box"):
        return await self.queue.claim_next(name, "0a")


@pytest.fixture
def run(tmp_path):
    """Runs a test's coroutine function with a queue."""

    def run(test):
        async def main():
            with closing(Database(tmp_path / "sequencer.sqlite3")) as database:
                queue = Queue(database)
                await queue.register()
                await test(queue)

        asyncio.run(main())

    return run


@contextmanager
def full_disk(method):
    """A method of the database fails as on a full disk."""

    def full(*_, **__):
        raise StoreError("database or disk is full", is_full=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, method, full)
        yield


def test_a_job_id_makes_one_task_however_often_it_comes(run):
    async def test(queue):
        made = [await queue.create() for _ in range(3)]
        assert [each.is_new for each in made] == [True, False, False]
        assert len({each.task_id for each in made}) == 1
        assert queue.database.run("SELECT count(*) FROM tasks").fetchone()[0] == 1

    run(test)


@pytest.mark.parametrize("step", ["create", "begin", "attach_result", "finish", "end", "set_status"])
def test_what_cannot_be_written_has_not_happened(run, step):
    async def test(queue):
        tasks = queue.queue
        if step == "create":
            with full_disk(step), pytest.raises(StoreError):
                await queue.create()
            assert await queue.claim() is None
            return
        task_id = (await queue.create()).task_id
        if step == "begin":
            with full_disk(step), pytest.raises(StoreError):
                await queue.claim()
            assert await queue.status(task_id) == "waiting"
        attempt = await queue.claim()
        assert (attempt.lease.task_id, attempt.number) == (task_id, 1)
        if step == "attach_result":
            with full_disk(step), pytest.raises(StoreError):
                await tasks.attach_result(attempt.lease, "a.png", 5)
            with pytest.raises(NotUploadedError):
                await tasks.finish(attempt.lease, Result(file="a.png"))
        await tasks.attach_result(attempt.lease, "a.png", 5)
        if step == "end":
            with full_disk(step), pytest.raises(StoreError):
                await tasks.cancel(task_id, queue.owner)
        if step == "set_status":
            with full_disk(step), pytest.raises(StoreError):
                await tasks.requeue(attempt.lease, "lost")
        if step == "finish":
            with full_disk(step), pytest.raises(StoreError):
                await tasks.finish(attempt.lease, Result(file="a.png"))
        assert await queue.status(task_id) == "running"
        await tasks.renew(attempt.lease)
        assert await tasks.finish(attempt.lease, Result(file="a.png"))
        assert await queue.status(task_id) == "finished"

    run(test)


def test_a_lease_that_ends_while_the_disk_is_full_ends_later(run):
    async def test(queue):
        task_id = (await queue.create()).task_id
        await queue.claim()
        with full_disk("set_status"):
            queue.clock.advance(30)
        assert await queue.status(task_id) == "running"
        queue.clock.advance(5)
        assert await queue.status(task_id) == "waiting"

    run(test)


def test_a_file_that_comes_after_the_attempt_is_not_the_next_ones(run):
    async def test(queue):
        await queue.register("other")
        task_id = (await queue.create()).task_id
        late = await queue.claim()
        lease, _ = await queue.queue.renew_upload(late.upload_token)
        queue.clock.advance(31)
        await queue.register("other")
        again = await queue.claim("other")
        assert (again.lease.task_id, again.number) == (task_id, 2)
        with pytest.raises(LeaseLost, match="lost"):
            await queue.queue.attach_result(lease, "late.png", 5)
        with pytest.raises(LeaseLost):
            await queue.queue.renew_upload(late.upload_token)
        with pytest.raises(NotUploadedError):
            await queue.queue.finish(again.lease, Result(file="late.png"))

    run(test)


def test_a_result_that_was_removed_before_the_submit_must_be_uploaded_again(run):
    async def test(queue):
        await queue.create()
        attempt = await queue.claim()
        await queue.queue.attach_result(attempt.lease, "a.png", 5)
        for _ in range(130):
            queue.clock.advance(29)
            await queue.queue.renew(attempt.lease)
        assert await queue.queue.results_over(0) == ["a.png"]
        await queue.queue.forget_result("a.png")
        with pytest.raises(NotUploadedError):
            await queue.queue.finish(attempt.lease, Result(file="a.png"))
        await queue.queue.attach_result(attempt.lease, "a.png", 5)
        assert await queue.queue.finish(attempt.lease, Result(file="a.png"))

    run(test)


def test_one_of_several_results_that_was_removed_before_the_submit_must_be_uploaded_again(run):
    async def test(queue):
        task_id = (await queue.create()).task_id
        attempt = await queue.claim()
        for name in ("a.png", "b.png"):
            await queue.queue.attach_result(attempt.lease, name, 5)
        await queue.queue.forget_result("b.png")
        with pytest.raises(NotUploadedError):
            await queue.queue.finish(attempt.lease, Result("a.png", more=("b.png",)))
        await queue.queue.attach_result(attempt.lease, "b.png", 5)
        assert await queue.queue.finish(attempt.lease, Result("a.png", more=("b.png",)))
        view = await queue.queue.query(task_id, queue.owner)
        found = [await queue.queue.find_media(view.media, queue.owner, number=number) for number in range(4)]
        assert found == [None, "a.png", "b.png", None]
        assert await queue.queue.find_media(view.media, b"another's", number=2) is None

    run(test)


def test_each_of_several_results_is_as_old_as_the_end_of_its_task_and_is_removed_by_itself(run):
    async def test(queue):
        tasks, names = queue.queue, ["a.png", "b.png", "c.png"]
        task_id = (await queue.create()).task_id
        attempt = await queue.claim()
        for name in names:
            await tasks.attach_result(attempt.lease, name, 5)
        for _ in range(130):
            queue.clock.advance(29)
            await tasks.renew(attempt.lease)
        assert sorted(await tasks.results_over(0)) == names
        await tasks.finish(attempt.lease, Result("a.png", more=("b.png", "c.png")))
        assert await tasks.results_over(0) == []
        queue.clock.advance(3601)
        assert await tasks.results_over(10) == ["c.png"]
        await tasks.forget_result("c.png")
        assert await tasks.results_over(10) == []
        assert (await queue.queue.query(task_id, queue.owner)).results == 3

    run(test)


def test_a_task_that_ends_while_it_is_on_its_way_to_a_waiting_miner_is_not_given(run):
    async def test(queue):
        async def at_once():
            """Nothing else goes on meanwhile."""

        queue.database.flush = at_once
        waiting = asyncio.create_task(queue.queue.claim_next("box", "0a", seconds=25))
        await asyncio.sleep(0)
        task_id = (await queue.create()).task_id  # Given, but the miner's request has not gone on yet.
        await queue.queue.cancel(task_id, queue.owner)
        assert await waiting is None

    run(test)


def test_an_end_may_be_submitted_twice_and_nothing_else(run):
    async def test(queue):
        await queue.create()
        lease = (await queue.claim()).lease
        assert await queue.queue.end(lease, "out of memory")
        assert not await queue.queue.end(lease, "out of memory")
        assert not await queue.queue.requeue(lease, "stopping")
        with pytest.raises(LeaseLost, match="lost"):
            await queue.queue.renew(lease)
        await queue.create("second")
        lease = (await queue.claim()).lease
        await queue.queue.cancel(lease.task_id, queue.owner)
        with pytest.raises(LeaseLost, match="canceled"):
            await queue.queue.end(lease, "out of memory")

    run(test)


def test_who_may_ask_for_tasks(run):
    async def test(queue):
        with pytest.raises(NotRegisteredError):
            await queue.queue.claim_next("box", "another process")
        with pytest.raises(NotRegisteredError):
            await queue.queue.claim_next("stranger", None)
        with pytest.raises(NameTakenError):
            await queue.queue.renew_public("box", frozenset({"1"}))
        assert await queue.queue.renew_public("0x1", frozenset({"1"})) is None
        assert await queue.queue.claim_next("0x1", None) is None

    run(test)
