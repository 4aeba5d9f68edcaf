"""A bucket on a real S3 server, behind a gate, and a sequencer that counts its tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from buckets import ACCESS_KEY, BUCKET, SECRET_KEY, Gate, Process, moto, s3_client
from sequencer import Answer, Sequencer, status


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """An S3 server."""
    for needed in ("obstore", "moto", "flask"):
        if find_spec(needed) is None:
            pytest.skip(f'{needed} is not installed; it comes with pip install "xalora-nodes[bucket,bucket-test]"')
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


class Bucket(Gate):
    """The bucket, and the gate before it."""

    def __init__(self, server: Process) -> None:
        super().__init__(server.url)
        self.s3 = s3_client(server.url)
        self.s3.create_bucket(Bucket=BUCKET)
        self.settings = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.url,
            "XALORA_BUCKET": f"s3://{BUCKET}/prefix",
        }

    def names(self) -> list[str]:
        """What is in it."""
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def close(self) -> None:
        for name in self.names():
            self.s3.delete_object(Bucket=BUCKET, Key=name)
        self.s3.close()
        super().close()


@pytest.fixture
def counted(sequencer: Sequencer) -> Sequencer:
    """The sequencer gives each create an id of its own, and finishes each task at once."""
    numbers = iter(range(1, 10_000))
    sequencer.script("task_create", lambda _: Answer({"task_id": f"t{next(numbers)}"}))
    sequencer.script("task_result_query", status("finished", result="https://media.example/x.png"))
    return sequencer
