"""What both clients promise, against real HTTP on loopback."""

import re

import pytest
from sequencer import DROP, Answer, status

from xalora_client import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    InvalidParameterError,
    NetworkError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseError,
    ServerError,
    TaskCanceledError,
    TaskFailedError,
    TaskStatus,
    TaskTimeoutError,
    Text2VideoTask,
    WorkflowTask,
    XaloraError,
)

TASK = Text2VideoTask("a rabbit", workflow_id="1")
BUSY = Answer({"message": "busy"}, 503)


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
            ("waiting", 0, 10), ("waiting", 10, 10), ("running", 20, 10),
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


class TestDeadlines:
    def test_a_timeout_names_the_task_and_cancels_nothing(self, subject, sequencer):
        sequencer.script("task_result_query", status("running"))
        with pytest.raises(TaskTimeoutError, match="t1") as caught:
            subject.do(lambda c: make(c, timeout=60))
        assert caught.value.task_id == "t1"
        assert caught.value.result.status == "running"
        assert subject.clock.now == pytest.approx(1060)
        assert sequencer.count("task_cancel") == 0

    def test_the_task_is_looked_at_once_more_just_before(self, subject, sequencer):
        sequencer.script("task_result_query", *[status("running")] * 2, status("finished"))
        assert subject.do(lambda c: make(c, timeout=25, interval=10)).status == "finished"
        assert subject.clock.sleeps == [10, 10, 4]

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), "5", True])
    def test_a_bad_timeout_is_refused_before_anything_is_sent(self, subject, sequencer, timeout):
        with pytest.raises(ConfigurationError, match="timeout"):
            subject.do(lambda c: make(c, timeout=timeout))
        assert sequencer.seen == []

    @pytest.mark.parametrize("interval", [0.5, 0, float("inf"), "5", True])
    def test_a_bad_interval_is_refused_before_anything_is_sent(self, subject, sequencer, interval):
        with pytest.raises(ConfigurationError, match="interval"):
            subject.do(lambda c: make(c, interval=interval))
        assert sequencer.seen == []

    def test_trouble_up_to_the_deadline_is_a_timeout_that_says_so(self, subject, sequencer):
        sequencer.script("task_result_query", BUSY)
        with pytest.raises(TaskTimeoutError, match="503: busy"):
            subject.do(lambda c: make(c, timeout=30))
        assert subject.clock.now <= 1030

    def test_told_to_come_back_after_the_deadline(self, subject, sequencer):
        sequencer.script("task_result_query", Answer({"message": "later"}, 429, {"Retry-After": "3600"}))
        with pytest.raises(RateLimitError, match="later") as caught:
            subject.do(lambda c: make(c, timeout=30))
        assert caught.value.retry_after == 3600
        assert caught.value.task_id == "t1"


class TestPolling:
    def test_adaptive_delays_grow_from_one_to_eight_seconds(self, subject, sequencer):
        sequencer.script("task_result_query", *[status("running")] * 20, status("finished"))
        subject.do(make)
        sleeps = subject.clock.sleeps
        for number, slept in enumerate(sleeps):
            full = min(8.0, 1.3**number)
            assert full * 0.85 <= slept <= full

    def test_a_fixed_interval_is_kept(self, subject, sequencer):
        sequencer.script("task_result_query", status("running"), status("running"), status("finished"))
        subject.do(lambda c: make(c, interval=10))
        assert subject.clock.sleeps == [10, 10, 10]

    def test_a_good_answer_may_ask_for_patience_too(self, subject, sequencer):
        patient = status("running")
        patient.headers["Retry-After"] = "20"
        sequencer.script("task_result_query", patient, status("finished"))
        subject.do(make)
        assert subject.clock.sleeps[1] == 20


class TestRetries:
    @pytest.mark.parametrize("trouble", [DROP, Answer({}, 408), Answer({}, 429), Answer({}, 500), BUSY], ids=repr)
    def test_a_poll_that_fails_kills_no_paid_task(self, subject, sequencer, trouble):
        sequencer.script("task_result_query", *[trouble] * 8, status("finished"))
        updates = []
        assert subject.do(lambda c: make(c, on_update=updates.append)).status == "finished"
        assert sequencer.count("task_create") == 1
        assert sum(update.trouble is not None for update in updates) == 8

    @pytest.mark.parametrize("trouble", [DROP, BUSY], ids=repr)
    def test_cancels_are_repeated(self, subject, sequencer, trouble):
        sequencer.script("task_cancel", trouble, trouble, Answer({"msg": "done"}))
        assert subject.do(lambda c: c.cancel_task("t1")) == "done"

    def test_a_single_query_gives_up_after_a_minute(self, subject, sequencer):
        sequencer.script("task_result_query", BUSY)
        with pytest.raises(ServerError, match="t1"):
            subject.do(lambda c: c.query_task_result("t1"))
        assert 30 < subject.clock.now - 1000 <= 60

    def test_retry_after_in_seconds_and_as_a_date(self, subject, sequencer):
        dated = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
        sequencer.script(
            "task_result_query",
            Answer({}, 429, {"Retry-After": "17"}), Answer({}, 503, dated), status("finished"),
        )  # fmt: skip
        subject.do(lambda c: c.query_task_result("t1"))
        assert subject.clock.sleeps[0] == 17
        assert subject.clock.sleeps[1] < 2

    @pytest.mark.parametrize(
        "refusal",
        [Answer({}, 429), Answer({}, 429, {"Retry-After": "3"}), Answer({}, 503, {"Retry-After": "2"})],
    )
    def test_a_create_certainly_not_processed_is_sent_again_under_its_job_id(self, subject, sequencer, refusal):
        sequencer.script("task_create", refusal, refusal, Answer({"task_id": "t1"}))
        assert subject.do(lambda c: c.execute_workflow(TASK)) == "t1"
        assert len({seen.body["job_id"] for seen in sequencer.seen}) == 1
        assert len(sequencer.seen) == 3

    @pytest.mark.parametrize("doubt", [DROP, Answer({}, 500), BUSY, Answer({}, 408)], ids=repr)
    def test_a_create_that_may_have_been_processed_is_sent_once(self, subject, sequencer, doubt):
        sequencer.script("task_create", doubt)
        with pytest.raises(XaloraError, match="may have been created") as caught:
            subject.do(make)
        assert sequencer.paths() == ["task_create"]
        assert sequencer.seen[0].body["job_id"] in str(caught.value)

    def test_no_server_at_all_is_tried_again_and_then_said(self, subject, sequencer):
        sequencer.close()
        with pytest.raises(NetworkError, match="XALORA_WORKFLOW_URL") as caught:
            subject.do(lambda c: c.execute_workflow(TASK))
        assert caught.value.never_sent
        assert len(subject.clock.sleeps) > 3

    def test_two_creates_have_two_job_ids(self, subject, sequencer):
        subject.do(lambda c: c.execute_workflow(TASK))
        subject.do(lambda c: c.execute_workflow(TASK))
        assert len({seen.body["job_id"] for seen in sequencer.seen}) == 2


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
