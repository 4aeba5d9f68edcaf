"""Whatever a server answers is a result or an error of ours."""

from __future__ import annotations

import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from xalora_client import WorkflowTaskResult, XaloraError
from xalora_client.protocol import answers as reading
from xalora_client.protocol.requests import Credentials, Response, Sequencer

SEQUENCER = Sequencer("https://sequencer.example", Credentials("c", "secret-key"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
statuses = st.sampled_from(["waiting", "running", "finished", "failed", "canceled", "odd"]) | st.text()
answers = st.dictionaries(
    st.sampled_from(sorted(WorkflowTaskResult.__dataclass_fields__)) | st.text(), json_values
).flatmap(lambda fields: statuses.map(lambda name: fields | {"status": name}))
bodies = st.binary() | json_values.map(lambda v: json.dumps(v).encode()) | answers.map(lambda v: json.dumps(v).encode())
headers = st.dictionaries(
    st.sampled_from(["retry-after", "location", "content-type"]),
    st.text() | st.sampled_from(["3", "Wed, 21 Oct 2015 07:28:00 GMT", "9" * 400, "-1", "1e9", "٣"]),
)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([200, 201, 204, 301, 400, 404, 429, 500, 503]) | st.integers(100, 599), headers, bodies)
def test_any_answer_is_a_result_or_our_error(status, fields, body):
    response = Response(status, fields, body, 1e9)
    request = SEQUENCER.query("t1", SEQUENCER.credentials)
    with suppress(XaloraError):
        reading.check_status(response, request)
    with suppress(XaloraError):
        result = reading.read_result(response, request, server=SEQUENCER.url)
        assert result.task_id
        assert result.media_url is None or result.media_url.startswith(("http://", "https://"))
        assert isinstance(result.message, str | None)
    for read in (reading.read_created, reading.read_miner_id, reading.read_message):
        with suppress(XaloraError):
            assert read(response, request)
    assert (reading.read_retry_after(response) or 0) >= 0


def retry_after(value, now=0.0):
    return reading.read_retry_after(Response(429, {"retry-after": value}, b"", now))


@given(st.text() | st.sampled_from(["5", " 7 ", "0.5", "Mon, 01 Jan 2001 00:00:09 GMT"]), st.floats(0, 2e9))
def test_any_retry_after_is_seconds_or_nothing(value, now):
    seconds = retry_after(value, now)
    assert seconds is None or 0 <= seconds < 1e12


def test_retry_after_forms():
    assert retry_after("120") == 120
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40) == 60
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400) == 0
    assert retry_after("soon") is None
    assert reading.read_retry_after(Response(429, {}, b"", 0)) is None
