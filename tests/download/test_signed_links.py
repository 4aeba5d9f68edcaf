"""What stands in a link arrives at the file server as it is, at nobody else, and in no text."""

from __future__ import annotations

import logging

import pytest

from tests.faults.network import PUBLIC, Network
from tests.support.downloads import PNG
from tests.support.proxy import Proxy
from tests.support.raw_server import RawServer, answer, header
from xalora_client import DecodeError, DownloadError, TaskStatus, WorkflowTaskResult

TARGETS = [
    "/a%2Fb%2fc.png", "/~a/%7Eb", "/a:@,;+!$&'()*=b", "/a/../b/./c", "//a//b", "/x?", "/x?a=%zz&b=+&c=%2F%2f&d=~;:@,/?",
    "/%", '/"<>{}|^`[]\\', "/?X-Amz-Signature=0aF&x", "",
]  # fmt: skip
RAW = [("/é b?ü=€", "/%C3%A9%20b?%C3%BC=%E2%82%AC"), ("/%C3%A9é", "/%C3%A9%C3%A9")]
CASES = [(each, each or "/") for each in TARGETS] + RAW


@pytest.fixture
def server():
    with RawServer(lambda _: iter([answer(PNG)])) as made:
        yield made


@pytest.mark.parametrize(("written", "sent"), CASES)
def test_it_arrives_byte_for_byte(fetch, server, written, sent):
    assert fetch(f"{server.url}{written}#part").path.read_bytes() == PNG
    assert server.targets() == [sent.encode()]


@pytest.mark.parametrize(("written", "sent"), CASES)
def test_also_behind_a_redirect(fetch, server, written, sent):
    location = f"{server.url}{written}#part"
    with RawServer(lambda _: iter([redirect(location)])) as first:
        assert fetch(f"{first.url}/x").path.read_bytes() == PNG
    assert server.targets() == [sent.encode()]


@pytest.mark.parametrize(("written", "sent"), [each for each in CASES if each[0][:1] == "/" and each[0][:2] != "//"])
def test_also_behind_one_on_the_same_server(fetch, written, sent):
    def serve(request):
        yield answer(PNG) if b"/first" not in request.split(b"\r\n")[0] else redirect(written)

    with RawServer(serve) as server:
        assert fetch(f"{server.url}/first?x").path.read_bytes() == PNG
    assert server.targets()[-1] == sent.encode()


@pytest.mark.parametrize(("written", "sent"), CASES)
def test_also_through_a_proxy(fetch, server, monkeypatch, written, sent):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    assert fetch(f"http://cdn.example:81{written}").path.read_bytes() == PNG
    assert server.targets() == [f"http://cdn.example:81{sent}".encode()]


def redirect(location):
    # As bytes: a raw UTF-8 header is what such servers send.
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location.encode() + b"\r\n\r\n"


class TestLogins:
    def test_are_for_that_server_alone(self, fetch, server):
        with RawServer(lambda _: iter([redirect(f"{server.url}/x.png")])) as first:
            fetch(f"http://us%65r:p%40ss@127.0.0.1:{first.port}/x")
        assert header(first.requests[0], "authorization") == "Basic dXNlcjpwQHNz"
        assert header(server.requests[0], "authorization") is None
        assert b"p%40ss" not in first.requests[0]

    def test_hold_on_the_same_server(self, fetch):
        def serve(request):
            yield answer(PNG) if b"/there" in request else redirect("/there")

        with RawServer(serve) as server:
            fetch(f"http://user:pass@127.0.0.1:{server.port}/x")
        assert [header(each, "authorization") for each in server.requests] == ["Basic dXNlcjpwYXNz"] * 2

    @pytest.mark.parametrize(
        "served",
        [
            answer(b"no", "403 Forbidden"),
            answer(b"no media"),
            b"nonsense\r\n\r\n",
            answer(PNG, content_length=str(len(PNG) + 1)),
            answer(b"", "302 Found", location="http://other:secret@[/?signature=ABC"),
            answer(b"", "302 Found", location="ftp://other:secret@a.example/?signature=ABC"),
            answer(b"", "302 Found", location="http://other:secret@169.254.169.254/?signature=ABC"),
        ],
        ids=["403", "no media", "no HTTP", "broken off", "no address", "other kind", "forbidden"],
    )
    def test_and_signatures_are_in_no_text(self, fetch, caplog, served):
        with (
            RawServer(lambda _: iter([served])) as server,
            caplog.at_level(logging.DEBUG),
            pytest.raises((DownloadError, DecodeError)) as caught,
        ):
            fetch(f"http://user:secret@127.0.0.1:{server.port}/x?signature=ABC")
        texts = [str(caught.value), repr(caught.value), *(each.getMessage() for each in caplog.records)]
        error = caught.value
        while (error := error.__cause__) is not None:
            texts.append(str(error))
        assert not [each for each in texts if "secret" in each or "ABC" in each]

    @pytest.mark.parametrize("result", ["http://user:secret@:0/?signature=ABC", "//user:secret@[/?signature=ABC"])
    def test_of_a_link_that_is_none_are_not_shown_either(self, subject, result):
        nowhere = WorkflowTaskResult("t1", TaskStatus.FINISHED, result)
        with pytest.raises(DownloadError, match="cannot be read") as caught:
            subject.do(lambda c: c.download(nowhere))
        assert "secret" not in str(caught.value)
        assert "ABC" not in str(caught.value)


def test_no_cookie_is_kept_nor_who_sent_one_there(fetch, subject, sequencer):
    def serve(request):
        cookies = {"set_cookie": "a=b; Path=/"}
        yield answer(PNG, **cookies) if b"/there" in request else answer(b"", "302 Found", location="/there", **cookies)

    with RawServer(serve) as server:
        for _ in range(2):
            fetch(f"{server.url}/here")
    assert len(server.requests) == 4
    for each in server.requests:
        assert header(each, "cookie") is None
        assert header(each, "referer") is None


def test_the_sequencers_cookies_are_not_kept_either(subject):
    with RawServer(lambda _: iter([answer(b'{"status": "running"}', set_cookie="a=b")])) as server:

        def twice(client):
            if subject.kind == "blocking":
                return client.query_task_result("t1"), client.query_task_result("t1")
            return both(client)

        async def both(client):
            return await client.query_task_result("t1"), await client.query_task_result("t1")

        subject.do(twice, workflow_url=server.url)
    assert [header(each, "cookie") for each in server.requests] == [None, None]


@pytest.fixture
def proxy():
    made = Proxy()
    yield made
    made.close()


def test_a_login_of_the_link_does_not_go_to_the_proxy(fetch, proxy, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://me:mine@{proxy.address}")
    with Network({}).watched():
        fetch(f"http://user:pass@{PUBLIC}:{server.port}/x")
    ((_, target, headers),) = proxy.seen
    assert "pass" not in target
    assert headers["proxy-authorization"] == "Basic bWU6bWluZQ=="
    assert header(server.requests[0], "authorization") == "Basic dXNlcjpwYXNz"
    assert header(server.requests[0], "proxy-authorization") is None
