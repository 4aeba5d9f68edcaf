"""What both clients promise, against real HTTP on loopback."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.support.fake_sequencer import Answer, status
from xalora_client import (
    APIStatusError,
    AsyncClient,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InvalidParameterError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseError,
    ServerError,
    TaskCanceledError,
    TaskFailedError,
    TaskStatus,
    Text2VideoTask,
    WorkflowTask,
)

TASK = Text2VideoTask("a rabbit", workflow_id="1")


def make(client, **options):
    return client.execute_workflow_and_wait_for_result(TASK, **options)


class TestHappyPaths:
    def test_a_task_passes_through_its_states(self, subject, sequencer):
        sequencer.script(
            "task_result_query",
            status("waiting"),
            status("running"),
            status("finished", result="https://m/x.webp"),
        )
        result = subject.do(make)
        assert (result.task_id, result.status, result.media_url) == ("t1", "finished", "https://m/x.webp")
        assert sequencer.paths() == ["task_create"] + ["task_result_query"] * 3

    def test_updates_tell_status_time_and_next_poll(self, subject, sequencer):
        sequencer.script("task_result_query", status("waiting"), status("running"), status("finished"))
        updates = []
        subject.do(lambda c: make(c, interval=10, on_update=updates.append))
        assert [(u.status, u.elapsed, u.next_poll) for u in updates] == [
            ("waiting", 0, 10), ("waiting", 10, 10), ("running", 20, 10), ("finished", 30, 0),
        ]  # fmt: skip
        assert updates[0].result is None
        assert updates[2].result.status is TaskStatus.RUNNING
        with pytest.raises(AttributeError):
            updates[0].status = "finished"

    def test_an_old_task_is_looked_at_at_once(self, subject):
        assert subject.do(lambda c: c.wait_for_result("t1")).status == "finished"
        assert subject.clock.sleeps == []

    def test_a_cancel_gives_the_servers_words(self, subject):
        assert subject.do(lambda c: c.cancel_task("t1")) == "cancelled"

    def test_a_miner_is_asked_for(self, subject):
        assert subject.do(lambda c: c.resource_request()) == "m1"

    def test_failed_is_an_answer_to_a_query(self, subject, sequencer):
        sequencer.script("task_result_query", status("failed", msg="out of memory"))
        result = subject.do(lambda c: c.query_task_result("t1"))
        assert (result.status, result.message) == ("failed", "out of memory")


STATUSES = [
    (301, APIStatusError), (400, BadRequestError), (401, AuthenticationError), (402, PaymentRequiredError),
    (403, PermissionDeniedError), (404, NotFoundError), (409, ConflictError), (410, NotFoundError),
    (418, APIStatusError), (422, BadRequestError), (429, RateLimitError), (500, ServerError), (502, ServerError),
]  # fmt: skip


class TestErrorStatuses:
    @pytest.mark.parametrize(("code", "kind"), STATUSES)
    @pytest.mark.parametrize(
        "action",
        [
            lambda c: c.query_task_result("t1"),
            lambda c: c.execute_workflow(TASK),
            lambda c: c.cancel_task("t1"),
            lambda c: c.resource_request(),
        ],
        ids=["query", "create", "cancel", "resource"],
    )
    def test_each_status_has_its_error(self, subject, sequencer, code, kind, action):
        for endpoint in ("task_result_query", "task_create", "task_cancel", "resource_request"):
            sequencer.script(endpoint, Answer({"message": "the server's words"}, code))
        with pytest.raises(kind, match=f"{code}: the server's words") as caught:
            subject.do(action)
        assert caught.value.status_code == code
        assert len(str(caught.value).split(". ")) > 1 or kind is APIStatusError

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"error": "from error"}, "from error"),
            (b"plain text", "plain text"),
            (b"<html><body>Bad  Gateway</body></html>", "Bad Gateway"),
            (b"", "Not Found"),
            ({"message": {"code": 3}}, '{"code": 3}'),
            ([], "Not Found"),
        ],
    )
    def test_the_servers_words_are_found(self, subject, sequencer, body, words):
        sequencer.script("task_result_query", Answer(body, 404))
        with pytest.raises(NotFoundError, match=re.escape(words)) as caught:
            subject.do(lambda c: c.query_task_result("t1"))
        assert caught.value.task_id == "t1"
        assert "t1" in str(caught.value)

    def test_a_redirect_is_not_followed_with_the_key(self, subject, sequencer):
        sequencer.script("task_create", Answer({}, 307, {"Location": "https://elsewhere.example/task_create"}))
        with pytest.raises(APIStatusError, match=r"elsewhere\.example.*XALORA_WORKFLOW_URL"):
            subject.do(lambda c: c.execute_workflow(TASK))
        assert sequencer.count("task_create") == 1

    def test_the_key_is_in_no_error(self, subject, sequencer):
        leaky = Answer({"message": "who is consumer-1 with secret-key?"}, 401)
        sequencer.script("task_result_query", leaky)
        with pytest.raises(AuthenticationError) as caught:
            subject.do(lambda c: c.query_task_result("t1"))
        assert "secret-key" not in str(caught.value) + repr(caught.value) + repr(vars(caught.value))

    def test_the_key_is_in_no_result(self, subject, sequencer):
        sequencer.script("task_result_query", status("failed", msg="k=secret-key", task_details={"a": ["secret-key"]}))
        result = subject.do(lambda c: c.query_task_result("t1"))
        assert "secret-key" not in repr(result)


class TestTerminalStatuses:
    @pytest.mark.parametrize(
        ("answer", "kind", "words"),
        [
            (status("failed", msg="out of memory"), TaskFailedError, "out of memory"),
            (status("failed", result="bad prompt"), TaskFailedError, "bad prompt"),
            (status("canceled", message="by you"), TaskCanceledError, "by you"),
            (status("canceled"), TaskCanceledError, "canceled"),
        ],
    )
    def test_the_end_is_raised_with_the_servers_words(self, subject, sequencer, answer, kind, words):
        sequencer.script("task_result_query", status("running"), answer)
        with pytest.raises(kind, match=words) as caught:
            subject.do(make)
        assert caught.value.task_id == "t1"
        assert caught.value.result.is_final
        assert "t1" in str(caught.value)
        assert sequencer.count("task_cancel") == 0

    def test_an_unknown_status_warns_once_and_waits_on(self, subject, sequencer, caplog):
        odd = status("defragmenting")
        sequencer.script("task_result_query", odd, odd, odd, status("finished"))
        assert subject.do(make).status == "finished"
        assert [r.levelname for r in caplog.records if "defragmenting" in r.message] == ["WARNING"]


class TestMalformed:
    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>login</html>", b"[]", b'"x"', b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, {}, {"task_id": 1},
         {"status": None}, {"status": {}}, {"status": ""}],
    )  # fmt: skip
    def test_what_is_no_answer_is_a_response_error(self, subject, sequencer, body):
        sequencer.script("task_result_query", Answer(body))
        with pytest.raises(ResponseError) as caught:
            subject.do(lambda c: c.query_task_result("t1"))
        assert caught.value.task_id == "t1"

    @pytest.mark.parametrize("body", [b"nope", {}, {"task_id": None, "msg": "quota"}, {"task_id": ""}])
    def test_a_create_without_an_id_warns_that_it_may_exist(self, subject, sequencer, body):
        sequencer.script("task_create", Answer(body))
        with pytest.raises(ResponseError, match="may have been created"):
            subject.do(make)
        assert sequencer.count("task_create") == 1

    @pytest.mark.parametrize("task_id", ["", " ", "\udcff", None, 7, b"t1"])
    def test_what_cannot_be_an_id_is_not_sent(self, subject, sequencer, task_id):
        calls = (
            lambda c: c.query_task_result(task_id),
            lambda c: c.cancel_task(task_id),
            lambda c: c.wait_for_result(task_id),
        )
        for call in calls:
            with pytest.raises(InvalidParameterError, match="task_id is"):
                subject.do(call)
        assert sequencer.seen == []

    @pytest.mark.parametrize("ledger", [True, False])
    @pytest.mark.parametrize("task_type", ["", "\udcff", 7, ["a"]])
    def test_a_task_of_ones_own_has_a_type(self, subject, sequencer, task_type, ledger):
        kind = type("Own", (WorkflowTask,), {"task_type": task_type, "task_details": {}})
        with pytest.raises(InvalidParameterError, match="task_type is"):
            subject.do(lambda c: c.execute_workflow(kind()), ledger=ledger)
        assert sequencer.seen == []

    def test_ids_may_be_numbers(self, subject, sequencer):
        sequencer.script("task_create", Answer({"task_id": 42}))
        assert subject.do(lambda c: c.execute_workflow(TASK)) == "42"

    def test_a_cancel_without_words(self, subject, sequencer):
        sequencer.script("task_cancel", Answer({}))
        assert "cancel" in subject.do(lambda c: c.cancel_task("t1"))


def test_the_key_is_in_no_repr(sequencer):
    async def main():
        async with AsyncClient("a#very-secret-key", sequencer.url) as client:
            return repr(client)

    assert asyncio.run(main()) == f"AsyncClient(workflow_url='{sequencer.url}')"


def nested(depth):
    """Lists within lists."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), object(), "\ud800", {1, 2}, 10**5000, nested(20_000)],
    ids=["not a number", "an object", "half a character", "a set", "5,001 digits", "nested"],
)
def test_a_task_of_ones_own_that_is_no_json_is_refused_before_anything_is_sent(subject, sequencer, value):
    class Odd(WorkflowTask):
        task_type = "odd"
        task_details = {"parameters": {"x": value}}  # noqa: RUF012

    for ledger in (False, True):
        with pytest.raises(InvalidParameterError, match="task_details"):
            subject.do(lambda c: c.execute_workflow(Odd()), ledger=ledger)
    assert sequencer.seen == []
