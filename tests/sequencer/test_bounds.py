"""What others may make long stays short in answers, on the page, in the metrics and in the log."""

from __future__ import annotations

import logging

import pytest
import requests

from tests.support.fake_miner import workflow
from xalora_client.sequencer.log import LONGEST, Bounded, OnceAMinute

HTML = {"Accept": "text/html"}
LONG = "n" * 90


def names(count, prefix=LONG):
    return [f"{prefix}{number}" for number in range(count)]


@pytest.fixture
def crowded(sequencer):
    """A sequencer whose miners offer 1,500 workflows."""
    server = sequencer()
    for each in range(3):
        server.miner(*(f"txt2vid.{name}" for name in names(500, f"{each}{LONG}")))
    return server


def test_a_refusal_names_few_of_many_workflows(crowded):
    more = {"consumer_id": "tester", "job_id": "j", "task_details": {"parameters": {}}}
    for body in (
        {"task_type": "txt2vid", "workflow_id": "none"},
        {"task_type": "txt2vid\n"},
        {"task_type": ["x" * 100_000]},
        {"task_type": "x" * 100_000},
        {"task_type": "txt2vid", "workflow_id": "x" * 100_000},
    ):
        for endpoint in ("task_create", "resource_request"):
            answer = crowded.post(endpoint, **more, **body)
            assert answer.status_code == 400
            assert len(answer.content) <= 2500
    assert "and 1,480 more" in crowded.try_create("txt2vid", {}, workflow_id="none").text


@pytest.mark.parametrize(
    "parameters",
    [
        [{"name": name, "kind": "number"} for name in names(8000, "p")],
        [{"name": "p0", "kind": "choice", "choices": names(8000, "c")}],
        [{"name": "p0", "kind": "choice", "choices": ["c" * 500_000]}],
    ],
    ids=["names", "choices", "a long choice"],
)
def test_nor_many_parameters(sequencer, parameters):
    server = sequencer()
    server.miner(workflow("sums.1", parameters))
    for given in ({}, {"p0": "none"}, {"none": 1}, {"n" * 100_000: 1}):
        answer = server.try_create("sums", given, workflow_id="1")
        assert answer.status_code == 400
        assert len(answer.content) <= 2500


def test_the_page_has_few_rows(sequencer):
    server = sequencer()
    for number in range(320):
        server.miner("txt2vid.1", name=f"<b>{number}" + "m" * 90)
    server.miner(*(f"txt2vid.{name}" for name in names(500)), name="last")
    for name in names(320):
        server.make(f"txt2vid.{name}")
    page = requests.get(server.url, headers=HTML, timeout=30).text
    assert page.count("<tr>") == 2 * 301
    assert "<b>" not in page
    assert len(page) < 200_000


def test_the_metrics_name_few_workflows(crowded):
    pytest.importorskip("prometheus_client", reason="needs the extra sequencer")
    for number in range(400):
        assert crowded.cancel(crowded.make(f"txt2vid.1{LONG}{number}")) == "canceled"
        crowded.make(f"txt2vid.2{LONG}{number}")
    for _ in range(2):  # Gauges are set anew each time.
        text = requests.get(f"{crowded.url}/metrics", timeout=30).text
        series = [line for line in text.splitlines() if line.startswith("xalora_tasks_ended_total")]
        assert len(series) <= 301
        assert 'xalora_tasks_ended_total{outcome="canceled",workflow="other"} 100.0' in series
        assert 'xalora_tasks_waiting{workflow="other"} 400.0' in text.splitlines()


def test_one_kind_of_problem_hides_no_other():
    log, texts = OnceAMinute(), []

    def note(error):
        try:
            raise error
        except (LookupError, OSError, ValueError) as caught:
            record = logging.LogRecord(
                "x", logging.ERROR, "", 1, "%s failed", ("it",), (type(caught), caught, caught.__traceback__)
            )
        if log.filter(record):
            texts.append(Bounded().format(record))

    for _ in range(100):
        for error in (KeyError("a"), OSError("b"), OSError("c"), ValueError("d" * 10**6)):
            note(error)
    assert len(texts) == 3
    assert max(map(len, texts)) <= LONGEST + 100
