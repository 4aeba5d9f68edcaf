"""The sandbox of another program, which ends: whoever still needs one starts it again and asks once more."""

import subprocess
import sys
import threading

import pytest

from tests.support.processes import PATIENCE, poll
from xalora_client import Client, Text2VideoTask
from xalora_client.sequencer import close_local_sandboxes

TASK = Text2VideoTask("a rabbit", width=64, height=48, length=5)
LONG = Text2VideoTask("a rabbit", width=848, height=480, length=145)
OTHER = """
import sys
from xalora_client import Client, Text2VideoTask
with Client(workflow_url="sandbox") as client:
    client.execute_workflow(Text2VideoTask("a fox", width=64, height=48, length=5))
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["killed", "ended"])
def end_other(request):
    """A function that ends another program, with which the sandbox of this home was started."""
    other = subprocess.Popen([sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "ready\n"

    def end():
        if request.param == "killed":
            other.kill()
        other.communicate(timeout=PATIENCE)

    yield end
    other.kill()
    other.communicate()
    close_local_sandboxes()


@pytest.mark.parametrize(
    "call",
    [
        lambda client, _: client.execute_workflow_and_wait_for_result(TASK),
        lambda client, task_id: client.query_task_result(task_id),
        lambda client, task_id: client.download(client.wait_for_result(task_id)),
        lambda client, task_id: client.cancel_task(task_id),
    ],
    ids=["create", "query", "download", "cancel"],
)
def test_the_next_call_starts_it(end_other, call):
    with Client(workflow_url="sandbox") as client:
        task_id = client.execute_workflow(LONG)
        end_other()
        call(client, task_id)


def test_a_wait_goes_on(end_other):
    with Client(workflow_url="sandbox") as client:
        states = []
        ending = threading.Thread(target=lambda: poll(lambda: "running" in states) and end_other())
        ending.start()
        result = client.execute_workflow_and_wait_for_result(
            LONG, on_update=lambda update: states.append(update.status)
        )
        ending.join()
        assert client.download(result).info.frames == LONG.length
