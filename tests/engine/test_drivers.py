"""Work that must not be lost (a create, a write to the ledger) is waited for, but not for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest
from subject import Stop

from xalora_client.engine import drivers
from xalora_client.engine.drivers import run_async, run_sync
from xalora_client.engine.effects import Call, Send
from xalora_client.protocol.requests import Request


def test_blocking_work_that_does_not_settle(monkeypatch):
    monkeypatch.setattr(drivers, "SETTLE_SECONDS", 0.05)
    go_on, threads = threading.Event(), []

    def work():
        threads.append(threading.current_thread())
        os.kill(os.getpid(), signal.SIGINT)
        go_on.wait(20)

    def flow():
        yield Call(work)

    with pytest.raises(KeyboardInterrupt):
        run_sync(flow(), None)
    go_on.set()
    for each in threads:
        each.join()


def test_awaited_work_that_does_not_settle(monkeypatch):
    monkeypatch.setattr(drivers, "SETTLE_SECONDS", 0.05)
    given_up = []

    class Transport:
        async def send(self, request, timeout):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                given_up.append(request)
                raise

    def flow():
        yield Send(Request("http://x", {}), 1.0, settle=True)

    async def main():
        running = asyncio.create_task(run_async(flow(), Transport()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert len(given_up) == 1


@pytest.mark.parametrize("error", [ValueError("own"), Stop()], ids=repr)
def test_what_local_work_raises_arrives_in_the_flow(error):
    def fail():
        raise error

    def flow():
        try:
            yield Call(fail)
        except type(error) as caught:
            return caught

    assert run_sync(flow(), None) is error
    if isinstance(error, Exception):
        assert asyncio.run(run_async(flow(), None)) is error
