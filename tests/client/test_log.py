"""What the log says: INFO tells the life of each task, DEBUG each request, and nothing tells the key."""

import logging

import pytest

from tests.support.fake_file_server import File
from tests.support.fake_sequencer import Answer, status
from tests.support.pictures import png
from tests.support.subject import SECRET, Stop
from xalora_client import ConfigurationError, InputImage, InvalidParameterError, Text2VideoTask

TASK = Text2VideoTask("a rabbit")


@pytest.fixture
def life(subject, sequencer, files):
    """Do all that a task can meet."""
    picture = files.serve("/a.png", File(png()))
    busy = Answer({"message": "busy"}, 503, {"Retry-After": "1"})
    sequencer.script("task_create", busy, Answer({"task_id": "t1"}), Answer({"task_id": "t2"}))
    sequencer.script("task_result_query", status("waiting"), status("running"), status("finished", result=picture))

    def live():
        result = subject.do(lambda c: c.execute_workflow_and_wait_for_result(TASK))
        subject.do(lambda c: c.download(result))
        subject.do(lambda c: c.cancel_task("t1"))
        sequencer.script("task_result_query", status("running"))
        subject.clock.interrupt = (len(subject.clock.sleeps), Stop())
        with pytest.raises(Stop):
            subject.do(lambda c: c.execute_workflow_and_wait_for_result(TASK))

    return live


def test_info_tells_the_life_of_a_task(life, caplog):
    caplog.set_level(logging.INFO, "xalora_client")
    life()
    told = iter(record.getMessage() for record in caplog.records)
    for words in (
        "Trying again in", "task t1, job sdk-workflow-", "Task t1 is waiting", "Task t1 is running",
        "Task t1 is finished", "result of task t1 is downloaded", "Task t1 was canceled", "Task t2 was canceled",
    ):  # fmt: skip
        assert any(words in line for line in told), words
    assert SECRET not in caplog.text


def test_debug_tells_each_request(life, sequencer, caplog):
    caplog.set_level(logging.DEBUG, "xalora_client")
    life()
    for endpoint in ("task_create", "task_result_query", "task_cancel"):
        lines = [record for record in caplog.records if f"/{endpoint} was answered with " in record.getMessage()]
        assert len(lines) == sequencer.count(endpoint)
    assert SECRET not in caplog.text


def test_a_timeout_in_milliseconds_is_remarked(subject, sequencer, caplog):
    sequencer.script("task_result_query", status("finished"))
    for timeout in (86400, 300_000):
        subject.do(lambda c, timeout=timeout: c.wait_for_result("t1", timeout=timeout))
    assert [record.getMessage() for record in caplog.records] == ["The timeout is 83 hours: it counts seconds"]


@pytest.mark.parametrize("wrong", ["a rabbit", None, {"prompt": "a rabbit"}, Text2VideoTask])
@pytest.mark.parametrize("call", ["execute_workflow", "execute_workflow_and_wait_for_result", "upload_images"])
def test_what_is_no_task_is_refused(subject, sequencer, call, wrong):
    with pytest.raises(InvalidParameterError, match="Text2VideoTask"):
        subject.do(lambda c: getattr(c, call)(wrong))
    assert sequencer.paths() == []


@pytest.mark.parametrize("wrong", ["t1", None, 5, {"task_id": "t1"}])
def test_what_is_no_result_is_not_downloaded(subject, sequencer, wrong):
    with pytest.raises(ConfigurationError, match="wait_for_result"):
        subject.do(lambda c: c.download(wrong))
    assert sequencer.paths() == []


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_an_image_of_a_path_or_a_text(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    image = InputImage.from_file(kind(path), "image/png")
    assert image.content() == png()
    assert image.name == "a.png"
