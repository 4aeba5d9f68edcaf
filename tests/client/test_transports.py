"""The two transports at their edges: slow servers, odd redirects, hosts that cannot be."""

from __future__ import annotations

import time

import pytest

from tests.support.fake_sequencer import DROP, Answer
from tests.support.loopback import full_url
from xalora_client import APIStatusError, ConfigurationError, NetworkError, RequestTimeoutError, Text2VideoTask
from xalora_client.client import session
from xalora_client.http import transport as http

TASK = Text2VideoTask("a rabbit")


def query(client):
    return client.query_task_result("t1")


class TestSlowServers:
    def test_no_answer_in_time(self, subject, sequencer, monkeypatch):
        monkeypatch.setattr(session, "REQUEST_TIMEOUT", 0.1)
        with (
            sequencer.silent("task_result_query"),
            pytest.raises(RequestTimeoutError, match="No answer from") as caught,
        ):
            subject.do(query, retry_seconds=0.4)
        assert caught.value.sent == "maybe"
        assert isinstance(caught.value, TimeoutError)

    def test_no_answer_to_a_create_in_time(self, subject, sequencer, monkeypatch):
        monkeypatch.setattr(session, "REQUEST_TIMEOUT", 0.2)
        began = time.monotonic()
        with sequencer.silent("task_create"), pytest.raises(RequestTimeoutError, match="may have been created"):
            subject.do(lambda c: c.execute_workflow(TASK))
        assert time.monotonic() - began < 10

    def test_a_proxy_that_drops_the_connection_may_have_passed_the_create_on(self, subject, sequencer, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", sequencer.url)
        sequencer.answers["http://target.example/task_create"] = [DROP]
        with pytest.raises(NetworkError, match="may have been created") as caught:
            subject.do(lambda c: c.execute_workflow(TASK), workflow_url="http://target.example")
        assert caught.value.sent == "maybe"
        assert len(sequencer.seen) == 1

    def test_no_connection_in_time(self, subject, monkeypatch):
        """A listener with a full queue lets nobody in, and turns nobody away."""
        monkeypatch.setattr(http, "UNREACHED_SECONDS", 0.2)
        with full_url() as url, pytest.raises(RequestTimeoutError, match="No connection to") as caught:
            subject.do(lambda c: c.execute_workflow(TASK), workflow_url=url, retry_seconds=0.4)
        assert caught.value.sent == "no"


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
        with pytest.raises(APIStatusError, match="redirects elsewhere"):
            subject.do(query)


def test_a_host_name_that_cannot_be(subject):
    subject.options["workflow_url"] = f"http://{'a' * 70}.invalid"
    with pytest.raises(ConfigurationError, match="plain address of a server"):
        subject.do(query)
