"""The sandbox of another program, which ends: whoever still needs one starts it again and asks once more."""

import socket
import subprocess
import sys
import threading

import pytest

from tests.support.processes import PATIENCE, poll
from xalora_client import Client, Text2VideoTask
from xalora_client.sequencer import close_local_sandboxes
from xalora_client.sequencer.folder_lock import last_port

TASK = Text2VideoTask("a rabbit", width=64, height=48, length=5)
OTHER_TASK = Text2VideoTask("a fox", width=64, height=48, length=5)
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


def test_where_its_port_is_taken_it_is_found_at_another(home):
    with Client(workflow_url="sandbox") as client, socket.socket() as other:
        client.run(TASK)
        port = last_port(client.config.home / "sandbox")
        close_local_sandboxes()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, sys.platform != "win32")
        other.bind(("127.0.0.1", port))
        other.listen()
        assert client.run(OTHER_TASK).info.frames == 5
        assert last_port(client.config.home / "sandbox") != port
    close_local_sandboxes()


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
