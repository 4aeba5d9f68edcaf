"""What a killed run left in the bucket: ``xalora prune --bucket`` removes it, and nothing that is still needed."""

from __future__ import annotations

import json

import pytest

from tests.support.buckets import BUCKET, Fault, error_body, fetch, images_of, picture
from tests.support.fake_sequencer import Answer
from xalora_client import Client, InputImage, ServerError, TaskStatus, UpscalerTask, WorkflowTaskResult, config
from xalora_client.cli import main
from xalora_client.ledger import Ledger


@pytest.fixture
def prune(capsys):
    def run(*arguments):
        code = main(["prune", "--bucket", "--json", *arguments])
        return code, json.loads(capsys.readouterr().out)

    return run


def left(bucket, name):
    key = f"prefix/{name}"
    bucket.s3.put_object(Bucket=BUCKET, Key=key, Body=b"left behind")
    return key


def create(counted, *seeds, **options):
    with Client("consumer-1#secret-key", counted.url, **options) as client:
        return [client.execute_workflow(UpscalerTask(InputImage.from_bytes(picture(seed)))) for seed in seeds]


def end(home, *task_ids):
    """The tasks end, and the run that hears of it is killed before it removes anything."""
    with Ledger(home) as ledger:
        for task_id in task_ids:
            ledger.observed(task_id, WorkflowTaskResult(task_id, TaskStatus.FAILED))


def test_what_nobody_needs_is_removed(bucket, counted, prune, home):
    end(home, *create(counted, 1, ledger=True))
    size = len(picture(1))
    (name,) = [each.removeprefix("prefix/") for each in bucket.names()]
    assert prune() == (0, {"removed": [name], "freed_bytes": size, "left": 0})
    assert bucket.names() == []


def test_what_comfyui_left_is_removed_with_its_folder(bucket, counted, prune, tmp_path, monkeypatch):
    """Its own folder has its ledger; the bucket may be that of `xalora login`."""
    inside = tmp_path / "of ComfyUI"
    end(inside, *create(counted, 1, ledger=True, home=inside))
    monkeypatch.setattr(config, "default_home", lambda: tmp_path / "of the user")
    monkeypatch.delenv("XALORA_BUCKET")
    config.store(config.default_home(), bucket=bucket.settings["XALORA_BUCKET"])
    config.store(inside, media_budget="2")
    assert prune()[0] == 2
    assert len(prune("--home", str(inside))[1]["removed"]) == 1
    assert bucket.names() == []


def test_what_the_ledger_does_not_know_stays_for_a_day(bucket, counted, prune):
    create(counted, 1)
    assert prune()[1]["left"] == 1
    assert fetch(images_of(counted)[0])[0] == 200
    assert len(prune("--older-than", "0")[1]["removed"]) == 1


def test_what_a_create_in_doubt_needs_stays(bucket, counted, prune):
    counted.script("task_create", Answer({"message": "oops"}, 500))
    with pytest.raises(ServerError):
        create(counted, 1, ledger=True)
    assert prune()[1]["left"] == 1


def test_the_region_is_found_before_the_list(bucket, prune):
    moved = error_body("PermanentRedirect")
    bucket.faults.append(Fault("GET", 301, moved, {"x-amz-bucket-region": "eu-central-1"}, times=1))
    assert prune() == (0, {"removed": [], "freed_bytes": 0, "left": 0})


def test_what_an_open_task_needs_stays(bucket, counted, prune, home):
    with Client("consumer-1#secret-key", counted.url, ledger=True) as client:
        client.execute_workflow(UpscalerTask(InputImage.from_bytes(picture())))
    assert prune()[1]["left"] == 1
    assert len(bucket.names()) == 1


def test_what_another_machine_put_there_stays_until_it_is_old(bucket, prune):
    key = left(bucket, f"0123456789/sdk-workflow-1/{'cd' * 32}.png")
    assert prune()[1]["left"] == 1
    assert bucket.names() == [key]
    assert prune("--older-than", "0")[1]["removed"] == [key.removeprefix("prefix/")]


def test_what_is_not_ours_is_never_touched(bucket, prune):
    image = f"{'ab' * 32}.png"
    names = (
        "holiday.png",
        "0123456789/notes.txt",
        f"0123456789/{image}",
        f"deep/er/{image}",
        f"0123456789/a/b/{image}",
    )
    keys = [left(bucket, name) for name in names]
    keys.append("elsewhere/photo.png")
    bucket.s3.put_object(Bucket=BUCKET, Key=keys[-1], Body=b"mine")
    assert prune("--older-than", "0")[1]["removed"] == []
    assert sorted(bucket.names()) == sorted(keys)


def test_without_a_bucket_it_says_so(prune, capsys):
    assert main(["prune", "--bucket"]) == 2
    assert "xalora login --bucket" in capsys.readouterr().err


def test_a_bucket_that_cannot_be_listed(bucket, capsys, monkeypatch):
    monkeypatch.setenv("XALORA_BUCKET", "s3://not-there")
    assert main(["prune", "--bucket"]) == 2
    said = capsys.readouterr().err
    assert "The bucket s3://not-there answered 404 NoSuchBucket: it does not exist. Create it, or" in said
    assert "No task was created" not in said
