"""What a killed run left in the bucket: ``xalora prune --bucket`` removes it, and nothing that is still needed."""

from __future__ import annotations

import json

import pytest
from buckets import BUCKET, picture

from xalora_client import Client, InputImage, UpscalerTask, config
from xalora_client.cli import main
from xalora_client.delivery.bucket import folder_of


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


def test_what_nobody_needs_is_removed(bucket, prune, home):
    left(bucket, f"{folder_of(home)}/{'ab' * 32}.png")
    assert prune() == (0, {"removed": [f"{folder_of(home)}/{'ab' * 32}.png"], "freed_bytes": 11, "left": 0})
    assert bucket.names() == []


def test_what_comfyui_left_is_removed_with_its_folder(bucket, prune, tmp_path, monkeypatch):
    """Its own folder has its ledger; the bucket may be that of `xalora login`."""
    monkeypatch.setattr(config, "default_home", lambda: tmp_path / "of the user")
    monkeypatch.delenv("XALORA_BUCKET")
    config.store(config.default_home(), bucket=bucket.settings["XALORA_BUCKET"])
    inside = tmp_path / "of ComfyUI"
    config.store(inside, media_budget="2")
    name = f"{folder_of(inside)}/{'ab' * 32}.png"
    left(bucket, name)
    assert prune()[0] == 2
    assert prune("--home", str(inside))[1]["removed"] == [name]
    assert bucket.names() == []


def test_what_an_open_task_needs_stays(bucket, counted, prune, home):
    with Client("consumer-1#secret-key", counted.url, ledger=True) as client:
        client.execute_workflow(UpscalerTask(InputImage.from_bytes(picture())))
    assert prune()[1]["left"] == 1
    assert len(bucket.names()) == 1


def test_what_another_machine_put_there_stays_until_it_is_old(bucket, prune):
    key = left(bucket, f"0123456789/{'cd' * 32}.png")
    assert prune()[1]["left"] == 1
    assert bucket.names() == [key]
    assert prune("--older-than", "0")[1]["removed"] == [key.removeprefix("prefix/")]


def test_what_is_not_ours_is_never_touched(bucket, prune):
    keys = [left(bucket, name) for name in ("holiday.png", "0123456789/notes.txt", f"deep/er/{'ab' * 32}.png")]
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
    assert "cannot be listed" in capsys.readouterr().err
