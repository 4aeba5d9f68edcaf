"""Results come to disk whole, once, checked, and named by their hash."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import threading

import pytest

from tests.support.downloads import OTHER_PNG, PNG, finished, left_over
from tests.support.fake_file_server import File
from tests.support.fake_sequencer import Answer, status
from tests.support.pictures import noise
from xalora_client import AsyncClient, DownloadError, FluxLoraTask, TaskStatus, WorkflowTaskResult
from xalora_client.media.store import MediaStore


def test_a_result_is_fetched_checked_and_named_by_its_hash(fetch, files, home):
    file = fetch(files.serve("/x/rabbit.mp4", File(PNG)))
    sha256 = hashlib.sha256(PNG).hexdigest()
    assert file.path == home / "media" / sha256[:2] / f"{sha256}.png"
    assert file.path.read_bytes() == PNG
    assert (file.sha256, file.size) == (sha256, len(PNG))
    assert (file.info.width, file.info.height, file.info.format.name) == (256, 256, "png")
    assert file.info.path == file.path
    assert left_over(home) == []


def test_a_whole_task_from_prompt_to_file(subject, sequencer, files):
    url = files.serve("/made.png", File(PNG))
    sequencer.script("task_result_query", status("running"), Answer({"status": "finished", "result": {"url": url}}))
    task = FluxLoraTask("a rabbit", "soft.safetensors")
    result = subject.do(lambda c: c.execute_workflow_and_wait_for_result(task))
    assert subject.do(lambda c: c.download(result)).path.read_bytes() == PNG


def test_the_same_bytes_are_kept_once(fetch, files, home):
    first = fetch(files.serve("/a.png", File(PNG)))
    second = fetch(files.serve("/b.png", File(PNG)))
    third = fetch(files.serve("/c.png", File(OTHER_PNG)))
    assert first.path == second.path != third.path
    assert len(list((home / "media").glob("??/*"))) == 2


def test_a_file_stays_for_an_hour_after_its_use(fetch, files, home):
    def pruned():
        return MediaStore(home).prune(0).files

    file = fetch(files.serve("/x.png", File(PNG)))
    assert pruned() == ()
    os.utime(file.path, (0, 0))
    assert pruned() == (file.path,)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_progress_tells_bytes_and_their_number_where_it_is_known(fetch, files, framing):
    steps = []
    fetch(files.serve("/x.png", File(PNG, framing=framing)), on_progress=steps.append)
    assert {each.total for each in steps} == {len(PNG) if framing == "length" else None}
    received = [each.received for each in steps]
    assert received == sorted(set(received))
    assert received[-1] == len(PNG)


def test_nothing_about_the_account_reaches_the_file_server(fetch, files):
    fetch(files.serve("/x.png", File(PNG, headers={"Set-Cookie": "a=b"})))
    fetch(files.url + "/x.png")
    for asked in files.seen:
        assert asked.headers["user-agent"] == "xalora-client/0.1.0"
        assert asked.headers["accept-encoding"] == "identity"
        assert not {"authorization", "cookie", "referer"} & set(asked.headers)
        assert "secret-key" not in str(asked)


def test_a_content_coding_that_nobody_asked_for_is_undone(fetch, files):
    coded = File(gzip.compress(PNG), headers={"Content-Encoding": "gzip"})
    steps = []
    file = fetch(files.serve("/x.png", coded), on_progress=steps.append)
    assert file.path.read_bytes() == PNG
    assert steps[-1].received == len(PNG)


def test_several_at_once(files, home):
    urls = [files.serve(f"/{seed}.png", File(noise(seed, 64))) for seed in range(5)]

    async def main():
        async with AsyncClient("a#b", files.url, home=home) as client:
            return await asyncio.gather(*(client.download(finished(url)) for url in urls))

    assert [each.path.read_bytes() for each in asyncio.run(main())] == [noise(seed, 64) for seed in range(5)]


def test_one_result_twice_at_once(files, home):
    result = finished(files.serve("/x.png", File(PNG)))

    async def main():
        async with AsyncClient("a#b", files.url, home=home) as client:
            return await asyncio.gather(*(client.download(result) for _ in range(10)))

    assert {each.path.read_bytes() for each in asyncio.run(main())} == {PNG}
    assert left_over(home) == []


@pytest.mark.parametrize(
    "result",
    [
        WorkflowTaskResult("t1", TaskStatus.RUNNING),
        WorkflowTaskResult("t1", TaskStatus.FAILED, "out of memory"),
        WorkflowTaskResult("t1", TaskStatus.FINISHED, {"no": "url"}),
    ],
    ids=["running", "failed", "no address"],
)
def test_a_task_without_media(subject, result, home):
    with pytest.raises(DownloadError, match=f"task is {result.status}") as caught:
        subject.do(lambda c: c.download(result))
    assert caught.value.task_id == "t1"
    assert left_over(home) == []


def test_no_threads_are_left(fetch, files):
    before = threading.active_count()
    fetch(files.serve("/x.png", File(PNG)))
    files.close()
    assert threading.active_count() <= before
