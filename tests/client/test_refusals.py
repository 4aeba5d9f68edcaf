"""Only an answer that says so settles a create as refused; whatever else comes back leaves it in doubt."""

from __future__ import annotations

import pytest

from tests.support.fake_sequencer import DROP, Answer, status
from tests.support.ledger_steps import records_of
from xalora_client import ResponseError, Text2VideoTask, XaloraError
from xalora_client.ledger import Ledger

TASK = Text2VideoTask("a rabbit")
REFUSALS = [400, 401, 402, 403, 404, 405, 406, 407, 410, 411, 413, 414, 415, 421, 422, 426, 431, 451, 307, 308]
REFUSALS += [501, 505, 507, 511]
DOUBTS = [300, 301, 302, 303, 304, 305, 408, 409, 418, 444, 499, 500, 502, 503, 504, 520, 599]


def create(keeper):
    return keeper.do(lambda c: c.execute_workflow(TASK))


def job_ids(sequencer):
    return [seen.body["job_id"] for seen in sequencer.seen if seen.path == "/task_create"]


@pytest.mark.parametrize("code", REFUSALS)
def test_what_says_that_nothing_was_done_is_a_refusal(keeper, sequencer, code):
    sequencer.script("task_create", Answer({"message": "no"}, code), Answer({"task_id": "t1"}))
    with pytest.raises(XaloraError) as caught:
        create(keeper)
    assert caught.value.advice
    with Ledger(keeper.options["home"]) as ledger:
        assert records_of(ledger)[0].state == "refused"
    create(keeper)
    first, second = job_ids(sequencer)
    assert first != second


@pytest.mark.parametrize("code", [500, 503])
def test_so_is_what_says_it_in_its_body(keeper, sequencer, code):
    """As our own sequencer does, whose 503 may mean that no miner has been there."""
    sequencer.script(
        "task_create", Answer({"message": "no miner", "processed": False}, code), Answer({"task_id": "t1"})
    )
    with pytest.raises(XaloraError) as caught:
        create(keeper)
    assert "charged" not in str(caught.value)
    assert keeper.clock.sleeps == []
    create(keeper)
    first, second = job_ids(sequencer)
    assert first != second


@pytest.mark.parametrize("code", [408, 500, 503])
@pytest.mark.parametrize("word", [True, None, "no", 0])
def test_but_not_what_only_resembles_it(keeper, sequencer, code, word):
    sequencer.script("task_create", Answer({"processed": word}, code))
    with pytest.raises(XaloraError, match="may have been created"):
        create(keeper)


@pytest.mark.parametrize("code", DOUBTS)
def test_what_does_not_say_so_is_sent_again_under_its_job_id(keeper, sequencer, code):
    sequencer.script("task_create", Answer({"message": "hm"}, code), Answer({"task_id": "t1"}))
    with pytest.raises(XaloraError) as caught:
        create(keeper)
    first = job_ids(sequencer)[0]
    assert first in str(caught.value)
    assert "charged" in str(caught.value)
    create(keeper)
    assert job_ids(sequencer) == [first, first]


@pytest.mark.parametrize(
    "answer",
    [
        DROP,
        Answer(b"<html>"),
        Answer(b""),
        Answer([]),
        Answer({"msg": "queued"}),
        Answer({"task_id": ""}),
        Answer({"task_id": " \t "}),
        Answer({"task_id": "x" * 257}),
        Answer({"task_id": "a\nb"}),
        Answer({"task_id": "a\ud800"}),
        Answer({"task_id": ["t1"]}),
        Answer({"task_id": True}),
    ],
    ids=repr,
)
def test_a_create_without_a_usable_id_names_the_job(keeper, sequencer, answer):
    sequencer.script("task_create", answer, Answer({"task_id": "t1"}))
    with pytest.raises(XaloraError) as caught:
        create(keeper)
    first = job_ids(sequencer)[0]
    assert first in str(caught.value)
    assert "may have been created and charged" in str(caught.value)
    assert create(keeper) == "t1"
    assert job_ids(sequencer) == [first, first]


def test_without_a_ledger_the_job_is_for_the_user_to_look_for(subject, sequencer):
    sequencer.script("task_create", Answer({"msg": "queued"}))
    with pytest.raises(ResponseError, match="look for the job in your account"):
        subject.do(lambda c: c.execute_workflow(TASK))
    assert len(job_ids(sequencer)) == 1


@pytest.mark.parametrize("code", [408, 425, 429])
def test_what_was_put_off_is_sent_again_by_itself(keeper, sequencer, code):
    sequencer.script("task_create", Answer({"processed": False}, code), Answer({"task_id": "t1"}))
    assert create(keeper) == "t1"
    first, second = job_ids(sequencer)
    assert first == second


@pytest.mark.parametrize("code", [405, 407, 413, 415, 425, 451, 501, 505, 511])
def test_unusual_statuses_come_with_advice(subject, sequencer, code):
    sequencer.script("task_cancel", Answer({}, code))
    with pytest.raises(XaloraError) as caught:
        subject.do(lambda c: c.cancel_task("t1"))
    assert caught.value.advice
    assert caught.value.status_code == code


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (413, b"<html><head><title>413 Request Entity Too Large</title></head><center>cloudflare</center></html>"),
        (413, b"Request Entity Too Large"),
        (413, b""),
        (413, {"message": "Request Too Long"}),  # AWS API Gateway
        (413, {"message": "Request size limit exceeded"}),  # Kong
        (413, {"error": "entity too large"}),
        (413, {"timestamp": 1, "status": 413, "error": "Payload Too Large", "path": "/task_create"}),  # Spring
        (413, {"statusCode": 413, "message": "Request body is too large."}),  # Azure
        (413, {"fault": {"faultstring": "Body buffer overflow", "detail": {"errorcode": "TooBigBody"}}}),  # Apigee
        (400, {"message": "Request body too large."}),
        (400, b"http: request body too large"),  # Go
        (400, {"error": {"code": 400, "message": "Request payload size exceeds the limit: 20971520 bytes."}}),  # Google
    ],
)
def test_a_body_that_is_too_large_for_a_proxy_is_refused_in_words(keeper, sequencer, code, body):
    sequencer.script("task_create", Answer(body, code))
    with pytest.raises(XaloraError, match=f"{code}: a proxy before the server refuses.*client_max_body_size") as caught:
        create(keeper)
    assert caught.value.status_code == code
    with Ledger(keeper.options["home"]) as ledger:
        assert records_of(ledger)[0].state == "refused"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (413, "the image is larger than 128 MiB"),
        (413, "the body has more than 2 MiB beside long data: URIs"),
        (413, "the image is too large: 200 megapixels"),
        (400, "prompt is too long"),
        (400, "width exceeds the limit of the workflow"),
        (431, "Request Header Fields Too Large"),
        (403, "Request body too large"),
    ],
)
def test_what_the_server_itself_says_is_passed_on(keeper, sequencer, code, words):
    sequencer.script("task_create", Answer({"message": words}, code))
    with pytest.raises(XaloraError, match=words) as caught:
        create(keeper)
    assert "client_max_body_size" not in str(caught.value)


@pytest.mark.parametrize("ended", ["canceled", "finished"])
def test_after_a_cancel_the_ledger_knows_how_the_task_ended(keeper, sequencer, ended):
    create(keeper)
    sequencer.script("task_result_query", status(ended))
    keeper.do(lambda c: c.cancel_task("t1"))
    with Ledger(keeper.options["home"]) as ledger:
        assert records_of(ledger)[0].state == ended


def test_a_cancel_of_a_strangers_task_asks_nothing_more(keeper, sequencer):
    keeper.do(lambda c: c.cancel_task("t9"))
    assert sequencer.paths() == ["task_cancel"]
