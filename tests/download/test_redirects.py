"""Where a redirect of the file server may lead."""

from __future__ import annotations

import pytest

from tests.support.downloads import BIG, MIDDLE, PNG, left_over
from tests.support.fake_file_server import FakeFileServer, File, redirect
from xalora_client import DownloadError
from xalora_client.client.download import redirected


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_is_followed(fetch, files, code):
    files.serve("/there/x.png", File(PNG))
    assert fetch(files.serve("/here/x", redirect("../there/x.png", code))).path.read_bytes() == PNG


def test_to_another_server(fetch, files):
    other = FakeFileServer()
    try:
        url = files.serve("/x", redirect(other.serve("/y.png", File(PNG))))
        assert fetch(url).path.read_bytes() == PNG
        assert "secret-key" not in str(other.seen)
    finally:
        other.close()


def test_a_break_behind_a_redirect_goes_on_from_there(fetch, files):
    files.serve("/y.png", File(BIG, etag='"v1"', break_after=MIDDLE), File(BIG, etag='"v1"'))
    assert fetch(files.serve("/x", redirect("/y.png"))).path.read_bytes() == BIG
    assert files.seen[-1].headers["if-range"] == '"v1"'


def test_where_one_leads_may_be_short_lived(fetch, files):
    """After a break, the way is followed anew: what was signed for the first try is refused by then."""
    files.serve("/signed-1.png", File(BIG, etag='"v1"', break_after=MIDDLE), File(b"expired", 403))
    files.serve("/signed-2.png", File(BIG, etag='"v1"'))
    url = files.serve("/x", redirect("/signed-1.png"), redirect("/signed-2.png"))
    assert fetch(url).path.read_bytes() == BIG
    assert files.seen[-1].headers["if-range"] == '"v1"'


def test_five_times_but_not_six(fetch, files, home):
    for number in range(6):
        files.serve(f"/{number}", redirect(f"/{number + 1}"))
    files.serve("/6", File(PNG))
    assert fetch(files.url + "/1").path.read_bytes() == PNG
    with pytest.raises(DownloadError, match="more than 5 times"):
        fetch(files.url + "/0")
    assert left_over(home) == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:image/png;base64,AAAA"])
def test_not_to_another_kind_of_address(fetch, files, target):
    with pytest.raises(DownloadError, match="unsafe address"):
        fetch(files.serve("/x", redirect(target)))


@pytest.mark.parametrize("target", ["http://[", "http://127.0.0.1:99999/", "http:///x", "//"])
def test_to_no_address_at_all(fetch, files, home, target):
    with pytest.raises(DownloadError):
        fetch(files.serve("/x", redirect(target)))
    assert left_over(home) == []


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://cdn.example/a/x", "y?z=1", "https://cdn.example/a/y?z=1"),
        ("https://cdn.example/a/x", "//other.example/y", "https://other.example/y"),
        ("http://cdn.example/x", "https://cdn.example/x", "https://cdn.example/x"),
        ("http://192.168.0.5/x", "http://192.168.0.6/x", "http://192.168.0.6/x"),
        ("http://192.168.0.5/x", "https://cdn.example/x", "https://cdn.example/x"),
        ("http://cdn.example/x", "http://8.8.8.8/x", "http://8.8.8.8/x"),
    ],
)
def test_where_it_may_lead(url, location, target):
    assert redirected(url, location) == target


@pytest.mark.parametrize(
    "location",
    ["http://cdn.example/x", "ftp://cdn.example/x", "file:///etc/passwd", "javascript:x", "data:,x"],
)
def test_never_from_https_to_less(location):
    with pytest.raises(DownloadError, match="unsafe address"):
        redirected("https://cdn.example/x", location)


def test_a_signed_address_is_not_shown(fetch, files):
    with pytest.raises(DownloadError) as caught:
        fetch(files.serve("/x", redirect("ftp://user:password@example/x?signature=abc")))
    assert "signature" not in str(caught.value)
    assert "password" not in str(caught.value)


def test_nor_is_it_when_the_connection_fails(fetch, files):
    url = files.serve("/x.png", File(drop=True))
    with pytest.raises(DownloadError) as caught:
        fetch(f"{url}?signature=abcdef")
    assert "abcdef" not in str(caught.value)
