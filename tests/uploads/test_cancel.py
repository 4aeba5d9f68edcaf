"""An upload that is stopped in the middle ends at once, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.buckets import images_of, picture
from tests.support.ledger_steps import records_of
from tests.support.processes import poll
from tests.support.subject import Stop
from xalora_client import AdvancedOptions, AsyncClient, InputImage, UpscalerTask, WorkflowTask
from xalora_client.http import transport
from xalora_client.http import upload as web
from xalora_client.ledger import Ledger


def large(seed):
    return UpscalerTask(InputImage.from_bytes(picture(seed, side=800), name=f"{seed}.png"))


def recorded(home):
    with Ledger(home) as ledger:
        return records_of(ledger)


def test_awaited_uploads_are_canceled(bucket, counted, home):
    """As ComfyUI's Cancel does: one is stored already, others are on their way."""
    bucket.bytes_per_second = 3e6

    async def main():
        async with AsyncClient(
            "consumer-1#secret-key", counted.url, ledger=True, advanced=AdvancedOptions(images_at_once=2)
        ) as client:
            work = [asyncio.create_task(client.upload_images(large(seed))) for seed in range(5)]
            await asyncio.to_thread(poll, bucket.puts)
            for each in work:
                each.cancel()
            return await asyncio.gather(*work, return_exceptions=True)

    ends = asyncio.run(main())
    assert sum(isinstance(end, asyncio.CancelledError) for end in ends) >= 3
    assert images_of(counted) == []
    bucket.quiet()
    assert bucket.names() == []
    assert recorded(home) == []  # What was never sent is no task.


def test_a_connection_that_is_lost_at_that_moment_hides_no_cancel(monkeypatch):
    exchanges = []

    class Remembered(transport.Exchange):
        async def __aenter__(self):
            exchanges.append(self)
            return await super().__aenter__()

    monkeypatch.setattr(transport, "Exchange", Remembered)

    async def main(url):
        sent = asyncio.Event()
        uploading = asyncio.create_task(
            web.WebTransport().ask("PUT", url, body=bytes(50_000_000), on_sent=lambda *_: sent.set())
        )
        await sent.wait()
        exchanges[0].connector.transport.abort()
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading

    with socket.create_server(("127.0.0.1", 0)) as deaf:  # Nobody reads what is sent.
        asyncio.run(main(f"http://127.0.0.1:{deaf.getsockname()[1]}/"))


def test_slow_lines_are_heard_of_often():
    """45 seconds may pass from one chunk to the next."""

    async def sizes():
        async with web._opened(bytes(200_000)) as sending:
            return [len(chunk) async for chunk in sending.chunks()]

    found = asyncio.run(sizes())
    assert sum(found) == 200_000
    assert max(found) <= 64 * 1024


def test_an_interruption_in_the_middle(bucket, counted, subject, home):
    subject.options["ledger"] = True
    bucket.bytes_per_second = 3e6

    def stop(progress):
        raise Stop

    with pytest.raises(Stop):
        subject.do(lambda client: client.upload_images(large(1), stop))
    assert images_of(counted) == []
    bucket.quiet()
    assert bucket.names() == []
    assert recorded(home) == []  # What was never sent is no task.


def test_an_interruption_after_the_first_of_two_images(bucket, counted, subject, home):
    subject.options["ledger"] = True

    def stop():
        assert len(bucket.puts()) == 1
        raise Stop

    class Blend(WorkflowTask):
        task_type = "blend"

        @property
        def task_details(self):
            return {"parameters": {"images": images}}

    images = [InputImage.from_bytes(picture()), InputImage(stop, lambda: "ab" * 32, "image/png")]
    with pytest.raises(Stop):
        subject.do(lambda client: client.execute_workflow(Blend()))
    assert counted.seen == []
    assert bucket.names() == []
    assert recorded(home) == []
