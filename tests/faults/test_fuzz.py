"""Any bytes as an answer, as settings, as an address, as a file: a value, or an error of the SDK.

``XALORA_FUZZ_EXAMPLES`` says how many examples each test tries; a few hundred without it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.faults.checks import LONGEST_TEXT, odd_in
from xalora_client import TaskStatus, Text2VideoTask, WorkflowTaskResult, XaloraError
from xalora_client.config import load, store
from xalora_client.media.decoding.formats import SNIFF_BYTES, sniff
from xalora_client.protocol import answers
from xalora_client.protocol.requests import CreateRequest, Credentials, Request, Response, Sequencer
from xalora_client.protocol.urls import Link

SECRET = "canary-key-of-fuzzing"
SERVER = Sequencer("http://127.0.0.1:1", Credentials("consumer", SECRET))
CREATE = SERVER.create(CreateRequest(Text2VideoTask("a rabbit"), SERVER.credentials, "job-1"))
QUERY = SERVER.query("t-1", SERVER.credentials)

fuzzed = settings(
    max_examples=int(os.environ.get("XALORA_FUZZ_EXAMPLES", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_WORDS = st.sampled_from(
    [
        "",
        " ",
        "finished",
        "FAILED",
        "canceled",
        "waiting",
        "t-1",
        SECRET,
        "\ud800",
        "\u202e",
        "\x00",
        "x" * 5000,
        "http://a/b",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_NAMES = st.sampled_from(
    ["task_id", "miner_id", "status", "result", "msg", "message", "error", "detail", "url", "create_timestamp"]
)
_OBJECTS = st.dictionaries(_NAMES | st.text(max_size=8), _VALUES, max_size=8)
_ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be"])


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    """Bytes, or JSON, whole or damaged."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    body = json.dumps(draw(_OBJECTS | _VALUES)).encode(draw(_ENCODINGS))
    if draw(st.booleans()) and body:
        at = draw(st.integers(0, len(body) - 1))
        body = body[:at] + draw(st.binary(max_size=4)) + body[at + draw(st.integers(0, 3)) :]
    return body


_HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "location", "content-type"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40) | _WORDS,
)


def responses(statuses: st.SearchStrategy[int]) -> st.SearchStrategy[Response]:
    """Answers with any body and headers."""
    return st.builds(Response, statuses, _HEADERS, _bodies(), st.just(1.7e9))


def assert_fit_to_be_shown(error: XaloraError) -> None:
    """Its text may be printed, logged and shown to people."""
    text = f"{error}"
    assert SECRET not in f"{text}{error!r}"
    assert odd_in(text) is None
    assert len(text) <= LONGEST_TEXT


@fuzzed
@given(responses(st.integers(200, 299)))
@example(Response(200, {}, b"[" * 100_000, 0.0))
@example(Response(200, {}, b'{"task_id": ' + b"9" * 10_000 + b"}", 0.0))
def test_a_create_is_answered_with_an_id_or_an_error(response: Response) -> None:
    try:
        task_id, _ = answers.read_created(response, CREATE)
    except XaloraError as error:
        assert_fit_to_be_shown(error)
    else:
        assert 0 < len(task_id) <= 256
        assert task_id.strip()
        assert odd_in(task_id) is None
        SERVER.query(task_id, SERVER.credentials).content().decode()


@fuzzed
@given(responses(st.integers(200, 299)))
def test_a_query_is_answered_with_a_result_or_an_error(response: Response) -> None:
    try:
        result = answers.read_result(response, QUERY, server=SERVER.url)
    except XaloraError as error:
        assert_fit_to_be_shown(error)
    else:
        assert result.task_id == "t-1"
        assert isinstance(result.status, TaskStatus) or len(result.status) <= 100
        shown = f"{result.status}{result.message or ''}"
        assert odd_in(shown) is None
        assert SECRET not in repr(result)
        json.dumps(result.extra).encode()


@fuzzed
@given(responses(st.integers(200, 299)))
def test_a_cancel_is_answered_with_words_or_an_error(response: Response) -> None:
    try:
        words = answers.read_message(response, QUERY)
    except XaloraError as error:
        assert_fit_to_be_shown(error)
    else:
        assert odd_in(words) is None
        assert SECRET not in words


@fuzzed
@given(responses(st.integers(100, 199) | st.integers(300, 999)), st.sampled_from([CREATE, QUERY]))
@example(Response(307, {"location": "https://[::1"}, b"", 0.0), CREATE)
@example(Response(308, {"location": f"https://{SECRET}:99999/"}, b"", 0.0), CREATE)
def test_any_other_status_is_an_error(response: Response, request: Request) -> None:
    with pytest.raises(XaloraError) as caught:
        answers.check_status(response, request)
    assert_fit_to_be_shown(caught.value)


_LINES = st.tuples(
    st.sampled_from(["XALORA_API_KEY", "XALORA_WORKFLOW_URL", "XALORA_HOME_", "export XALORA_API_KEY", "#", ""]),
    st.sampled_from(["=", "", " = ", '="', "='"]),
    st.text(max_size=30)
    | st.sampled_from(["consumer#key", "http://127.0.0.1:1", "http://", "sandbox", "${HOME}", "\\u0000"]),
).map("".join)


@fuzzed
@given(
    st.binary(max_size=200)
    | st.lists(_LINES, max_size=5).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))
)
def test_any_dotenv_gives_settings_or_an_error(tmp_path: Path, content: bytes) -> None:
    Path(".env").write_bytes(content)
    _load(tmp_path)


_SETTINGS = st.dictionaries(st.sampled_from(["api_key", "workflow_url", "x"]), _VALUES, max_size=3)


@fuzzed
@given(st.binary(max_size=200) | (_SETTINGS | _VALUES).map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
def test_any_stored_settings_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    _load(tmp_path)


@fuzzed
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_key_and_address_are_taken_or_refused(tmp_path: Path, key: str, url: str) -> None:
    _load(tmp_path, api_key=key, workflow_url=url)
    try:
        store(tmp_path, api_key=key, workflow_url=url)
    except XaloraError:
        return
    _load(tmp_path)


def _load(home: Path, **given_values: Any) -> None:
    try:
        config = load(home=home, **given_values)
    except XaloraError as error:
        assert_fit_to_be_shown(error)
        return
    assert config.is_sandbox or config.workflow_url.lower().startswith(("http://", "https://"))


_ADDRESSES = st.text(max_size=60) | st.tuples(
    st.sampled_from(["http://", "https://", "HTTP://", "http:", "//", "ftp://"]),
    st.sampled_from(["", "me:pw@", "@", "a@b@", "[", "\\"]),
    st.text(max_size=20)
    | st.sampled_from(["127.0.0.1", "[::1]", "[fe80::1%25lo]", "a.example", "0x7f.1", "１２７.1", "ü.example"]),
    st.sampled_from(["", ":", ":0", ":80", ":99999", ":x", ":-1"]),
    st.text(max_size=20) | st.sampled_from(["/", "/a%2fb", "/..", "?x", "#y", "/ü"]),
).map("".join)


@fuzzed
@given(_ADDRESSES, _ADDRESSES)
def test_any_address_is_one_or_is_none(text: str, location: str) -> None:
    try:
        link = Link.parse(text)
    except ValueError:
        return
    assert link.host.isascii()
    assert 0 < link.port < 65536
    assert link.target.isascii()
    assert link.target.startswith("/")
    assert not set(link.target) & set(" \r\n\t\x00")
    again = Link.parse(link.text)
    assert (again.scheme, again.host, again.port, again.target) == (link.scheme, link.host, link.port, link.target)
    try:
        link.join(location)
    except ValueError:
        return


@fuzzed
@given(_VALUES)
def test_any_result_has_an_address_or_none(value: Any) -> None:
    result = WorkflowTaskResult.from_answer(
        {"status": "finished", "result": value}, task_id="t-1", server="http://127.0.0.1:1"
    )
    assert result.media_url is None or result.media_url.lower().startswith(("http://", "https://"))


_STARTS = st.sampled_from(
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x10\0\0\0WEBP", b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3",
    b"RIFF\0\0\0\0AVI ",
     b"<!doctype html>", b"<?xml", b"{", b"\xef\xbb\xbf", b"II*\0", b"BM", b"\0\0\1\0", b"OggS", b"ID3",
     b"\0\0\0\x0cJXL "]
)  # fmt: skip


@fuzzed
@given(st.binary(max_size=SNIFF_BYTES) | st.tuples(_STARTS, st.binary(max_size=100)).map(b"".join))
def test_any_bytes_are_a_format_or_none(data: bytes) -> None:
    found = sniff(data)
    assert found is None or found.mime_type.partition("/")[0] in ("image", "video")
