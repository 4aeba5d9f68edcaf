"""A bucket on a real S3 server, behind a gate, and a sequencer that counts its tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.support.buckets import Bucket, Process, moto
from tests.support.fake_sequencer import Answer, FakeSequencer, status


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """An S3 server."""
    for needed in ("obstore", "moto", "flask"):
        if find_spec(needed) is None:
            pytest.skip(f'{needed} is not installed; it comes with pip install ".[bucket,bucket-test]"')
    server = moto(tmp_path_factory.mktemp("moto"))
    yield server
    server.close()


@pytest.fixture
def bucket(s3: Process, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, which the settings name."""
    opened = Bucket(s3)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "nowhere")
    for name, value in opened.settings.items():
        monkeypatch.setenv(name, value)
    yield opened
    opened.close()


@pytest.fixture
def counted(sequencer: FakeSequencer) -> FakeSequencer:
    """The sequencer gives each create an id of its own, and finishes each task at once."""
    numbers = iter(range(1, 10_000))
    sequencer.script("task_create", lambda _: Answer({"task_id": f"t{next(numbers)}"}))
    sequencer.script("task_result_query", status("finished", result="https://media.example/x.png"))
    return sequencer
