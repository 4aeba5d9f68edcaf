"""The two transports and the two drivers at their edges: slow servers, odd redirects, interruptions in bad moments."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from contextlib import closing

import pytest
from sequencer import DROP, Answer

from xalora_client import (
    APIStatusError,
    AsyncClient,
    ConfigurationError,
    InvalidParameterError,
    NetworkError,
    RequestTimeoutError,
    Text2VideoTask,
    WorkflowTask,
)
from xalora_client.clients import exchange
from xalora_client.engine import drivers, retrying
from xalora_client.engine.drivers import run_async, run_sync
from xalora_client.engine.effects import Call, Send
from xalora_client.protocol.wire import Request

TASK = Text2VideoTask("a rabbit")


def query(client):
    return client.query_task_result("t1")


class Stop(BaseException):
    """An interruption known to nobody."""


class TestSlowServers:
    def test_no_answer_in_time(self, subject, sequencer, monkeypatch):
        monkeypatch.setattr(retrying, "REQUEST_TIMEOUT", 0.1)
        monkeypatch.setattr(retrying, "CALL_TIMEOUT", 0.4)
        go_on = threading.Event()

        def hold(_):
            go_on.wait(20)
            return DROP

        sequencer.script("task_result_query", hold)
        try:
            with pytest.raises(RequestTimeoutError, match="No answer from") as caught:
                subject.do(query)
        finally:
            go_on.set()
        assert not caught.value.never_sent
        assert isinstance(caught.value, TimeoutError)

    def test_no_answer_to_a_create_in_time(self, subject, sequencer, monkeypatch):
        monkeypatch.setattr(retrying, "REQUEST_TIMEOUT", 0.2)
        go_on = threading.Event()

        def hold(_):
            go_on.wait(20)
            return DROP

        sequencer.script("task_create", hold)
        began = time.monotonic()
        try:
            with pytest.raises(RequestTimeoutError, match="may have been created"):
                subject.do(lambda c: c.execute_workflow(TASK))
        finally:
            go_on.set()
        assert time.monotonic() - began < 10

    def test_a_proxy_that_drops_the_connection_may_have_passed_the_create_on(self, subject, sequencer, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", sequencer.url)
        sequencer.answers["http://target.example/task_create"] = [DROP]
        with pytest.raises(NetworkError, match="may have been created") as caught:
            subject.do(lambda c: c.execute_workflow(TASK), workflow_url="http://target.example")
        assert not caught.value.never_sent
        assert len(sequencer.seen) == 1

    def test_no_connection_in_time(self, subject, monkeypatch):
        """A listener with a full queue lets nobody in, and turns nobody away."""
        monkeypatch.setattr(exchange, "CONNECT_TIMEOUT", 0.2)
        monkeypatch.setattr(retrying, "CALL_TIMEOUT", 0.4)
        with closing(socket.socket()) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            waiting = []
            for _ in range(4):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(listener.getsockname())
            subject.options["workflow_url"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
            try:
                with pytest.raises(RequestTimeoutError, match="No connection to") as caught:
                    subject.do(lambda c: c.execute_workflow(TASK))
            finally:
                for each in waiting:
                    each.close()
        assert caught.value.never_sent


class TestRedirects:
    @pytest.mark.parametrize("location", ["http://elsewhere.example/x", "http://[", "//", "file:///etc/passwd", ""])
    def test_are_shown_and_not_followed(self, subject, sequencer, location):
        sequencer.script("task_result_query", Answer({"message": "moved"}, 307, {"Location": location}))
        with pytest.raises(APIStatusError, match="307: moved") as caught:
            subject.do(query)
        assert "XALORA_WORKFLOW_URL" in str(caught.value)
        assert len(sequencer.seen) == 1

    def test_without_an_address(self, subject, sequencer):
        sequencer.script("task_result_query", Answer({}, 301))
        with pytest.raises(APIStatusError, match="another address"):
            subject.do(query)


def test_a_host_name_that_cannot_be(subject):
    subject.options["workflow_url"] = f"http://{'a' * 70}.invalid"
    with pytest.raises(ConfigurationError, match="workflow URL"):
        subject.do(query)


class TestInterruptedWork:
    """Work that must not be lost (a create, a write to the ledger) is waited for, but not for ever."""

    def test_blocking_work_that_does_not_settle(self, monkeypatch):
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

    def test_awaited_work_that_does_not_settle(self, monkeypatch):
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

    def test_a_loop_that_is_torn_down(self, sequencer):
        """Everything is cancelled at once, the create in flight included: there is nothing left to wait for."""
        arrived, go_on = threading.Event(), threading.Event()

        def hold(_):
            arrived.set()
            go_on.wait(20)
            return DROP

        sequencer.script("task_create", hold)

        async def main():
            async with AsyncClient("a#b", sequencer.url) as client:
                running = asyncio.create_task(client.execute_workflow(TASK))
                assert await asyncio.to_thread(arrived.wait, 10)
                for each in asyncio.all_tasks() - {asyncio.current_task()}:
                    each.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                go_on.set()

        asyncio.run(main())
        assert sequencer.count("task_cancel") == 0

    @pytest.mark.parametrize("error", [ValueError("own"), Stop()], ids=repr)
    def test_what_local_work_raises_arrives_in_the_flow(self, error):
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


def test_the_key_is_in_no_repr(sequencer):
    async def main():
        async with AsyncClient("a#very-secret-key", sequencer.url) as client:
            return repr(client)

    assert asyncio.run(main()) == f"AsyncClient(workflow_url='{sequencer.url}')"


def nested(depth):
    """Lists within lists."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), object(), "\ud800", {1, 2}, 10**5000, nested(20_000)],
    ids=["not a number", "an object", "half a character", "a set", "5,001 digits", "nested"],
)
def test_a_task_of_ones_own_that_is_no_json_is_refused_before_anything_is_sent(subject, sequencer, value):
    class Odd(WorkflowTask):
        task_type = "odd"
        task_details = {"parameters": {"x": value}}  # noqa: RUF012

    for ledger in (False, True):
        with pytest.raises(InvalidParameterError, match="task_details"):
            subject.do(lambda c: c.execute_workflow(Odd()), ledger=ledger)
    assert sequencer.seen == []
