"""With a ledger, nothing is downloaded twice either."""

from __future__ import annotations

import pytest

from tests.support.fake_file_server import File
from tests.support.fake_sequencer import status
from tests.support.pictures import png
from xalora_client import DownloadError, TaskStatus, Text2VideoTask, WorkflowTaskResult

PNG = File(png())


def make(client):
    return client.execute_workflow_and_wait_for_result(Text2VideoTask("a rabbit"))


@pytest.fixture
def served(ids, files):
    """The file server, which has the results of all tasks."""
    url = files.serve("/x.png", PNG)
    ids.script("task_result_query", status("finished", result=url))
    return files


async def _both(client):
    return await client.download(await make(client))


def fetch(keeper):
    """Make the task and download its result."""
    return keeper.do(_both if keeper.kind == "event loop" else lambda c: c.download(make(c)))


def test_what_was_downloaded_needs_no_server_any_more(keeper, served, sequencer):
    first = fetch(keeper)
    served.close()
    sequencer.close()
    assert fetch(keeper).path == first.path


def test_damaged_bytes_are_downloaded_again(keeper, served):
    first = fetch(keeper)
    whole = first.path.read_bytes()
    first.path.write_bytes(b"x" * len(whole))
    assert fetch(keeper).path.read_bytes() == whole


def test_damaged_bytes_and_a_dead_link_are_said_and_nothing_is_paid(keeper, served, ids):
    first = fetch(keeper)
    first.path.unlink()
    served.serve("/x.png", File(b"", status=404))
    with pytest.raises(DownloadError, match="reuse off"):
        fetch(keeper)
    assert ids.count("task_create") == 1


def test_an_expired_link_is_asked_for_anew(keeper, served, ids):
    first = fetch(keeper)
    first.path.unlink()
    served.serve("/x.png", File(b"", status=403))
    ids.script("task_result_query", status("finished", result=served.serve("/fresh.png", PNG)))
    assert fetch(keeper).path == first.path


def test_stored_bytes_need_no_link(keeper, served, ids):
    first = fetch(keeper)
    ids.script("task_result_query", status("finished", result=None))
    result = WorkflowTaskResult("t1", TaskStatus.FINISHED)
    assert keeper.do(lambda c: c.download(result)).path == first.path
