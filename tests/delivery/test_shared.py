"""Several runs with the same image: it is uploaded once, and nobody waits for a run that has stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from buckets import BUCKET, Fault, fetch, images_of, picture
from processes import poll

from xalora_client import Client, InputImage, StorageError, UpscalerTask
from xalora_client.delivery import name_lock, objects
from xalora_client.files import InUse

KEY = "consumer-1#secret-key"


def task_of(seed=0, **options):
    return UpscalerTask(InputImage.from_bytes(picture(seed), name=f"photo{seed}.png"), **options)


@pytest.fixture
def slow_upload(bucket):
    """The first upload goes on until this is set."""
    ended = Event()
    fault = Fault("PUT", hold=ended, times=1)
    bucket.faults.append(fault)
    yield ended
    ended.set()
    bucket.quiet()
    assert not fault.held_out


def in_use_of(client):
    return client._delivery._objects._noted


def uploads(bucket):
    return [each.path for each in bucket.asked if each.method == "PUT"]


def test_two_runs_at_once_upload_it_once(bucket, counted, slow_upload, waiting):
    with Client(KEY, counted.url) as one, Client(KEY, counted.url) as two, ThreadPoolExecutor() as threads:
        first = threads.submit(one.execute_workflow, task_of(workflow_id="one"))
        poll(lambda: uploads(bucket))
        second = threads.submit(two.execute_workflow, task_of(workflow_id="two"))
        assert waiting.wait(10)
        slow_upload.set()
        assert first.result() != second.result()
        assert len(uploads(bucket)) == 1
        assert [fetch(each)[0] for each in images_of(counted)] == [200, 200]


def test_what_another_run_stored_since_the_list_is_not_uploaded_again(bucket, counted):
    with Client(KEY, counted.url) as one, Client(KEY, counted.url) as two:
        for seed in (1, 2):  # The second look is a list.
            one.execute_workflow(task_of(seed))
        two.execute_workflow(task_of(3))
        one.execute_workflow(task_of(3, workflow_id="other"))
    assert len(uploads(bucket)) == len(set(uploads(bucket))) == 3


def test_a_list_is_used_for_a_short_time(bucket, counted, monkeypatch):
    monkeypatch.setattr(objects, "LIST_SECONDS", 0.0)
    monkeypatch.setenv("XALORA_BUCKET_KEEP", "1")
    with Client(KEY, counted.url) as one:
        for seed in (1, 2):
            one.execute_workflow(task_of(seed))
        with Client(KEY, counted.url) as two:
            two.execute_workflow(task_of(3))
        one.execute_workflow(task_of(3, workflow_id="other"))
    assert len(uploads(bucket)) == len(set(uploads(bucket))) == 3


def test_a_run_that_has_stopped_is_not_waited_for_without_end(bucket, counted, slow_upload, monkeypatch):
    monkeypatch.setattr(name_lock, "LONGEST_WAIT", 0.1)
    with Client(KEY, counted.url) as one, Client(KEY, counted.url) as two, ThreadPoolExecutor() as threads:
        first = threads.submit(one.execute_workflow, task_of(workflow_id="one"))
        poll(lambda: uploads(bucket))
        with pytest.raises(StorageError, match=r"Another run.*No task was created\. End that run"):
            two.execute_workflow(task_of(workflow_id="two"))
        assert counted.seen == []
        slow_upload.set()
        first.result()
        assert two.execute_workflow(task_of(workflow_id="two"))
    assert len(uploads(bucket)) == 1


def test_two_runs_that_end_at_once_leave_nothing(bucket, counted, monkeypatch):
    """One looks who uses it; meanwhile the other, who did, ends, too."""
    looking, ended = Event(), Event()
    with Client(KEY, counted.url) as one, Client(KEY, counted.url) as two, ThreadPoolExecutor() as threads:
        tasks = [client.execute_workflow(task_of(workflow_id=str(client))) for client in (one, two)]
        everywhere = InUse.everywhere

        def slow(self):
            found = everywhere(self)
            if not looking.is_set():
                looking.set()
                ended.wait(10)
            return found

        monkeypatch.setattr(InUse, "everywhere", slow)
        first = threads.submit(one.wait_for_result, tasks[0])
        assert looking.wait(10)
        second = threads.submit(two.wait_for_result, tasks[1])
        poll(lambda: not in_use_of(two))
        ended.set()
        first.result()
        second.result()
        assert bucket.names() == []


def test_a_removal_does_not_wait_for_another_run_upload(bucket, counted):
    """The first run's object has gone, so the second stores it again, while the first run's task ends."""
    going = Event()
    with Client(KEY, counted.url, ledger=True) as one, Client(KEY, counted.url, ledger=True) as two:
        first = one.execute_workflow(task_of(workflow_id="one"))
        (name,) = bucket.names()
        bucket.s3.delete_object(Bucket=BUCKET, Key=name)
        upload = Fault("PUT", hold=going, times=1)
        bucket.faults.append(upload)
        with ThreadPoolExecutor() as threads:
            second = threads.submit(two.execute_workflow, task_of(workflow_id="two"))
            poll(lambda: not upload.times)
            assert one.wait_for_result(first).media_url
            going.set()
            second.result()
        assert not upload.held_out
        assert fetch(images_of(counted)[-1])[0] == 200
        two.wait_for_result(second.result())
    assert bucket.names() == []
