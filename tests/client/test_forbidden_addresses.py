"""A result's address, and what it redirects to, is not followed to where only this machine can go."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from ipaddress import ip_address

import pytest

from tests.support.downloads import PNG, finished, left_over
from tests.support.fake_file_server import File
from tests.support.proxy import Proxy
from tests.support.raw_server import RawServer, answer
from xalora_client import DownloadError
from xalora_client.http.ssrf import Resolver, blocked_address, is_forbidden, is_forbidden_name
from xalora_client.http.transport import Exchange
from xalora_client.protocol.urls import Link

PUBLIC = "http://8.8.8.8"
"""Where a sequencer on the internet might be. Nothing is sent there: a finished task needs no question."""

NUMBERS = [
    "127.1", "0177.1", "0x7f.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.01", "00.0", "0", "127.0.0.1.",
    "0x7f.0.0.0x1", "127%2e0.0.1", "%31%32%37.1", "１２７.0.0.1", "127。0。0。1", "①②⑦.⓪", "127．1", "08.8.8.8",
    "169.254.43518", "134744072", "1.2.3.4.5", "8.8.8.8.", "10.0x",
]  # fmt: skip
"""Hosts that libraries read as an IPv4 address, or may: each as another one."""

SPELLINGS = [
    *NUMBERS, "127.0.0.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "user:pass@127.0.0.1", "localhost", "LOCALHOST.", "a.localhost", "files.example",
]  # fmt: skip
LINK_LOCAL = ["169.254.169.254", "2852039166", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"]


@pytest.fixture
def names(monkeypatch):
    """A name server that knows some names more."""
    known = {
        "files.example": ["127.0.0.1"],
        "meta.example": ["169.254.169.254"],
        "both.example": ["8.8.8.8", "10.0.0.1"],
    }
    real = socket.getaddrinfo

    def look_up(host, port, *rest, **options):
        if host in known:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in known[host]]
        return real(host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.fixture
def target():
    """A server of this machine."""
    with RawServer(lambda _: iter([answer(PNG)])) as server:
        yield server


@pytest.fixture
def download(subject):
    """Download, as told by a sequencer somewhere."""
    return lambda url, of=PUBLIC: subject.do(lambda c: c.download(finished(url)), workflow_url=of)


@pytest.mark.parametrize(
    ("address", "from_outside", "from_inside"),
    [
        ("8.8.8.8", False, False),
        ("2606:4700::1111", False, False),
        ("64:ff9b::808:808", False, False),
        ("::ffff:8.8.8.8", False, False),
        *((each, True, False) for each in ("127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1")),
        *((each, True, False) for each in ("0.0.0.0", "255.255.255.255", "240.0.0.1", "224.0.0.1", "192.0.2.1")),
        *((each, True, False) for each in ("::", "::1", "fd00::1", "fec0::1", "ff02::1", "2001:db8::1")),
        *((each, True, False) for each in ("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "::10.0.0.1")),
        *((each, True, True) for each in ("169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "2002:a9fe:a9fe::")),
        *((each, True, True) for each in ("64:ff9b::a9fe:a9fe", "fd00:ec2::254", "100.100.100.200")),
        *((each, True, True) for each in ("2606:4700::5efe:a9fe:a9fe", "2606:4700::200:5efe:169.254.1.1")),
        *((each, True, False) for each in ("2606:4700::5efe:7f00:1", "fd00::5efe:8.8.8.8")),
        ("2606:4700::5efe:8.8.8.8", False, False),
    ],
)
def test_which_addresses_they_are(address, from_outside, from_inside):
    found = ip_address(address)
    assert (is_forbidden(found, local=False), is_forbidden(found, local=True)) == (from_outside, from_inside)


@pytest.mark.parametrize("host", SPELLINGS)
def test_this_machine_is_not_asked_for_a_sequencer_elsewhere(download, target, names, home, host):
    with pytest.raises(DownloadError, match="private network") as caught:
        download(f"http://{host}:{target.port}/x.png")
    assert target.connections == 0
    assert caught.value.task_id == "t1"
    assert "fetch the file yourself" in str(caught.value)
    assert "pass@" not in str(caught.value)
    assert left_over(home) == []


@pytest.mark.parametrize("host", NUMBERS)
def test_nor_is_it_under_a_number_for_one_that_is_here(subject, target, home, host):
    with pytest.raises(DownloadError, match="is a number"):
        subject.do(lambda c: c.download(finished(f"http://{host}:{target.port}/x.png")))
    assert target.connections == 0


@pytest.mark.parametrize("host", [host for host in NUMBERS if re.fullmatch("[0-9a-fx.]+", host)])
def test_a_number_is_no_name_whoever_asks(host):
    assert is_forbidden_name(host, local=True)


def test_an_address_is_checked_although_no_library_looks_it_up(target):

    async def ask():
        resolver = Resolver(lambda address: address.is_loopback, blocked_address)
        async with Exchange(Link.parse(target.url), None, resolver, True) as exchange:
            await exchange.ask("GET", {})

    with pytest.raises(DownloadError, match="private network"):
        asyncio.run(ask())
    assert target.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "files.example"])
def test_but_for_one_that_is_here(subject, target, names, host):
    file = subject.do(lambda c: c.download(finished(f"http://{host}:{target.port}/x.png")))
    assert file.path.read_bytes() == PNG


@pytest.mark.parametrize("host", [*LINK_LOCAL, "meta.example"])
@pytest.mark.parametrize("of", [PUBLIC, "http://127.0.0.1", "http://169.254.1.1"])
def test_link_local_addresses_are_never_asked(download, names, host, of):
    with pytest.raises(DownloadError, match="private network"):
        download(f"http://{host}/latest/meta-data", of)


@pytest.mark.parametrize("of", ["http://files.example", "http://localhost:1"])
def test_a_sequencer_with_a_name_is_where_that_leads(download, target, names, of):
    assert download(f"{target.url}/x.png", of).path.read_bytes() == PNG


@pytest.mark.parametrize("of", ["http://both.example", "http://nobody.invalid"])
def test_one_that_is_not_surely_here_is_elsewhere(download, target, names, of):
    with pytest.raises(DownloadError, match="private network"):
        download(f"{target.url}/x.png", of)
    assert target.connections == 0


@pytest.mark.parametrize("location", ["http://127.0.0.1:{port}/x", "http://files.example:{port}/x", "//[::1]:{port}/x"])
def test_a_redirect_is_not_followed_there(download, target, names, monkeypatch, location):
    """The first address is asked through a proxy, the second would be without."""
    with RawServer(lambda _: iter([answer(b"", "302 Found", location=location.format(port=target.port))])) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,files.example,::1")
        with pytest.raises(DownloadError, match="private network"):
            download("http://cdn.example/x.png")
        assert len(proxy.requests) == 1
    assert target.connections == 0


class TestThroughAProxy:
    @pytest.fixture
    def proxy(self, monkeypatch):
        server = Proxy()
        monkeypatch.setenv("HTTP_PROXY", server.url)
        yield server
        server.close()

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost", "intranet", "printer.local", "metadata.google.internal"]
    )
    def test_what_is_local_by_its_name_is_refused(self, download, target, proxy, host):
        with pytest.raises(DownloadError, match="private network"):
            download(f"http://{host}:{target.port}/x.png")
        assert proxy.seen == []

    def test_the_proxy_itself_may_be_anywhere(self, subject, download, files, proxy):
        proxy.refusal = 451
        with pytest.raises(DownloadError, match="451"):
            download("http://cdn.example/x.png")
        assert proxy.targets() == [("GET", "http://cdn.example/x.png")]


def test_a_secure_server_may_name_a_plain_address(download, files, caplog):
    """It is paid for; but the way is said to be open."""
    url = files.serve("/x.png", File(PNG))
    with caplog.at_level(logging.WARNING, "xalora_client"):
        assert download(f"{url}?signature=abc", "https://127.0.0.1:1").path.read_bytes() == PNG
    (warning,) = [each.getMessage() for each in caplog.records if each.name == "xalora_client"]
    assert "without encryption" in warning
    assert "signature" not in warning


def test_a_plain_server_is_not_warned_of(subject, files, caplog):
    with caplog.at_level(logging.WARNING, "xalora_client"):
        subject.do(lambda c: c.download(finished(files.serve("/x", File(PNG)))))
    assert [each for each in caplog.records if each.name == "xalora_client"] == []
