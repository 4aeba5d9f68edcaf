"""Who may use our routes, told by a request's headers."""

from __future__ import annotations

import pytest

JSON = {"Content-Type": "application/json"}
LOCAL = {"Host": "127.0.0.1:8188"}


@pytest.fixture
def refusal(pack):
    return pack.part("nodes.editor_api.same_origin").problem


@pytest.mark.parametrize(
    "headers",
    [
        LOCAL,
        LOCAL | {"Origin": "http://127.0.0.1:8188"},
        LOCAL | {"Sec-Fetch-Site": "none"},
        {"Host": "localhost:8188", "Origin": "http://localhost:8188", "Sec-Fetch-Site": "same-origin"},
        {"Host": "[::1]:8188", "Origin": "http://[::1]:8188"},
        {"Host": "192.168.1.7:8188"},
        {"Host": "workstation:8188", "Origin": "http://workstation:8188"},
        {"Host": "workstation.local:8188"},
        # A proxy that speaks https: a browser sends this header only there.
        {"Host": "comfy.example.com", "Origin": "https://comfy.example.com", "Sec-Fetch-Site": "same-origin"},
        {"Host": "127.0.0.1:8188", "Origin": "https://comfy.example.com", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_the_own_editor_and_programs_are_let_in(refusal, headers):
    assert refusal("GET", headers) is None
    assert refusal("POST", headers | JSON) is None
    assert refusal("POST", headers | {"Content-Type": "application/json; charset=utf-8"}) is None


@pytest.mark.parametrize(
    "headers",
    [
        LOCAL | {"Origin": "http://evil.example"},
        LOCAL | {"Origin": "http://127.0.0.1:9999"},
        LOCAL | {"Origin": "null"},
        LOCAL | {"Sec-Fetch-Site": "cross-site"},
        LOCAL | {"Sec-Fetch-Site": "same-site"},
        # DNS rebinding: the page's own name leads here.
        {"Host": "evil.example:8188"},
        {"Host": "evil.example:8188", "Origin": "http://evil.example:8188"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "evil.example:8188", "Sec-Fetch-Site": "none"},
    ],
)
def test_other_sites_are_not(refusal, headers):
    assert refusal("GET", headers)
    assert refusal("POST", headers | JSON)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_form_can_send_is_not_taken(refusal, kind):
    assert "JSON" in refusal("POST", LOCAL | {"Content-Type": kind})
