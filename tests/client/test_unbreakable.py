"""Work that must not be lost (a create, a write to the ledger) is waited for, but not for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from tests.support.subject import Stop
from xalora_client.client import portal
from xalora_client.client.portal import finish
from xalora_client.client.session import in_thread


async def interrupted(work):
    """Interrupt work that must be finished, once it has begun; returns when the interruption was raised."""
    running = asyncio.create_task(finish(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_blocking_work_that_does_not_settle(monkeypatch):
    monkeypatch.setattr(portal, "LONGEST_TO_FINISH", 0.05)
    monkeypatch.setattr(portal, "SECONDS_TO_STOP", 0.5)
    go_on, threads = threading.Event(), []

    def work():
        threads.append(threading.current_thread())
        os.kill(os.getpid(), signal.SIGINT)
        go_on.wait(20)

    with pytest.raises(KeyboardInterrupt):
        portal.run(lambda: in_thread(work))
    go_on.set()
    for each in threads:
        each.join()


def test_awaited_work_that_does_not_settle(monkeypatch):
    monkeypatch.setattr(portal, "LONGEST_TO_FINISH", 0.05)
    given_up = []

    async def work():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.append(True)
            raise

    asyncio.run(interrupted(work))
    assert given_up == [True]


def test_an_interruption_waits_for_the_end_of_the_work():
    ended = []

    async def work():
        await asyncio.sleep(0.05)
        ended.append(True)

    asyncio.run(interrupted(work))
    assert ended == [True]


@pytest.mark.parametrize("error", [ValueError("own"), Stop()], ids=repr)
def test_what_local_work_raises_arrives(error):
    def fail():
        raise error

    async def main():
        try:
            await in_thread(fail)
        except type(error) as caught:
            return caught

    assert portal.run(main) is error
    if isinstance(error, Exception):
        assert asyncio.run(main()) is error
