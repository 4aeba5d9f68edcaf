"""Files that are gone, are no media, or are too large."""

from __future__ import annotations

import gzip

import pytest

from tests.support.downloads import HALF, PNG, left_over
from tests.support.fake_file_server import File
from tests.support.fake_sequencer import status
from xalora_client import DecodeError, DownloadError, MediaTooLargeError
from xalora_client.media.decoding import Limits


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_file_that_is_gone_is_asked_for_once(fetch, files, sequencer, home, code):
    url = files.serve("/x.png", File(b"gone", code))
    sequencer.script("task_result_query", status("finished", result=url))
    with pytest.raises(DownloadError, match=rf"{code}.* expired"):
        fetch(url)
    assert len(files.seen) == 1
    assert left_over(home) == []


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_the_sequencer_may_know_a_fresh_link(fetch, files, sequencer, code):
    fresh = files.serve("/fresh.png", File(PNG))
    sequencer.script("task_result_query", status("finished", result=fresh))
    assert fetch(files.serve("/old.png", File(b"expired", code))).path.read_bytes() == PNG
    assert sequencer.paths() == ["task_result_query"]


@pytest.mark.parametrize("code", [204, 302, 304, 400, 416, 451])
def test_other_answers_are_no_file(fetch, files, home, code):
    with pytest.raises(DownloadError, match=str(code)):
        fetch(files.serve("/x.png", File(b"", code)))
    assert len(files.seen) == 1
    assert left_over(home) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!doctype html><html><body>Please log in</body></html>", "a web page"),
        (b'{"error": "expired"}', "JSON"),
        (b"\0" * 5000, "zero"),
        (PNG[:HALF], "cut off"),
    ],
    ids=["html", "json", "zeros", "half a picture"],
)
def test_what_is_no_media_is_kept_and_named(fetch, files, home, content, words):
    url = files.serve("/rabbit.mp4", File(content, headers={"Content-Type": "video/mp4"}))
    with pytest.raises(DecodeError, match=words) as caught:
        fetch(url)
    kept = caught.value.path
    assert kept.parent == home / "media" / "rejected"
    assert kept.read_bytes() == content
    assert str(kept) in str(caught.value)
    assert ".part" not in str(caught.value)
    assert caught.value.task_id == "t1"
    assert left_over(home) == [kept.name]


def test_fewer_bytes_announced_than_sent(fetch, files):
    """What comes behind them is no HTTP, where it comes soon enough to be seen."""
    with pytest.raises((DecodeError, DownloadError), match=r"cut off|not HTTP"):
        fetch(files.serve("/x.png", File(PNG, length=HALF)))


def test_too_large_by_its_own_word(fetch, files, home):
    steps = []
    url = files.serve("/x.png", File(PNG, stall_after=0))
    with pytest.raises(MediaTooLargeError, match=r"max_bytes = 1,000") as caught:
        fetch(url, limits=Limits(max_bytes=1000), on_progress=steps.append)
    assert caught.value.task_id == "t1"
    assert steps == []
    assert left_over(home) == []


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_too_large_by_its_bytes(fetch, files, home, framing):
    with pytest.raises(MediaTooLargeError, match=r"max_bytes = 1,000"):
        fetch(files.serve("/x.png", File(PNG, framing=framing)), limits=Limits(max_bytes=1000))
    assert len(files.seen) == 1
    assert left_over(home) == []


def test_too_large_once_unpacked(fetch, files, home):
    coded = gzip.compress(bytes(2_000_000))
    with pytest.raises(MediaTooLargeError, match="max_bytes"):
        fetch(
            files.serve("/x.png", File(coded, headers={"Content-Encoding": "gzip"})),
            limits=Limits(max_bytes=1_000_000),
        )
    assert left_over(home) == []


def test_too_large_by_its_pixels(fetch, files, home):
    """It is kept: with a higher limit, nothing is downloaded again."""
    url = files.serve("/x.png", File(PNG))
    for _ in range(2):
        with pytest.raises(MediaTooLargeError, match="max_pixels") as caught:
            fetch(url, limits=Limits(max_pixels=1000))
        assert caught.value.task_id == "t1"
        assert caught.value.path.read_bytes() == PNG
        assert str(caught.value.path) in str(caught.value)
    assert fetch(url).path.read_bytes() == PNG
    assert len(files.seen) == 1
    assert left_over(home) == []
