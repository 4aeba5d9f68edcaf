"""Each request has a connection of its own, and what becomes of that says whether the request was sent."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time

import pytest

from tests.support.loopback import deaf_url, full_url
from tests.support.raw_server import RawServer, answer, header
from xalora_client import ConfigurationError, NetworkError, NotFoundError, ServerError, TaskTimeoutError, Text2VideoTask
from xalora_client.client import session
from xalora_client.config.validation import DEFAULT_URL
from xalora_client.http import transport as http

CREATED = answer(b'{"task_id": "t1"}')
TASK = Text2VideoTask("a rabbit")


def create(client):
    return client.execute_workflow(TASK)


def query(client):
    return client.query_task_result("t1")


def cancel(client):
    return client.cancel_task("t1")


def resource(client):
    return client.resource_request()


real = socket.getaddrinfo


@pytest.fixture(autouse=True)
def nothing_reached_yet(monkeypatch):
    """Earlier tests reached hosts that these think of as never reached."""
    monkeypatch.setattr(http, "_reached", set())
    monkeypatch.setattr(session, "_reached", set())


@pytest.fixture
def refused(subject):
    """Ask, in vain; returns the error."""

    def do(url, action=create):
        with pytest.raises(NetworkError) as caught:
            subject.do(action, workflow_url=url)
        return caught.value

    return do


def test_each_request_has_its_own_connection(subject):
    def twice(client):
        return (create(client), create(client)) if subject.kind == "blocking" else both(client)

    async def both(client):
        return await create(client), await create(client)

    with RawServer(lambda _: iter([CREATED, CREATED])) as server:  # The second answer belongs to nobody.
        assert subject.do(twice, workflow_url=server.url) == ("t1", "t1")
    assert server.connections == len(server.requests) == 2
    assert {header(each, "connection") for each in server.requests} == {"close"}


def test_an_answer_after_an_answer_is_nobodys(subject):
    numbers = iter(range(1, 9))

    def serve(_):
        number = next(numbers)
        yield answer(b'{"task_id": "t%d"}' % number)
        yield answer(b'{"task_id": "somebody-elses"}')

    with RawServer(serve) as server:
        assert [subject.do(create, workflow_url=server.url) for _ in range(3)] == ["t1", "t2", "t3"]


class TestNeverSent:
    def test_where_nobody_listens_it_is_tried_again(self, subject, refused):
        """A server that is being started again refuses for a while."""
        with deaf_url() as url:
            error = refused(url)
        assert error.sent == "no"
        assert error.transient
        assert len(subject.clock.sleeps) == 3
        assert "Connection refused" in str(error)

    @pytest.mark.parametrize("action", [create, query, cancel, resource], ids=lambda each: each.__name__)
    def test_and_said_within_five_seconds(self, subject, refused, action, caplog):
        """A server of one's own that was never reached is rather off than being restarted."""
        with deaf_url() as url:
            refused(url, action)
        assert subject.clock.now - 1000 < 5
        assert sum("Connection refused" in each.getMessage() for each in caplog.records) >= 3

    @pytest.mark.parametrize("seconds", [1, 7, 600])
    def test_how_long_is_a_setting(self, subject, seconds):
        """For a server that was reached, or a public one."""
        with RawServer(lambda _: iter([answer(b"{}", "503 Busy")])) as server, pytest.raises(ServerError):
            subject.do(query, workflow_url=server.url, retry_seconds=seconds)
        assert seconds / 2 - 1 <= subject.clock.now - 1000 <= seconds

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5", None, True])
    def test_no_other_setting(self, subject, seconds):
        with pytest.raises(ConfigurationError, match="retry_seconds"):
            subject.do(query, retry_seconds=seconds)

    def test_one_that_drops_what_is_sent_to_it_is_given_no_longer(self, subject, refused):
        """Nobody is let in, and nobody turned away, as by a machine that is switched off."""
        subject.options["clock"] = time.monotonic
        with full_url() as url:
            began = time.monotonic()
            assert refused(url).sent == "no"
        assert time.monotonic() - began < 10

    @pytest.mark.parametrize(
        "name", ["gpu.lan", "box.home.arpa", "gpu-box.local", "nas.corp", "gpu.my-company.example"]
    )
    @pytest.mark.parametrize("action", [query, create], ids=lambda each: each.__name__)
    def test_nor_is_one_with_a_name(self, subject, refused, monkeypatch, name, action):
        subject.options["clock"] = time.monotonic
        monkeypatch.setattr(http, "UNREACHED_SECONDS", 0.3)
        monkeypatch.setattr(session, "REFUSED_SECONDS", 0.3)
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *rest, **options: real("127.0.0.1" if host == name else host, *rest, **options),
        )
        with full_url() as url:
            began = time.monotonic()
            assert refused(url.replace("127.0.0.1", name), action).sent == "no"
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("action", [query, cancel, create], ids=lambda each: each.__name__)
    def test_one_that_was_reached_is_waited_for_as_ever(self, subject, refused, action):
        with RawServer(lambda _: iter([answer(b"{}", "404 Unknown")])) as server, pytest.raises(NotFoundError):
            subject.do(query, workflow_url=server.url)
        refused(server.url, action)
        assert subject.clock.now - 1000 > 40

    def test_a_public_one_is_too(self, subject, refused, monkeypatch):
        def connect(self, address):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: real("192.0.2.1", 443, type=socket.SOCK_STREAM))
        monkeypatch.setattr(socket.socket, "connect", connect)
        refused(DEFAULT_URL)
        assert subject.clock.now - 1000 > 40

    def test_and_so_is_what_may_be_paid(self, subject):
        updates = []
        with deaf_url() as url, pytest.raises(TaskTimeoutError, match="Connection refused"):
            subject.do(lambda c: c.wait_for_result("t1", timeout=300, on_update=updates.append), workflow_url=url)
        assert subject.clock.now - 1000 > 280
        assert "Connection refused, trying again in 1 s" in updates[0].describe()

    def test_nor_in_silence(self, subject, caplog):
        with deaf_url() as url, pytest.raises(TaskTimeoutError):
            subject.do(lambda c: c.wait_for_result("t1", timeout=300), workflow_url=url)
        assert "Trying again in 1 s: No answer from" in caplog.messages[0]

    @pytest.mark.parametrize("hello", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28"])
    def test_a_handshake_that_fails(self, refused, hello):
        with RawServer(lambda _: iter(()), eager=hello) as server:
            error = refused(server.url.replace("http:", "https:"))
        assert error.sent == "no"
        assert "No secure connection" in str(error)
        assert "may have been created" not in str(error)

    @pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EADDRNOTAVAIL])
    def test_where_no_way_leads_it_is_an_error_at_once(self, subject, refused, monkeypatch, number):
        def connect(self, address):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(socket.socket, "connect", connect)
        error = refused("http://192.0.2.1")
        assert not error.transient
        assert error.sent == "no"
        assert subject.clock.sleeps == []

    def test_a_name_that_nobody_has(self, subject, refused):
        error = refused("http://nobody.invalid")
        assert error.sent == "no"
        assert "its name is not known" in str(error) or "could not be looked up" in str(error)
        assert error.transient == ("not known" not in str(error))
        assert (subject.clock.sleeps == []) == (not error.transient)

    def test_a_name_that_was_reached_before_may_come_back(self, subject, monkeypatch):
        """A laptop that wakes up has no name server for a moment."""
        answers = [socket.gaierror(socket.EAI_NONAME, "unknown"), socket.gaierror(socket.EAI_AGAIN, "later")]
        real = socket.getaddrinfo

        def look_up(host, port, *rest, **options):
            if host != "seq.example":
                return real(host, port, *rest, **options)
            if first or not answers:
                first.clear()
                return real("127.0.0.1", port, *rest, **options)
            raise answers.pop(0)

        first = [True]
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        with RawServer(lambda _: iter([CREATED])) as server:
            for _ in range(2):
                assert subject.do(create, workflow_url=f"http://seq.example:{server.port}") == "t1"
        assert len([each for each in subject.clock.sleeps if each]) == 2


class TestSent:
    def test_a_connection_that_is_closed_leaves_a_create_in_doubt(self, subject, refused):
        with RawServer(lambda _: iter(())) as server:
            error = refused(server.url)
        assert error.sent == "maybe"
        assert "may have been created" in str(error)
        assert len(server.requests) == 1

    def test_a_proxy_that_refuses_the_tunnel_was_sent_nothing(self, refused, monkeypatch):
        with RawServer(lambda _: iter([answer(b"", "403 No")])) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:passphrase@127.0.0.1:{proxy.port}")
            error = refused("https://seq.example")
        assert error.sent == "no"
        assert not error.transient
        assert "403" in str(error)
        assert "passphrase" not in str(error)

    @pytest.mark.parametrize(
        "served", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"nonsense\r\n\r\n"], ids=["", "200", "nonsense"]
    )
    def test_nor_was_one_that_breaks_it(self, refused, monkeypatch, served):
        with RawServer(lambda _: iter([served])) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:passphrase@127.0.0.1:{proxy.port}")
            error = refused("https://seq.example")
        assert error.sent == "no"
        assert "passphrase" not in str(error)
        assert b"secret-key" not in b"".join(proxy.requests)

    def test_a_plain_proxy_may_have_passed_it_on(self, refused, monkeypatch):
        with RawServer(lambda _: iter([])) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://me:passphrase@127.0.0.1:{proxy.port}")
            error = refused("http://seq.example")
        assert error.sent == "maybe"
        assert len(proxy.requests) == 1

    @pytest.mark.parametrize("kind", ["socks5://me:passphrase@127.0.0.1:1", "http://me:passphrase@127.0.0.1:x"])
    def test_a_proxy_that_is_none_is_an_error_at_once(self, subject, refused, monkeypatch, kind):
        monkeypatch.setenv("HTTP_PROXY", kind)
        error = refused("http://seq.example")
        assert not error.transient
        assert subject.clock.sleeps == []
        assert "HTTP_PROXY" in str(error)
        assert "passphrase" not in str(error)


def test_nothing_of_a_request_is_in_the_log(subject, caplog):
    with RawServer(lambda _: iter([answer(b"{}", "503 No")])) as server, caplog.at_level(logging.DEBUG):
        with pytest.raises(ServerError):
            subject.do(create, workflow_url=server.url)
        with pytest.raises(ServerError):
            subject.do(query, workflow_url=server.url)
    assert "secret-key" not in caplog.text
