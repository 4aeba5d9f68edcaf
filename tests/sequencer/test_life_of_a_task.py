"""Waiting, running and the three ends; restarts in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import requests

from tests.support.pictures import noise
from tests.support.processes import poll

LONG = {"width": 848, "height": 480, "length": 4097}
SERVE = """
import asyncio, pathlib, sys
from xalora_client.sequencer import Options
from xalora_client.sequencer.app import serve
data, render_seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
ready = lambda url: print(url, flush=True)
asyncio.run(serve("127.0.0.1", 0, data, Options(render_seconds=render_seconds), on_ready=ready))
"""


@contextmanager
def served_elsewhere(data, render_seconds):
    """A sandbox in a process of its own, killed at the end; yields its URL."""
    command = [sys.executable, "-W", "error", "-c", SERVE, str(data), str(render_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGKILL)
            assert process.stderr.read() == ""


def test_at_most_so_many_tasks_run_at_once(start, poll):
    sandbox = start(workers=2, render_seconds=0.4)
    tasks = [sandbox.video() for _ in range(3)]
    poll(lambda: [sandbox.query(task)["status"] for task in tasks] == ["running", "running", "waiting"])
    assert {sandbox.wait(task)["status"] for task in tasks} == {"finished"}
    for task in tasks:
        assert 0.4 <= sandbox.query(task)["inference_latency"] < 5


def test_cancel_stops_a_rendering_within_a_moment(start, poll):
    sandbox = start(workers=1)
    task = sandbox.video(**LONG)
    sandbox.wait(task, "running")
    poll(lambda: list((sandbox.data / "rendering").iterdir()))
    begun = time.monotonic()
    assert sandbox.cancel(task) == "canceled"
    assert sandbox.query(task)["status"] == "canceled"
    assert sandbox.wait(sandbox.video())["status"] == "finished"
    poll(lambda: not list((sandbox.data / "rendering").iterdir()))
    assert time.monotonic() - begun < 3
    state = sandbox.query(task)
    assert state["msg"] == "canceled on request"
    assert "result" not in state


def test_cancel_takes_a_waiting_task_out_of_the_queue(start):
    sandbox = start(workers=1, render_seconds=0.3)
    first, second, third = (sandbox.video() for _ in range(3))
    assert sandbox.cancel(second) == "canceled"
    assert sandbox.wait(third)["status"] == "finished"
    assert sandbox.wait(first)["status"] == "finished"
    assert sandbox.query(second)["status"] == "canceled"
    assert not list((sandbox.data / "media").glob(f"{second}*"))


def test_cancel_interrupts_the_pause_between_two_steps(start, poll):
    sandbox = start(render_seconds=3600, video_format="webp")
    task = sandbox.video()
    poll(lambda: sandbox.query(task).get("progress", {}).get("value") == 1)
    assert list((sandbox.data / "rendering").iterdir())
    sandbox.cancel(task)
    assert sandbox.query(task)["status"] == "canceled"
    poll(lambda: not list((sandbox.data / "rendering").iterdir()))


@pytest.mark.parametrize("end", ["finished", "failed", "canceled"])
def test_cancelling_what_has_ended_is_no_error(start, end):
    sandbox = start(render_seconds=0 if end != "canceled" else 3600)
    task = sandbox.create("upscaler", image="data:,nothing") if end == "failed" else sandbox.video()
    if end == "canceled":
        sandbox.cancel(task)
    assert sandbox.wait(task)["status"] == end
    assert sandbox.cancel(task) == f"nothing to cancel: the task was already {end}"
    assert sandbox.query(task)["status"] == end


def test_timeout_counts_from_creation_also_in_the_queue(start):
    sandbox = start(workers=1, render_seconds=3600)
    running = sandbox.video({"timeout_seconds": 1})
    waiting = sandbox.video({"timeout_seconds": 1})
    patient = sandbox.video({"timeout_seconds": 0})
    for task in (running, waiting):
        state = sandbox.wait(task)
        assert state["status"] == "failed"
        assert "timed out" in state["msg"]
        assert 1 <= time.time() - state["create_timestamp"] < 5
    state = sandbox.wait(patient, "running")
    assert state["status"] == "running"
    assert "timeout_seconds" not in state


def test_a_restart_answers_for_ended_tasks_and_renders_the_rest(start):
    first = start(workers=1)
    done = first.video()
    media = first.result(done)
    canceled = first.video(**LONG)
    first.cancel(canceled)
    unfinished = first.video(**LONG | {"length": 401, "width": 16, "height": 16})
    first.wait(unfinished, "running")
    first.stop()

    second = start(workers=1)

    assert second.result(done) == media
    assert second.query(canceled)["status"] == "canceled"
    assert second.wait(unfinished)["status"] == "finished"


def test_a_killed_sandbox_loses_no_task(start, caller, tmp_path):
    data = tmp_path / "data"
    with served_elsewhere(data, 0) as url:
        client = caller(url)
        done = client.video()
        media = client.result(done)
    with served_elsewhere(data, 3600) as url:
        client = caller(url)
        tasks = [client.video({"job_id": f"sdk-workflow-{n}"}) for n in range(3)]
        late = client.video({"timeout_seconds": 1, "job_id": "sdk-workflow-late"})
        for task in tasks[:2]:
            assert client.wait(task, "running")["status"] == "running"
        assert client.query(tasks[2])["status"] == "waiting"
        created = client.query(tasks[0])["create_timestamp"]
        client.wait(late)

    sandbox = start(data)

    assert sandbox.result(done) == media
    for task in tasks:
        assert sandbox.wait(task)["status"] == "finished"
    assert sandbox.query(tasks[0])["create_timestamp"] == created
    assert sandbox.query(late)["status"] == "failed"
    assert sandbox.video({"job_id": "sdk-workflow-1"}) == tasks[1]
    assert not list((data / "rendering").iterdir())


def test_a_rendering_that_cannot_be_written_fails(start):
    sandbox = start()
    (sandbox.data / "media").rmdir()
    state = sandbox.wait(sandbox.video())
    assert state["status"] == "failed"
    assert state["msg"] == "could not be rendered: FileNotFoundError"


def test_tasks_that_ended_months_ago_are_forgotten(sequencer):
    server = sequencer()
    miner = server.miner()
    ended = server.make()
    miner.finish(miner.take())
    waiting = server.make()
    server.stop()
    for days in (30, 60, 89):
        server = sequencer(now=1_000_000.0 + days * 86_400)
        server.stop()
    server = sequencer(now=1_000_000.0 + 89 * 86_400)
    assert server.query(ended)["status"] == "finished"
    server.stop()
    server = sequencer(now=1_000_001.0 + 90 * 86_400)
    assert server.post("task_result_query", task_id=ended).status_code == 404
    assert server.query(waiting)["status"] == "waiting"


@pytest.mark.parametrize("jump", [100 * 86_400.0, -3600.0, 400 * 86_400.0, -3000 * 86_400.0])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_clock_that_is_wrong_forgets_nothing(sequencer, jump, is_restarted):
    server = sequencer(result_bytes=2**20)
    miner = server.miner()

    def prune():
        server.advance(60)
        poll(lambda: server.clock.due_in(60))

    def make(job_id):
        task_id = server.make(more={"job_id": job_id})
        miner.finish(miner.take(), noise(side=700))  # Each is larger than what is kept longer than an hour.
        return task_id

    before = make("sdk-workflow-1")
    prune()
    if is_restarted:
        server.stop()
        server = sequencer(now=1_000_060.0 + jump, result_bytes=2**20)
        miner.move_to(server.url).register()
    else:
        server.clock.ahead = jump
    prune()
    after = make("sdk-workflow-2")
    prune()
    server.clock.ahead = -jump if is_restarted else 0.0
    prune()
    assert server.make(more={"job_id": "sdk-workflow-1"}) == before
    for task_id in (before, after):
        assert requests.get(server.query(task_id)["result"], timeout=30).content == noise(side=700)
