"""A task with several results, as our sequencer answers it: each is fetched once, and found again without a server."""

from __future__ import annotations

import pytest

from tests.support.fake_file_server import File
from tests.support.fake_sequencer import status
from tests.support.pictures import png
from xalora_client import CustomTask, DownloadError, TaskRecords

PICTURES = [png(8), png(9), png(8)]
TASK = CustomTask("txt2img", {"batch_size": 3})


@pytest.fixture
def served(ids, files):
    """The file server, which has the three results of all tasks."""
    urls = [files.serve(f"/{number}.png", File(picture)) for number, picture in enumerate(PICTURES)]
    ids.script("task_result_query", ours(urls))
    return files


def ours(urls, **more):
    return status("finished", result=urls[0], results=urls, revision=3, long_poll_seconds=25, **more)


async def _all(client):
    return await client.download_all(await client.execute_workflow_and_wait_for_result(TASK))


def fetch(keeper):
    """Make the task and download its results."""
    do = _all if keeper.kind == "event loop" else lambda c: c.download_all(c.execute_workflow_and_wait_for_result(TASK))
    return [file.path.read_bytes() for file in keeper.do(do)]


def test_what_was_downloaded_needs_no_server_any_more(keeper, served, sequencer):
    assert fetch(keeper) == PICTURES
    served.close()
    sequencer.close()
    assert fetch(keeper) == PICTURES


def test_the_ledger_has_the_files_of_all(keeper, served, home):
    fetch(keeper)
    with TaskRecords(home) as records:
        ((record,), _) = records.tasks(1)
        paths = records.use_all_media(record)
        assert [path.read_bytes() for path in paths] == PICTURES
        assert [record.media, *record.more_media] == [path.name for path in paths]
        paths[1].unlink()
        assert records.use_all_media(record) == []


def test_what_is_missing_is_fetched_alone_by_a_fresh_link(keeper, served, ids):
    served.serve("/1.png", File(b"", status=404))
    with pytest.raises(DownloadError):
        fetch(keeper)
    fresh = served.serve("/fresh.png", File(PICTURES[1]))
    urls = [f"{served.url}/gone.png", fresh, f"{served.url}/2.png"]
    ids.script("task_result_query", ours(urls))
    served.seen.clear()
    assert fetch(keeper) == PICTURES
    assert [asked.path for asked in served.seen] == ["/fresh.png", "/2.png"]
    assert ids.count("task_create") == 1


@pytest.mark.parametrize("results", [None, "x", 7, {}, [], [None] * 9, [[]], [{"url": 5}, "data:,x", "file:///etc"]])
def test_nonsense_beside_the_result_is_no_harm(keeper, served, ids, results):
    url = f"{served.url}/0.png"
    ids.script("task_result_query", ours([url]), ours([url]))
    ids.script("task_result_query", status("finished", result=url, results=results, revision=3, long_poll_seconds=25))
    assert fetch(keeper) == PICTURES[:1]


def test_of_thousands_only_so_many_are_fetched(keeper, served, ids):
    ids.script("task_result_query", ours([f"{served.url}/1.png"] * 10_000))
    assert fetch(keeper) == [PICTURES[1]] * 64
    assert len(served.seen) == 64


def test_what_another_server_means_by_results_is_its_own(keeper, served, ids):
    url = f"{served.url}/0.png"
    ids.script("task_result_query", status("finished", result=url, results=[url, f"{served.url}/1.png"]))
    assert fetch(keeper) == PICTURES[:1]


def test_behind_a_proxy_each_is_at_the_address_that_is_known(keeper, sequencer, ids):
    name = f"/media/{'ab' * 32}.png"
    urls = [f"http://inside.example:1/prefix{name}{end}" for end in ("", "/2", "/3")]
    ids.script("task_result_query", ours(urls))
    result = keeper.do(lambda c: c.query_task_result("t1"))
    assert result.media_urls == tuple(f"{sequencer.url}{name}{end}" for end in ("", "/2", "/3"))
    assert result.media_url == result.media_urls[0]
