"""The blocking client in a program whose threads gevent has replaced by greenlets."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.fake_sequencer import Answer, status

pytest.importorskip("gevent")

PROGRAM = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent
import urllib.request
from xalora_client import Client, Text2VideoTask

url, home = sys.argv[1:]

def call(number):
    seen = []
    with Client("a#b", url, home=home) as client:
        result = client.execute_workflow_and_wait_for_result(
            Text2VideoTask(f"a rabbit {number}"), on_update=lambda update: seen.append(gevent.getcurrent())
        )
    assert seen and set(seen) == {gevent.getcurrent()}, seen
    return result.status
"""


@pytest.fixture
def run(tmp_path):
    """Run a program under gevent, and return what it prints."""

    def run(program, url):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM + program, url, str(tmp_path / "home")],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return run


@pytest.mark.parametrize("calls", [1, 3, 12])
def test_calls_of_several_greenlets_run_at_once_while_other_greenlets_run(run, sequencer, calls):
    arrived, go = threading.Semaphore(0), threading.Event()

    def create(_):
        arrived.release()
        assert go.wait(20)
        return Answer({"task_id": "t1"})

    def release(_):
        for _ in range(calls):
            assert arrived.acquire(timeout=20)
        go.set()
        return Answer({})

    sequencer.script("task_create", create)
    sequencer.script("go", release)
    program = f"""
calls = [gevent.spawn(call, number) for number in range({calls})]
other = gevent.spawn(lambda: urllib.request.urlopen(url + "/go", b"{{}}").read())
gevent.joinall([*calls, other], raise_error=True)
print(*(each.value for each in calls))
"""
    assert run(program, sequencer.url) == ["finished"] * calls


@pytest.mark.parametrize("stop", ["caller.kill()", "caller.kill(KeyboardInterrupt)", "caller.kill(gevent.Timeout)"])
def test_a_greenlet_that_is_stopped_cancels_its_task(run, sequencer, stop):
    sequencer.script("task_result_query", status("pending"))
    program = f"""
def ask():
    try:
        Client("a#b", url, home=home).execute_workflow_and_wait_for_result(
            Text2VideoTask("a rabbit"), on_update=lambda update: waits.set()
        )
    except BaseException as error:
        print(type(error).__name__)

import gevent.event
waits = gevent.event.Event()
caller = gevent.spawn(ask)
waits.wait()
{stop}
"""
    assert run(program, sequencer.url) == [{"()": "GreenletExit"}.get(stop[-2:], stop[12:-1].split(".")[-1])]
    assert sequencer.paths().count("task_cancel") == 1
