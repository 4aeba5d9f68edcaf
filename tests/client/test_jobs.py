"""What engineers do with the library, written as they write it, against a real sandbox."""

import asyncio
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.fake_sequencer import Answer, status
from tests.support.processes import poll
from xalora_client import (
    AsyncClient,
    Client,
    ConfigurationError,
    CustomTask,
    InvalidParameterError,
    StorageError,
    TaskFailedError,
    TaskRecords,
    TaskTimeoutError,
    Text2VideoTask,
    decode,
    thumbnail,
)
from xalora_client.config import SANDBOX_KEY

SMALL = {"width": 64, "height": 48, "length": 5}
LONG = {"width": 848, "height": 480, "length": 4097}


@pytest.fixture
def settings(sandbox, home, monkeypatch):
    """Where the sandbox is, as the environment says it, too."""
    monkeypatch.setenv("XALORA_API_KEY", SANDBOX_KEY)
    monkeypatch.setenv("XALORA_WORKFLOW_URL", sandbox.url)
    return {"ledger": True}


@pytest.fixture
def client(settings):
    with Client(**settings) as client:
        yield client


def rabbit(number=0, **options):
    return Text2VideoTask("a rabbit", seed=number, **SMALL | options)


def state(client, task_id):
    return client.query_task_result(task_id).status


class TestOneResult:
    def test_to_a_file(self, client, tmp_path):
        file = client.run(rabbit(1), tmp_path / "rabbit.mp4")
        assert file.path == tmp_path / "rabbit.mp4"
        assert file.info.frames == len(decode(file).frames) == 5
        assert thumbnail(file)
        with open(file, "rb") as opened:  # noqa: PTH123 - as users write it
            assert opened.read() == Path(file).read_bytes()

    def test_to_a_folder_or_to_the_store(self, client, tmp_path):
        stored = client.run(rabbit(2))
        assert stored.path.is_relative_to(client.config.home)
        assert client.run(rabbit(2), str(tmp_path)).path == tmp_path / stored.path.name
        assert client.run(rabbit(2), f"{tmp_path}/new/").path == tmp_path / "new" / stored.path.name
        assert stored.save(tmp_path / "copy.mp4").read_bytes() == stored.path.read_bytes()

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such devices, and links need a right")
    def test_to_a_device_or_a_link(self, client, tmp_path):
        stored = client.run(rabbit(6))
        content = stored.path.read_bytes()
        for name, leads_to in (("null", "/dev/null"), ("other", tmp_path / "other.mp4"), ("itself", stored.path)):
            link = tmp_path / name
            link.symlink_to(leads_to)
            assert stored.save(link) == link
            assert link.is_symlink()
        assert not Path("/dev/null").is_file()
        assert (tmp_path / "other.mp4").read_bytes() == stored.path.read_bytes() == content

    @pytest.mark.parametrize("to", ["missing/a.mp4", "a.txt/b.mp4"])
    def test_to_where_it_cannot_be_written(self, client, tmp_path, to):
        (tmp_path / "a.txt").touch()
        with pytest.raises(StorageError, match=r"It is in .*mp4"):
            client.run(rabbit(3), tmp_path / to)
        assert not list(tmp_path.glob("**/*.new"))

    def test_a_bar_that_fills(self, client):
        updates = []
        client.run(rabbit(4, length=49), on_update=updates.append)
        assert updates[-1].status == "finished"
        assert updates[-1].progress.share == 1

    def test_a_notebook_shows_it(self, client):
        assert client.run(rabbit(5))._repr_mimebundle_()["text/html"].startswith('<video controls loop src="data:video')

    def test_in_an_event_loop(self, settings, tmp_path):
        async def main():
            async with AsyncClient(**settings) as client:
                return await client.run(rabbit(6), tmp_path / "a.mp4")

        assert asyncio.run(main()).info.frames == 5


class TestHandle:
    def test_submit_look_download(self, client, tmp_path):
        task = client.submit(rabbit(10))
        assert task.status().task_id == task.task_id
        assert [update.status for update in task.events()][-1] == "finished"
        assert task.result().status == "finished"
        assert task.download(tmp_path / "a.mp4").path.stat().st_size > 1000

    def test_in_an_event_loop(self, settings, tmp_path):
        async def main():
            async with AsyncClient(**settings) as client:
                task = await client.submit(rabbit(11))
                assert [update.status async for update in task.events()][-1] == "finished"
                assert (await task.status()).status == (await task.result()).status == "finished"
                assert (await task.download(tmp_path)).path.parent == tmp_path
                with pytest.raises(ConfigurationError):
                    await client.task("").status()

        asyncio.run(main())

    def test_a_handle_for_an_id_sends_nothing(self, sequencer):
        with Client("a#b", sequencer.url) as client:
            assert client.task("t1").task_id == "t1"
        assert sequencer.paths() == []

    def test_leaving_cancels_nothing(self, client):
        task = client.submit(rabbit(12, **LONG))
        for _ in task.events():
            break
        with pytest.raises(TaskTimeoutError):
            task.result(timeout=0.5)
        with pytest.raises(TaskTimeoutError):
            list(task.events(timeout=0.5))
        assert state(client, task.task_id) in ("waiting", "running")
        assert "cancel" in task.cancel()
        assert list(task.events())[-1].status == "canceled"

    def test_a_bad_end_is_an_event_and_a_result_is_an_error(self, sequencer, home):
        sequencer.script("task_result_query", status("running"), status("failed", msg="out of memory"))
        with Client("a#b", sequencer.url, home=home) as client:
            task = client.task("t1")
            assert [update.status for update in task.events()][-1] == "failed"
            with pytest.raises(TaskFailedError, match="out of memory"):
                task.download()

    def test_it_goes_to_another_process_without_the_key(self, client):
        task = client.submit(rabbit(13))
        data = pickle.dumps(task)
        assert SANDBOX_KEY.partition("#")[2].encode() not in data
        assert pickle.loads(data) == task
        code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).result().status)"
        done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
        assert done.stdout.split() == [b"finished"]

    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    def test_the_key_of_another_server_is_not_sent(self, sequencer, monkeypatch, kind):
        data = pickle.dumps(kind("a#b", sequencer.url).task("t1"))
        monkeypatch.setenv("XALORA_API_KEY", "c#another-key")
        for url in (None, "https://another.example"):
            if url is not None:
                monkeypatch.setenv("XALORA_WORKFLOW_URL", url)
            with pytest.raises(ConfigurationError, match=sequencer.url):
                pickle.loads(data)
        monkeypatch.setenv("XALORA_WORKFLOW_URL", sequencer.url)
        assert pickle.loads(data).server == sequencer.url
        assert sequencer.paths() == []


class TestJobId:
    def test_it_is_one_task(self, client):
        first = client.submit(rabbit(20), job_id="order-17")
        assert client.submit(rabbit(20), job_id="order-17") == first
        assert client.submit(rabbit(20), job_id="order-18") != first

    def test_whatever_becomes_of_it(self, client):
        task = client.submit(rabbit(21, **LONG), job_id="order-19")
        task.cancel()
        assert client.submit(rabbit(21, **LONG), job_id="order-19") == task

    def test_not_two(self, client):
        client.submit(rabbit(22), job_id="order-20")
        with pytest.raises(InvalidParameterError, match="order-20"):
            client.submit(rabbit(23), job_id="order-20")

    def test_it_is_sent(self, sequencer, home):
        with Client("a#b", sequencer.url, home=home) as client:
            client.submit(rabbit(), job_id="order-21")
            for wrong in ("", " ", 5):
                with pytest.raises(InvalidParameterError, match="job_id"):
                    client.submit(rabbit(), job_id=wrong)
        assert [seen.body["job_id"] for seen in sequencer.seen] == ["order-21"]

    def test_after_a_doubtful_create_it_is_sent_again(self, sequencer, home):
        sequencer.script("task_create", Answer({}, 500), Answer({"task_id": "t1"}))
        with Client("a#b", sequencer.url, home=home, ledger=True) as client:
            with pytest.raises(Exception, match="may have been created"):
                client.submit(rabbit(), job_id="order-22")
            assert client.submit(rabbit(), job_id="order-22").task_id == "t1"
        assert [seen.body["job_id"] for seen in sequencer.seen if seen.path == "/task_create"] == ["order-22"] * 2


class TestMany:
    def test_all_come_back_at_most_some_at_a_time(self, client):
        tasks = [rabbit(30 + number) for number in range(8)]
        outcomes = list(client.map(iter(tasks), at_once=3))
        assert sorted(outcome.index for outcome in outcomes) == list(range(8))
        assert all(outcome.task is tasks[outcome.index] for outcome in outcomes)
        assert {outcome.file.info.frames for outcome in outcomes} == {5}
        assert {outcome.error for outcome in outcomes} == {None}

    def test_no_more_at_a_time(self, sequencer, files, home):
        open_now, most, lock = set(), [], threading.Lock()
        numbers = iter(range(100))

        def create(_):
            with lock:
                task_id = f"t{next(numbers)}"
                open_now.add(task_id)
                most.append(len(open_now))
            return Answer({"task_id": task_id})

        def query(seen):
            with lock:
                open_now.discard(seen.body["task_id"])
            return status("failed")

        sequencer.script("task_create", create)
        sequencer.script("task_result_query", query)
        with Client("a#b", sequencer.url, home=home) as client:
            outcomes = list(client.map([rabbit(number) for number in range(5)], at_once=2))
        assert (len(outcomes), max(most)) == (5, 2)

    def test_in_order_and_one_that_fails(self, client):
        tasks = [rabbit(40, length=49), CustomTask("no such kind"), rabbit(41)]
        outcomes = list(client.map(tasks, ordered=True))
        assert [outcome.index for outcome in outcomes] == [0, 1, 2]
        assert [outcome.error is None for outcome in outcomes] == [True, False, True]
        assert outcomes[1].file is None

    def test_again_after_a_stop_it_continues(self, client):
        tasks = [rabbit(50 + number) for number in range(4)]
        for _ in client.map(tasks, at_once=1):
            break
        origins = []
        client.run(tasks[0], on_update=lambda update: origins.append(update.origin))
        assert origins == ["finished"]
        assert len(list(client.map(tasks))) == 4

    @pytest.mark.parametrize("kind", ["blocking", "event loop"])
    def test_leaving_cancels_what_runs(self, settings, kind):
        tasks = [rabbit(60, **SMALL), *(rabbit(61 + number, **LONG) for number in range(2))]

        async def main():
            async with AsyncClient(**settings) as client:
                outcomes = client.map(tasks, at_once=3)
                async for _ in outcomes:
                    break
                await outcomes.aclose()

        if kind == "event loop":
            asyncio.run(main())
        else:
            with Client(**settings) as client:
                for _ in client.map(tasks, at_once=3):
                    break
        with Client(**settings) as client:
            assert sorted(record.state for record in records(client)) == ["canceled", "canceled", "finished"]

    @pytest.mark.parametrize("wrong", [0, -1, 1.5, None])
    def test_how_many_must_be_a_number(self, client, wrong):
        with pytest.raises(ConfigurationError, match="at_once"):
            client.map([], at_once=wrong)


def test_ctrl_c_in_the_middle_cancels_what_runs(client):
    """Between two outcomes, while the call waits."""
    main = threading.main_thread().ident

    def press():
        poll(lambda: any(task.state == "running" for task in records(client)))
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        list(client.map([rabbit(70 + number, **LONG) for number in range(2)]))
    assert {record.state for record in records(client)} == {"canceled"}


def records(client):
    with TaskRecords(client.config.home) as found:
        return found.tasks()[0]
