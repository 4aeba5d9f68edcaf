"""Addresses are taken apart and put together without changing what is sent."""

from __future__ import annotations

import pytest

from xalora_client import ConfigurationError
from xalora_client.config import load
from xalora_client.protocol.answers import WorkflowTaskResult
from xalora_client.protocol.urls import Link, display_url

IMPOSSIBLE = [
    "", "cdn.example/x", "ftp://cdn.example/x", "http:/x", "http:x", "http://", "http:///x", "http://:80/",
    "http://a b/", "http://a:0/", "http://a:65536/", "http://a:x/", "http://[/", "http://[::1", "http://[::1%25lo]/", "http://a..b/",
    "http://.a/", "http://*/", "http://a%00b/", "http://%ff/", "http://1.2.3.4.5/", "http://999.1.1.1/", "http://0x/",
    "http://xn--ü.example/", "http://\ud800.example/", f"http://{'a' * 64}.example/", f"http://{'a.' * 127}example/",
    "http://a\tb/", "http://a/\r\nX: y", "http://a/\0",
]  # fmt: skip


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match="address") as caught:
        Link.parse(text)
    assert "X: y" not in str(caught.value)


@pytest.mark.parametrize("text", [each for each in IMPOSSIBLE if each not in ("", "cdn.example/x")])
def test_a_server_cannot_have_it_either(text):
    """A server's address alone may lack its scheme."""
    with pytest.raises(ConfigurationError, match="XALORA_WORKFLOW_URL"):
        load("a#bcdefgh", text)


@pytest.mark.parametrize("text", ["http://u:p@a.example/", "http://a.example/?x", "http://a.example/#x"])
def test_a_server_has_a_plain_address(text):
    with pytest.raises(ConfigurationError, match="XALORA_WORKFLOW_URL") as caught:
        load("a#bcdefgh", text)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    ["127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127%2e0.0.1", "１２７.0.0.1", "127。0。0。1",
     "127.0.0.1.", "256.1.1.1", "1.2.3.4.5", "files.1"],
)  # fmt: skip
def test_a_host_that_is_a_number_has_one_spelling(host):
    assert Link.parse("http://127.0.0.1/x").host == "127.0.0.1"
    with pytest.raises(ValueError, match="is a number"):
        Link.parse(f"http://{host}/x")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("HTTP://CDN.Example/x", "cdn.example", 80),
        ("https://cdn.example", "cdn.example", 443),
        ("http://cdn.example:/x", "cdn.example", 80),
        ("http://cdn.example:8080?x", "cdn.example", 8080),
        ("http://[2606:4700:0::A]:81/", "2606:4700::a", 81),
        ("http://bücher.example/", "xn--bcher-kva.example", 80),
        ("http://a_b-.example./", "a_b-.example.", 80),
        (r"http://cdn.example\@files.example/", "files.example", 80),
        ("http://u:p@v@files.example/", "files.example", 80),
    ],
)
def test_whom_it_means(text, host, port):
    link = Link.parse(text)
    assert (link.host, link.port) == (host, port)


@pytest.mark.parametrize(
    "target",
    ["/", "/a%2Fb%2fc", "/~a/%7Eb", "/a:@,;+!$&'()*=b", "/a/../b/./c", "//a//b", "/x?", "/x?a=%zz&b=+&c=%2F%2f", "/%",
     '/"<>{}|^`[]\\', "/x?a?b/../c"],
)  # fmt: skip
def test_what_is_sent_stays_as_it_is(target):
    assert Link.parse(f"https://cdn.example{target}#part").target == target
    assert Link.parse("http://a.example/b?c").join(f"https://cdn.example{target}#part").target == target


@pytest.mark.parametrize(
    ("written", "sent"),
    [("/é b?ü=€", "/%C3%A9%20b?%C3%BC=%E2%82%AC"), ("/%C3%A9é", "/%C3%A9%C3%A9"), ("/\udce9", "/%E9")],
)
def test_what_is_not_ascii_is_encoded_once(written, sent):
    assert Link.parse(f"http://cdn.example{written}").target == sent


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("", "https://u:p@cdn.example/a/b/c?x=1"),
        ("#part", "https://u:p@cdn.example/a/b/c?x=1"),
        ("?", "https://u:p@cdn.example/a/b/c?"),
        ("?y", "https://u:p@cdn.example/a/b/c?y"),
        ("d", "https://u:p@cdn.example/a/b/d"),
        ("./d?e", "https://u:p@cdn.example/a/b/d?e"),
        ("../d/../e%2f", "https://u:p@cdn.example/a/d/../e%2f"),
        ("..", "https://u:p@cdn.example/a/"),
        ("../../../../d", "https://u:p@cdn.example/d"),
        (".../d", "https://u:p@cdn.example/a/b/.../d"),
        ("/d//e/../f", "https://u:p@cdn.example/d//e/../f"),
        ("//other.example/d", "https://other.example/d"),
        ("HTTPS://other.example/d/../e?", "https://other.example/d/../e?"),
    ],
)
def test_where_a_redirect_leads(location, target):
    assert Link.parse("https://u:p@cdn.example/a/b/c?x=1").join(location).text == target


def test_login_and_query_are_not_shown():
    link = Link.parse("https://user:p%40ss@cdn.example:444/a?signature=abc#part")
    assert link.authorization == "Basic dXNlcjpwQHNz"
    assert (
        link.display_url
        == display_url("https://user:p%40ss@cdn.example:444/a?signature=abc")
        == "https://cdn.example:444/a"
    )
    assert not any(word in repr(link) for word in ("user", "p%40ss", "signature"))
    assert "secret" not in display_url("http://me:secret@:0/")
    assert len(display_url("http://cdn.example/" + "a" * 10_000)) <= 200


@pytest.mark.parametrize(
    ("result", "address"),
    [
        ("https://cdn.example/a/../b//c?x=%2f&y=é", "https://cdn.example/a/../b//c?x=%2f&y=é"),
        (" https://cdn.example/x ", "https://cdn.example/x"),
        ("x y#1.mp4", "https://seq.example/base/x%20y%231.mp4"),
        ("/media//x%2F.mp4?a=1:2", "https://seq.example/media//x%2F.mp4?a=1:2"),
        ({"url": "media/x.mp4"}, "https://seq.example/base/media/x.mp4"),
        ("http://", None),
        ("file:///etc/passwd", None),
    ],
)
def test_where_a_result_is(result, address):
    answer = {"status": "finished", "result": result}
    read = WorkflowTaskResult.from_answer(answer, task_id="t1", server="https://seq.example/base")
    assert read.media_url == address
