"""Who stops a download leaves nothing behind, and holds nobody up."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.downloads import HALF, OTHER_PNG, PNG, finished, left_over
from tests.support.fake_file_server import File
from tests.support.subject import Stop
from xalora_client import AsyncClient


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Stop(), ValueError("observer")])
def test_what_on_progress_raises_goes_through_and_leaves_nothing(fetch, files, home, sequencer, stop):
    def observe(_):
        raise stop

    with pytest.raises(type(stop)) as caught:
        fetch(files.serve("/x.png", File(PNG)), on_progress=observe)
    assert caught.value is stop
    assert left_over(home) == []
    assert sequencer.seen == []  # The task is finished: there is nothing to cancel.


def test_a_cancelled_download_leaves_nothing(files, home):
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


def test_an_interrupted_pause_between_tries_leaves_nothing(subject, fetch, files, home):
    subject.clock.interrupt = (1, Stop())
    with pytest.raises(Stop):
        fetch(files.serve("/x.png", File(PNG, break_after=HALF)))
    assert left_over(home) == []


def test_while_others_go_on(files, home):
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
