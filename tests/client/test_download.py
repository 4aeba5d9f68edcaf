"""Results come to disk whole, once, and checked, whatever the file server and the connection do."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import resource
import socket
import sqlite3
import threading
from contextlib import closing, contextmanager

import numpy as np
import pytest
from file_server import File, FileServer, redirect
from PIL import Image
from sequencer import Answer, status

from xalora_client import (
    AsyncClient,
    ConfigurationError,
    DecodeError,
    DownloadError,
    FluxLoraTask,
    MediaTooLargeError,
    TaskStatus,
    WorkflowTaskResult,
)
from xalora_client.media.decoding import Limits
from xalora_client.media.download.redirects import redirected
from xalora_client.media.store import MediaStore


def picture(seed: int = 0, side: int = 256) -> bytes:
    """A PNG of noise, stored as it is: real, and of the same length whatever the seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


PNG, OTHER_PNG = picture(0), picture(1)
HALF = len(PNG) // 2
BIG, OTHER_BIG = picture(2, 1000), picture(3, 1000)
"""Several times what lies in buffers: of a connection that breaks, the last bytes may be lost."""
MIDDLE = len(BIG) // 2


@pytest.fixture
def files():
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def fetch(subject):
    """Download an address as a finished task's result, through one of the clients."""

    def do(url, *, limits=None, on_progress=None):
        return subject.do(lambda c: c.download(finished(url), on_progress), limits=limits)

    return do


def finished(url):
    return WorkflowTaskResult("t1", TaskStatus.FINISHED, media_url=url)


def start_of(header):
    """The first byte that a Range header asks for."""
    return int(header.removeprefix("bytes=").removesuffix("-"))


def left_over(home):
    """What downloads left behind, and what was rejected."""
    return sorted(each.name for folder in ("incoming", "rejected") for each in (home / "media" / folder).glob("*"))


class TestWhole:
    def test_a_result_is_fetched_checked_and_named_by_its_hash(self, fetch, files, home):
        file = fetch(files.serve("/x/rabbit.mp4", File(PNG)))
        sha256 = hashlib.sha256(PNG).hexdigest()
        assert file.path == home / "media" / sha256[:2] / f"{sha256}.png"
        assert file.path.read_bytes() == PNG
        assert (file.sha256, file.size) == (sha256, len(PNG))
        assert (file.info.width, file.info.height, file.info.format.name) == (256, 256, "png")
        assert file.info.path == file.path
        assert left_over(home) == []

    def test_a_whole_task_from_prompt_to_file(self, subject, sequencer, files):
        url = files.serve("/made.png", File(PNG))
        sequencer.script("task_result_query", status("running"), Answer({"status": "finished", "result": {"url": url}}))
        task = FluxLoraTask("a rabbit", "soft.safetensors")
        result = subject.do(lambda c: c.execute_workflow_and_wait_for_result(task))
        assert subject.do(lambda c: c.download(result)).path.read_bytes() == PNG

    def test_the_same_bytes_are_kept_once(self, fetch, files, home):
        first = fetch(files.serve("/a.png", File(PNG)))
        second = fetch(files.serve("/b.png", File(PNG)))
        third = fetch(files.serve("/c.png", File(OTHER_PNG)))
        assert first.path == second.path != third.path
        assert len(list((home / "media").glob("??/*"))) == 2

    def test_a_file_stays_until_it_is_released(self, subject, files, home):
        result = finished(files.serve("/x.png", File(PNG)))

        def pruned(file):
            os.utime(file.path, (0, 0))
            return MediaStore(home).prune(0).files

        file = subject.do(lambda c: c.download(result))
        assert pruned(file) == ()
        subject.do(lambda c: c.release(file))
        assert pruned(file) == (file.path,)

    @pytest.mark.parametrize("framing", ["length", "chunked", "close"])
    def test_progress_tells_bytes_and_their_number_where_it_is_known(self, fetch, files, framing):
        steps = []
        fetch(files.serve("/x.png", File(PNG, framing=framing)), on_progress=steps.append)
        assert {each.total for each in steps} == {len(PNG) if framing == "length" else None}
        received = [each.received for each in steps]
        assert received == sorted(set(received))
        assert received[-1] == len(PNG)

    def test_nothing_about_the_account_reaches_the_file_server(self, fetch, files):
        fetch(files.serve("/x.png", File(PNG, headers={"Set-Cookie": "a=b"})))
        fetch(files.url + "/x.png")
        for asked in files.seen:
            assert asked.headers["user-agent"] == "xalora-client/0.1.0"
            assert asked.headers["accept-encoding"] == "identity"
            assert not {"authorization", "cookie", "referer"} & set(asked.headers)
            assert "secret-key" not in str(asked)

    def test_a_content_coding_that_nobody_asked_for_is_undone(self, fetch, files):
        coded = File(gzip.compress(PNG), headers={"Content-Encoding": "gzip"})
        steps = []
        file = fetch(files.serve("/x.png", coded), on_progress=steps.append)
        assert file.path.read_bytes() == PNG
        assert steps[-1].received == len(PNG)

    def test_several_at_once(self, files, home):
        urls = [files.serve(f"/{seed}.png", File(picture(seed, 64))) for seed in range(5)]

        async def main():
            async with AsyncClient("a#b", files.url, home=home) as client:
                return await asyncio.gather(*(client.download(finished(url)) for url in urls))

        assert [each.path.read_bytes() for each in asyncio.run(main())] == [picture(seed, 64) for seed in range(5)]

    def test_one_result_twice_at_once(self, files, home):
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
    def test_a_task_without_media(self, subject, result, home):
        with pytest.raises(DownloadError, match=f"task is {result.status}") as caught:
            subject.do(lambda c: c.download(result))
        assert caught.value.task_id == "t1"
        assert left_over(home) == []


class TestBreaks:
    @pytest.mark.parametrize("framing", ["length", "chunked"])
    def test_goes_on_where_the_connection_broke(self, fetch, files, framing):
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

    def test_goes_on_as_often_as_it_takes(self, fetch, files):
        """Tries are counted anew after each step forward."""
        url = files.serve("/x.png", File(BIG, etag='"v1"', break_after=len(BIG) // 10))
        assert fetch(url).path.read_bytes() == BIG
        starts = [start_of(each) for each in files.asked("range")[1:]]
        assert len(starts) >= 9
        assert starts == sorted(set(starts))

    def test_starts_over_when_the_file_changed(self, fetch, files):
        broken, changed = File(BIG, etag='"v1"', break_after=MIDDLE), File(OTHER_BIG, etag='"v2"')
        steps = []
        assert fetch(files.serve("/x.png", broken, changed), on_progress=steps.append).path.read_bytes() == OTHER_BIG
        assert files.asked("if-range") == [None, '"v1"']
        assert steps[-1].received == steps[-1].total == len(OTHER_BIG)

    @pytest.mark.parametrize("framing", ["length", "chunked"])
    def test_bytes_of_two_files_are_never_joined(self, fetch, files, framing):
        """A server that knows Range but not If-Range sends the rest of the changed file; its tag gives it away."""
        broken = File(BIG, etag='"v1"', framing=framing, break_after=MIDDLE)
        changed = File(OTHER_BIG, etag='"v2"', if_range=False)
        assert fetch(files.serve("/x.png", broken, changed)).path.read_bytes() == OTHER_BIG

    @pytest.mark.parametrize("etag", [None, 'W/"v1"'])
    def test_starts_over_without_a_tag_that_promises_the_same_bytes(self, fetch, files, etag):
        url = files.serve("/x.png", File(BIG, etag=etag, break_after=MIDDLE), File(BIG, etag=etag))
        assert fetch(url).path.read_bytes() == BIG
        assert files.asked("range") == [None, None]

    def test_starts_over_when_the_server_cannot_resume(self, fetch, files):
        url = files.serve("/x.png", File(BIG, etag='"v1"', break_after=MIDDLE), File(BIG, etag='"v1"', ranges=False))
        assert fetch(url).path.read_bytes() == BIG

    @pytest.mark.parametrize("framing", ["length", "chunked"])
    @pytest.mark.parametrize("header", [{}, {"Content-Range": "bytes 7-9/10"}, {"Content-Range": "nonsense"}])
    def test_another_part_than_the_one_asked_for_is_not_taken(self, fetch, files, header, framing):
        broken = File(BIG, etag='"v1"', framing=framing, break_after=MIDDLE)
        odd = File(b"odd", 206, header | {"ETag": '"v1"'})
        assert fetch(files.serve("/x.png", broken, odd, File(BIG, etag='"v1"'))).path.read_bytes() == BIG

    def test_a_part_of_a_part(self, fetch, files):
        """What a 206 says of the whole file's length counts, also where the first answer did not tell it."""
        part = File(PNG[:HALF], 206, {"Content-Range": f"bytes 0-{HALF - 1}/{len(PNG)}", "ETag": '"v1"'})
        assert fetch(files.serve("/x.png", part, File(PNG, etag='"v1"'))).path.read_bytes() == PNG

    def test_a_coded_file_that_broke_off_starts_over(self, fetch, files):
        """Ranges count coded bytes, the file has decoded ones: they do not fit together."""
        coded, fields = gzip.compress(BIG), {"Content-Encoding": "gzip"}
        broken = File(coded, headers=fields, etag='"v1"', break_after=len(coded) // 2)
        assert fetch(files.serve("/x.png", broken, File(coded, headers=fields, etag='"v1"'))).path.read_bytes() == BIG

    def test_silence_is_a_break(self, fetch, files, monkeypatch):
        monkeypatch.setattr("xalora_client.media.download.flow.LONGEST_SILENCE", 0.3)
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
    def test_trouble_that_may_pass_is_tried_again_and_then_said(self, subject, fetch, files, home, trouble, said):
        url = files.serve("/x.png", *[trouble] * 5, File(PNG))
        assert fetch(url).path.read_bytes() == PNG
        subject.clock.sleeps.clear()
        files.serve("/x.png", trouble)
        with pytest.raises(DownloadError, match=said) as caught:
            fetch(url)
        assert caught.value.task_id == "t1"
        assert "nothing is charged twice" in str(caught.value)
        assert left_over(home) == []
        assert len(subject.clock.sleeps) == 5
        assert all(0 < slept <= 10 for slept in subject.clock.sleeps)

    def test_the_server_may_ask_for_patience(self, subject, fetch, files):
        fetch(files.serve("/x.png", File(b"busy", 503, {"Retry-After": "25"}), File(PNG)))
        assert subject.clock.sleeps == [25]

    def test_but_not_for_any_length_of_time(self, subject, fetch, files):
        with pytest.raises(DownloadError, match="503, and asks to come back in 604,800 s") as caught:
            fetch(files.serve("/x.png", File(b"busy", 503, {"Retry-After": "604800"})))
        assert caught.value.task_id == "t1"
        assert subject.clock.sleeps == []

    def test_no_server_at_all(self, fetch, home):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(DownloadError, match="broke off 6 times"):
                fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/x.png")
        assert left_over(home) == []


class TestRefusals:
    @pytest.mark.parametrize("code", [401, 403, 404, 410])
    def test_a_file_that_is_gone_is_asked_for_once(self, fetch, files, sequencer, home, code):
        url = files.serve("/x.png", File(b"gone", code))
        sequencer.script("task_result_query", status("finished", result=url))
        with pytest.raises(DownloadError, match=rf"{code}.* expired"):
            fetch(url)
        assert len(files.seen) == 1
        assert left_over(home) == []

    @pytest.mark.parametrize("code", [401, 403, 404, 410])
    def test_the_sequencer_may_know_a_fresh_link(self, fetch, files, sequencer, code):
        fresh = files.serve("/fresh.png", File(PNG))
        sequencer.script("task_result_query", status("finished", result=fresh))
        assert fetch(files.serve("/old.png", File(b"expired", code))).path.read_bytes() == PNG
        assert sequencer.paths() == ["task_result_query"]

    @pytest.mark.parametrize("code", [204, 302, 304, 400, 416, 451])
    def test_other_answers_are_no_file(self, fetch, files, home, code):
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
    def test_what_is_no_media_is_kept_and_named(self, fetch, files, home, content, words):
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

    def test_fewer_bytes_announced_than_sent(self, fetch, files):
        with pytest.raises(DecodeError, match="cut off"):
            fetch(files.serve("/x.png", File(PNG, length=HALF)))

    def test_too_large_by_its_own_word(self, fetch, files, home):
        steps = []
        url = files.serve("/x.png", File(PNG, stall_after=0))
        with pytest.raises(MediaTooLargeError, match=r"max_bytes = 1,000") as caught:
            fetch(url, limits=Limits(max_bytes=1000), on_progress=steps.append)
        assert caught.value.task_id == "t1"
        assert steps == []
        assert left_over(home) == []

    @pytest.mark.parametrize("framing", ["chunked", "close"])
    def test_too_large_by_its_bytes(self, fetch, files, home, framing):
        with pytest.raises(MediaTooLargeError, match=r"max_bytes = 1,000"):
            fetch(files.serve("/x.png", File(PNG, framing=framing)), limits=Limits(max_bytes=1000))
        assert len(files.seen) == 1
        assert left_over(home) == []

    def test_too_large_once_unpacked(self, fetch, files, home):
        coded = gzip.compress(bytes(2_000_000))
        with pytest.raises(MediaTooLargeError, match="max_bytes"):
            fetch(
                files.serve("/x.png", File(coded, headers={"Content-Encoding": "gzip"})),
                limits=Limits(max_bytes=1_000_000),
            )
        assert left_over(home) == []

    def test_too_large_by_its_pixels(self, fetch, files, home):
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


class TestRedirects:
    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_is_followed(self, fetch, files, code):
        files.serve("/there/x.png", File(PNG))
        assert fetch(files.serve("/here/x", redirect("../there/x.png", code))).path.read_bytes() == PNG

    def test_to_another_server(self, fetch, files):
        other = FileServer()
        try:
            url = files.serve("/x", redirect(other.serve("/y.png", File(PNG))))
            assert fetch(url).path.read_bytes() == PNG
            assert "secret-key" not in str(other.seen)
        finally:
            other.close()

    def test_a_break_behind_a_redirect_goes_on_from_there(self, fetch, files):
        files.serve("/y.png", File(BIG, etag='"v1"', break_after=MIDDLE), File(BIG, etag='"v1"'))
        assert fetch(files.serve("/x", redirect("/y.png"))).path.read_bytes() == BIG
        assert files.seen[-1].headers["if-range"] == '"v1"'

    def test_where_one_leads_may_be_short_lived(self, fetch, files):
        """After a break, the way is followed anew: what was signed for the first try is refused by then."""
        files.serve("/signed-1.png", File(BIG, etag='"v1"', break_after=MIDDLE), File(b"expired", 403))
        files.serve("/signed-2.png", File(BIG, etag='"v1"'))
        url = files.serve("/x", redirect("/signed-1.png"), redirect("/signed-2.png"))
        assert fetch(url).path.read_bytes() == BIG
        assert files.seen[-1].headers["if-range"] == '"v1"'

    def test_five_times_but_not_six(self, fetch, files, home):
        for number in range(6):
            files.serve(f"/{number}", redirect(f"/{number + 1}"))
        files.serve("/6", File(PNG))
        assert fetch(files.url + "/1").path.read_bytes() == PNG
        with pytest.raises(DownloadError, match="more than 5 times"):
            fetch(files.url + "/0")
        assert left_over(home) == []

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:image/png;base64,AAAA"])
    def test_not_to_another_kind_of_address(self, fetch, files, target):
        with pytest.raises(DownloadError, match="unsafe address"):
            fetch(files.serve("/x", redirect(target)))

    @pytest.mark.parametrize("target", ["http://[", "http://127.0.0.1:99999/", "http:///x", "//"])
    def test_to_no_address_at_all(self, fetch, files, home, target):
        with pytest.raises(DownloadError):
            fetch(files.serve("/x", redirect(target)))
        assert left_over(home) == []

    @pytest.mark.parametrize(
        ("url", "location", "target"),
        [
            ("https://cdn.example/a/x", "y?z=1", "https://cdn.example/a/y?z=1"),
            ("https://cdn.example/a/x", "//other.example/y", "https://other.example/y"),
            ("http://cdn.example/x", "https://cdn.example/x", "https://cdn.example/x"),
            ("http://192.168.0.5/x", "http://192.168.0.6/x", "http://192.168.0.6/x"),
            ("http://192.168.0.5/x", "https://cdn.example/x", "https://cdn.example/x"),
            ("http://cdn.example/x", "http://8.8.8.8/x", "http://8.8.8.8/x"),
        ],
    )
    def test_where_it_may_lead(self, url, location, target):
        assert redirected(url, location) == target

    @pytest.mark.parametrize(
        "location",
        ["http://cdn.example/x", "ftp://cdn.example/x", "file:///etc/passwd", "javascript:x", "data:,x"],
    )
    def test_never_from_https_to_less(self, location):
        with pytest.raises(DownloadError, match="unsafe address"):
            redirected("https://cdn.example/x", location)

    def test_a_signed_address_is_not_shown(self, fetch, files):
        with pytest.raises(DownloadError) as caught:
            fetch(files.serve("/x", redirect("ftp://user:password@example/x?signature=abc")))
        assert "signature" not in str(caught.value)
        assert "password" not in str(caught.value)

    def test_nor_is_it_when_the_connection_fails(self, fetch, files):
        url = files.serve("/x.png", File(drop=True))
        with pytest.raises(DownloadError) as caught:
            fetch(f"{url}?signature=abcdef")
        assert "abcdef" not in str(caught.value)


class Stop(BaseException):
    """An interruption known to nobody."""


class TestInterruptions:
    @pytest.mark.parametrize("stop", [KeyboardInterrupt(), Stop(), ValueError("observer")])
    def test_what_on_progress_raises_goes_through_and_leaves_nothing(self, fetch, files, home, sequencer, stop):
        def observe(_):
            raise stop

        with pytest.raises(type(stop)) as caught:
            fetch(files.serve("/x.png", File(PNG)), on_progress=observe)
        assert caught.value is stop
        assert left_over(home) == []
        assert sequencer.seen == []  # The task is finished: there is nothing to cancel.

    def test_a_cancelled_download_leaves_nothing(self, files, home):
        url = files.serve("/x.png", File(PNG, stall_after=HALF))

        async def main():
            async with AsyncClient("a#b", files.url, home=home) as client:
                begun = asyncio.Event()
                waiting = asyncio.create_task(client.download(finished(url), lambda _: begun.set()))
                await asyncio.wait_for(begun.wait(), 10)
                assert left_over(home) != []
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting

        asyncio.run(main())
        assert left_over(home) == []

    def test_an_interrupted_pause_between_tries_leaves_nothing(self, subject, fetch, files, home):
        subject.clock.interrupt = (1, Stop())
        with pytest.raises(Stop):
            fetch(files.serve("/x.png", File(PNG, break_after=HALF)))
        assert left_over(home) == []

    def test_while_others_go_on(self, files, home):
        """One slow download holds up neither the event loop nor another download."""
        slow = files.serve("/slow.png", File(PNG, stall_after=HALF))
        quick = files.serve("/quick.png", File(OTHER_PNG))

        async def main():
            async with AsyncClient("a#b", files.url, home=home) as client:
                waiting = asyncio.create_task(client.download(finished(slow)))
                assert await asyncio.to_thread(files.stalled.wait, 10)
                file = await asyncio.wait_for(client.download(finished(quick)), 10)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                return file

        assert asyncio.run(main()).path.read_bytes() == OTHER_PNG


@contextmanager
def full_disk(size: int):
    """Let no file grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestDisk:
    def test_the_home_is_a_file(self, fetch, files, home):
        home.write_text("")
        with pytest.raises(ConfigurationError, match="XALORA_HOME"):
            fetch(files.serve("/x.png", File(PNG)))
        assert files.seen == []

    def test_a_full_disk(self, fetch, files, home):
        url = files.serve("/x.png", File(PNG))
        with full_disk(HALF), pytest.raises(DownloadError, match="cannot be written") as caught:
            fetch(url)
        assert "nothing is charged twice" in str(caught.value)
        assert str(home) in str(caught.value)
        assert left_over(home) == []

    def test_a_disk_that_is_full_at_the_last_byte(self, fetch, files, home):
        """The last bytes stay in a buffer until the file is closed."""
        url = files.serve("/x.png", File(PNG))
        with full_disk(len(PNG) - 1), pytest.raises(DownloadError, match="cannot be written"):
            fetch(url)
        assert left_over(home) == []

    @pytest.mark.parametrize("ledger", [True, False])
    def test_the_place_of_the_file_is_taken(self, subject, files, home, ledger):
        """The complete file waits until there is one, and is not downloaded again."""
        (home / "media").mkdir(parents=True)
        obstacle = home / "media" / hashlib.sha256(PNG).hexdigest()[:2]
        obstacle.write_text("in the way")
        result = finished(files.serve("/x.png", File(PNG)))
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="cannot be written") as caught:
                subject.do(lambda c: c.download(result), ledger=ledger)
            assert caught.value.task_id == "t1"
        obstacle.unlink()
        assert subject.do(lambda c: c.download(result), ledger=ledger).path.read_bytes() == PNG
        assert len(files.seen) == 1

    @pytest.mark.parametrize("where", ["not in the ledger", "in a ledger that is full"])
    def test_what_the_ledger_does_not_take_in_is_found_all_the_same(self, subject, sequencer, files, home, where):
        result = finished(files.serve("/x.png", File(PNG), File(b"expired", 403)))
        if where == "in a ledger that is full":
            subject.do(lambda c: c.execute_workflow(FluxLoraTask("a rabbit", "soft.safetensors")), ledger=True)
            with closing(sqlite3.connect(home / "ledger.sqlite3")) as db, db:
                db.execute("CREATE TRIGGER full BEFORE UPDATE ON tasks BEGIN SELECT raise(abort, 'disk is full'); END")
        for _ in range(3):
            file = subject.do(lambda c: c.download(result), ledger=True)
            assert (file.path.read_bytes(), file.info.format.name) == (PNG, "png")
        file.path.unlink()
        assert subject.do(lambda c: c.download(result), ledger=True).path.read_bytes() == PNG
        assert len(files.seen) == 1

    def test_a_complete_download_that_was_damaged_since_is_fetched_again(self, subject, files, home):
        result = finished(files.serve("/x.png", File(PNG)))
        subject.do(lambda c: c.download(result), ledger=True)
        (whole,) = (home / "media" / "incoming").iterdir()
        whole.write_bytes(OTHER_PNG)
        assert subject.do(lambda c: c.download(result), ledger=True).path.read_bytes() == PNG
        assert len(files.seen) == 2
        (kept,) = (home / "media" / "rejected").iterdir()
        assert kept.read_bytes() == OTHER_PNG

    def test_the_place_of_rejected_files_is_taken(self, fetch, files, home):
        (home / "media").mkdir(parents=True)
        (home / "media" / "rejected").write_text("in the way")
        with pytest.raises((DownloadError, ConfigurationError, DecodeError)):
            fetch(files.serve("/x.png", File(b"no media")))
        assert not list((home / "media").rglob("*.part"))


def test_no_threads_are_left(fetch, files):
    before = threading.active_count()
    fetch(files.serve("/x.png", File(PNG)))
    files.close()
    assert threading.active_count() <= before
