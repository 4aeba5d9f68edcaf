"""Deadlines, polling and retries, alike in both clients, against real HTTP on loopback."""

from __future__ import annotations

import pytest

from tests.support.fake_sequencer import DROP, Answer, status
from xalora_client import (
    ConfigurationError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    ResponseError,
    ServerError,
    TaskTimeoutError,
    Text2VideoTask,
    XaloraError,
)

TASK = Text2VideoTask("a rabbit", workflow_id="1")
BUSY = Answer({"message": "busy"}, 503)


def make(client, **options):
    return client.execute_workflow_and_wait_for_result(TASK, **options)


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
        assert len(sleeps) == 21
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
    @pytest.mark.parametrize("last_error", [DROP, Answer({}, 408), Answer({}, 429), Answer({}, 500), BUSY], ids=repr)
    def test_a_poll_that_fails_kills_no_paid_task(self, subject, sequencer, last_error):
        sequencer.script("task_result_query", *[last_error] * 8, status("finished"))
        updates = []
        assert subject.do(lambda c: make(c, on_update=updates.append)).status == "finished"
        assert sequencer.count("task_create") == 1
        assert sum(update.last_error is not None for update in updates) == 8

    @pytest.mark.parametrize("last_error", [DROP, BUSY], ids=repr)
    def test_cancels_are_repeated(self, subject, sequencer, last_error):
        sequencer.script("task_cancel", last_error, last_error, Answer({"msg": "done"}))
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
        assert caught.value.sent == "no"
        assert len(subject.clock.sleeps) == 3

    def test_two_creates_have_two_job_ids(self, subject, sequencer):
        subject.do(lambda c: c.execute_workflow(TASK))
        subject.do(lambda c: c.execute_workflow(TASK))
        assert len({seen.body["job_id"] for seen in sequencer.seen}) == 2


class TestAnswersThatSayNothing:
    """Polls are free, so they are no reason to give a task up that is paid for."""

    @pytest.mark.parametrize("garbage", [Answer(b"<html>"), Answer({}), Answer([]), Answer({"status": 5})], ids=repr)
    def test_one_does_not_end_a_wait(self, subject, sequencer, garbage):
        sequencer.script("task_result_query", status("running"), garbage, status("finished"))
        updates = []
        assert subject.do(lambda c: make(c, on_update=updates.append)).status == "finished"
        assert [bool(update.last_error) for update in updates] == [False, False, True, False]

    @pytest.mark.parametrize("timeout", [3, 7, 25])
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (Answer({"message": "never heard of it"}, 404), "404: never heard of it"),
            (Answer(b"", 204), "204 alone"),
            (Answer(b"", 200), "200 alone"),
            (Answer(b"<html>Log in"), "<html>Log in"),
            (Answer({"result": "x.mp4"}), "no status"),
            (Answer([{"status": "finished"}]), "not a JSON object"),
            (Answer(b"<h1>no</h1>", 502), "502: no"),
            (DROP, "the connection was closed without one"),
        ],
        ids=repr,
    )
    def test_what_was_answered_last_is_said_at_the_end(self, subject, sequencer, answer, said, timeout):
        """However the deadline falls: in a pause, before a query or after its answer."""
        odd = [Answer(b"nonsense"), answer, answer]
        sequencer.script("task_result_query", *odd)
        with pytest.raises((TaskTimeoutError, ResponseError), match=said) as caught:
            subject.do(lambda c: make(c, timeout=timeout))
        assert "t1" in str(caught.value)

    def test_many_in_a_row_do(self, subject, sequencer):
        sequencer.script("task_result_query", Answer(b"<html>"))
        with pytest.raises(ResponseError, match="t1"):
            subject.do(make)
        assert sequencer.count("task_result_query") == 5

    def test_a_new_task_may_not_be_known_at_first(self, subject, sequencer):
        sequencer.script("task_result_query", Answer({}, 404), Answer({}, 404), status("finished"))
        assert subject.do(make).status == "finished"

    def test_but_not_for_long(self, subject, sequencer):
        sequencer.script("task_result_query", Answer({}, 404))
        with pytest.raises(NotFoundError, match="t1"):
            subject.do(make)
        assert 1030 <= subject.clock.now <= 1060

    def test_nor_once_it_was_known(self, subject, sequencer):
        sequencer.script("task_result_query", status("running"), Answer({}, 404))
        with pytest.raises(NotFoundError):
            subject.do(make)
        assert sequencer.count("task_result_query") == 2

    @pytest.mark.parametrize("word", ["FINISHED", "Finished", " finished\n"])
    def test_a_status_counts_whatever_its_case(self, subject, sequencer, word):
        sequencer.script("task_result_query", status(word, result="https://media.example/x.mp4"))
        result = subject.do(make)
        assert (result.status, result.media_url) == ("finished", "https://media.example/x.mp4")

    def test_a_result_is_that_of_the_task_that_was_asked_for(self, subject, sequencer):
        sequencer.script("task_result_query", status("finished", task_id="another"))
        assert subject.do(make).task_id == "t1"
