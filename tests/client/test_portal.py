"""The blocking client runs its requests on a loop in a thread, of which nobody notices anything."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support.downloads import PNG, finished
from tests.support.fake_file_server import File
from tests.support.raw_server import RawServer
from tests.support.subject import Stop
from xalora_client import Client, Text2VideoTask

TASK = Text2VideoTask("a rabbit")


@pytest.fixture
def client(sequencer):
    with Client("a#b", sequencer.url) as made:
        yield made


def test_where_a_loop_runs_already(client):
    """As in a notebook."""

    async def cell():
        return client.execute_workflow(TASK)

    assert asyncio.run(cell()) == "t1"


def test_from_several_threads_at_once(client):
    ids = []
    threads = [threading.Thread(target=lambda: ids.append(client.query_task_result("t1").task_id)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert ids == ["t1"] * 8


def test_after_it_was_closed_it_works_as_before(sequencer):
    client = Client("a#b", sequencer.url)
    client.close()
    assert client.execute_workflow(TASK) == "t1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_in_a_forked_process(client):
    assert client.execute_workflow(TASK) == "t1"
    child = os.fork()
    if child == 0:
        os._exit(0 if client.execute_workflow(TASK) == "t1" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert client.execute_workflow(TASK) == "t1"


def test_in_a_spawned_process(sequencer):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_create, (sequencer.url,)) == "t1"


def _create(url):
    with Client("a#b", url) as client:
        return client.execute_workflow(TASK)


class TestInterruptions:
    def test_ctrl_c_ends_a_request_at_once(self, client):
        def serve(_):
            os.kill(os.getpid(), signal.SIGINT)
            over.wait(20)
            yield b""

        over = threading.Event()
        with RawServer(serve) as server, Client("a#b", server.url) as client:
            began = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                client.query_task_result("t1")
            over.set()
        assert time.monotonic() - began < 10
        assert not _calls()

    @pytest.mark.parametrize("stop", [KeyboardInterrupt(), Stop(), ValueError("own"), SystemExit(3), StopIteration()])
    def test_what_on_progress_raises_goes_through_unchanged(self, client, files, stop):
        def on_progress(_):
            raise stop

        with pytest.raises(type(stop)) as caught:
            client.download(finished(files.serve("/x", File(PNG))), on_progress)
        assert caught.value is stop
        assert not _calls()

    def test_callbacks_run_in_the_calling_thread(self, client, files):
        threads = set()
        client.download(finished(files.serve("/x", File(PNG))), lambda _: threads.add(threading.current_thread()))
        client.execute_workflow_and_wait_for_result(TASK, on_update=lambda _: threads.add(threading.current_thread()))
        assert threads == {threading.current_thread()}

    def test_on_progress_may_use_the_client(self, client, files):
        """The loop of one call is not that of another."""
        seen = []
        result = finished(files.serve("/x", File(PNG)))
        client.download(result, lambda _: seen.append(client.query_task_result("t1").status))
        assert set(seen) == {"finished"}


def _calls():
    return [each for each in threading.enumerate() if each.name.startswith("xalora")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files cannot be counted here")
def test_nothing_is_left_open(client, files):
    """Neither threads nor, as warnings of unclosed ones would say, sockets and loops."""

    def both():
        client.query_task_result("t1")
        client.download(finished(files.serve("/x", File(PNG))))
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    first = both()
    assert max(both() for _ in range(20)) <= first + 4  # The servers of this test have their ends open a while longer.
    assert not _calls()


def test_a_client_nobody_closed_keeps_no_thread(sequencer):
    client = Client("a#b", sequencer.url)
    client.execute_workflow(TASK)
    del client
    gc.collect()
    assert not _calls()
