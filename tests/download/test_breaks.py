"""A download goes on where it broke off, or starts over where it cannot."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from tests.support.downloads import BIG, HALF, MIDDLE, OTHER_BIG, PNG, left_over
from tests.support.fake_file_server import File
from tests.support.loopback import deaf_url
from xalora_client import DownloadError


def start_of(header):
    """The first byte that a Range header asks for."""
    return int(header.removeprefix("bytes=").removesuffix("-"))


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_goes_on_where_the_connection_broke(fetch, files, framing):
    broken = File(BIG, etag='"v1"', framing=framing, break_after=MIDDLE)
    steps = []
    file = fetch(files.serve("/x.png", broken, File(BIG, etag='"v1"')), on_progress=steps.append)
    assert file.path.read_bytes() == BIG
    assert file.sha256 == hashlib.sha256(BIG).hexdigest()
    first, second = files.asked("range")
    assert first is None
    assert 0 < start_of(second) <= MIDDLE
    assert files.asked("if-range") == [None, '"v1"']
    received = [each.received for each in steps]
    assert received == sorted(received)


def test_goes_on_as_often_as_it_takes(fetch, files):
    """Tries are counted anew after each step forward."""
    url = files.serve("/x.png", File(BIG, etag='"v1"', break_after=len(BIG) // 10))
    assert fetch(url).path.read_bytes() == BIG
    starts = [start_of(each) for each in files.asked("range")[1:]]
    assert len(starts) >= 9
    assert starts == sorted(set(starts))


def test_starts_over_when_the_file_changed(fetch, files):
    broken, changed = File(BIG, etag='"v1"', break_after=MIDDLE), File(OTHER_BIG, etag='"v2"')
    steps = []
    assert fetch(files.serve("/x.png", broken, changed), on_progress=steps.append).path.read_bytes() == OTHER_BIG
    assert files.asked("if-range") == [None, '"v1"']
    assert steps[-1].received == steps[-1].total == len(OTHER_BIG)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_bytes_of_two_files_are_never_joined(fetch, files, framing):
    """A server that knows Range but not If-Range sends the rest of the changed file; its tag gives it away."""
    broken = File(BIG, etag='"v1"', framing=framing, break_after=MIDDLE)
    changed = File(OTHER_BIG, etag='"v2"', if_range=False)
    assert fetch(files.serve("/x.png", broken, changed)).path.read_bytes() == OTHER_BIG


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_starts_over_without_a_tag_that_promises_the_same_bytes(fetch, files, etag):
    url = files.serve("/x.png", File(BIG, etag=etag, break_after=MIDDLE), File(BIG, etag=etag))
    assert fetch(url).path.read_bytes() == BIG
    assert files.asked("range") == [None, None]


def test_starts_over_when_the_server_cannot_resume(fetch, files):
    url = files.serve("/x.png", File(BIG, etag='"v1"', break_after=MIDDLE), File(BIG, etag='"v1"', ranges=False))
    assert fetch(url).path.read_bytes() == BIG


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("header", [{}, {"Content-Range": "bytes 7-9/10"}, {"Content-Range": "nonsense"}])
def test_another_part_than_the_one_asked_for_is_not_taken(fetch, files, header, framing):
    broken = File(BIG, etag='"v1"', framing=framing, break_after=MIDDLE)
    odd = File(b"odd", 206, header | {"ETag": '"v1"'})
    assert fetch(files.serve("/x.png", broken, odd, File(BIG, etag='"v1"'))).path.read_bytes() == BIG


def test_a_part_of_a_part(fetch, files):
    """What a 206 says of the whole file's length counts, also where the first answer did not tell it."""
    part = File(PNG[:HALF], 206, {"Content-Range": f"bytes 0-{HALF - 1}/{len(PNG)}", "ETag": '"v1"'})
    assert fetch(files.serve("/x.png", part, File(PNG, etag='"v1"'))).path.read_bytes() == PNG


def test_a_coded_file_that_broke_off_starts_over(fetch, files):
    """Ranges count coded bytes, the file has decoded ones: they do not fit together."""
    coded, fields = gzip.compress(BIG), {"Content-Encoding": "gzip"}
    broken = File(coded, headers=fields, etag='"v1"', break_after=len(coded) // 2)
    assert fetch(files.serve("/x.png", broken, File(coded, headers=fields, etag='"v1"'))).path.read_bytes() == BIG


def test_silence_is_a_break(fetch, files, monkeypatch):
    monkeypatch.setattr("xalora_client.client.download.LONGEST_SILENCE", 0.3)
    url = files.serve("/x.png", File(BIG, etag='"v1"', stall_after=MIDDLE), File(BIG, etag='"v1"'))
    assert fetch(url).path.read_bytes() == BIG
    assert files.asked("if-range") == [None, '"v1"']


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (File(drop=True), "No answer"),
        (File(b"busy", 503), "503"),
        (File(b"slow down", 429), "429"),
        (File(b"timeout", 408), "408"),
        (File(PNG, break_after=HALF), "broke off 6 times"),
        (File(PNG, length=len(PNG) + 1), "broke off 6 times"),
        (File(PNG, framing="chunked", break_after=HALF), "broke off 6 times"),
        (File(b""), "empty"),
        (File(b"", framing="chunked"), "empty"),
    ],
    ids=["drop", "503", "429", "408", "break", "too short", "chunks end", "empty", "no chunks"],
)
def test_trouble_that_may_pass_is_tried_again_and_then_said(subject, fetch, files, home, trouble, said):
    url = files.serve("/x.png", *[trouble] * 5, File(PNG))
    assert fetch(url).path.read_bytes() == PNG
    subject.clock.sleeps.clear()
    files.serve("/x.png", trouble)
    with pytest.raises(DownloadError, match=said) as caught:
        fetch(url)
    assert caught.value.task_id == "t1"
    assert "nothing is charged again" in str(caught.value)
    assert left_over(home) == []
    assert len(subject.clock.sleeps) == 5
    assert all(0 < slept <= 10 for slept in subject.clock.sleeps)


def test_the_server_may_ask_for_patience(subject, fetch, files):
    fetch(files.serve("/x.png", File(b"busy", 503, {"Retry-After": "25"}), File(PNG)))
    assert subject.clock.sleeps == [25]


def test_but_not_for_any_length_of_time(subject, fetch, files):
    with pytest.raises(DownloadError, match="503, and asks to wait 604,800 s") as caught:
        fetch(files.serve("/x.png", File(b"busy", 503, {"Retry-After": "604800"})))
    assert caught.value.task_id == "t1"
    assert subject.clock.sleeps == []


def test_no_server_at_all(fetch, home):
    with deaf_url() as url, pytest.raises(DownloadError, match="broke off 6 times"):
        fetch(f"{url}/x.png")
    assert left_over(home) == []
