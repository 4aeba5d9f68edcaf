"""Disks that are full, and places that are taken."""

from __future__ import annotations

import hashlib
import resource
import sqlite3
from contextlib import closing, contextmanager

import pytest

from tests.support.downloads import HALF, OTHER_PNG, PNG, finished, left_over
from tests.support.fake_file_server import File
from xalora_client import DecodeError, DownloadError, FluxLoraTask, StorageError


@contextmanager
def full_disk(size: int):
    """Let no file grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_home_is_a_file(fetch, files, home):
    home.write_text("")
    with pytest.raises(StorageError, match="XALORA_HOME"):
        fetch(files.serve("/x.png", File(PNG)))
    assert files.seen == []


def test_a_full_disk(fetch, files, home):
    url = files.serve("/x.png", File(PNG))
    with full_disk(HALF), pytest.raises(StorageError, match="cannot be written") as caught:
        fetch(url)
    assert "nothing is charged again" in str(caught.value)
    assert str(home) in str(caught.value)
    assert left_over(home) == []


def test_a_disk_that_is_full_at_the_last_byte(fetch, files, home):
    """The last bytes stay in a buffer until the file is closed."""
    url = files.serve("/x.png", File(PNG))
    with full_disk(len(PNG) - 1), pytest.raises(StorageError, match="cannot be written"):
        fetch(url)
    assert left_over(home) == []


@pytest.mark.parametrize("ledger", [True, False])
def test_the_place_of_the_file_is_taken(subject, files, home, ledger):
    """The complete file waits until there is one, and is not downloaded again."""
    (home / "media").mkdir(parents=True)
    obstacle = home / "media" / hashlib.sha256(PNG).hexdigest()[:2]
    obstacle.write_text("in the way")
    result = finished(files.serve("/x.png", File(PNG)))
    for _ in range(2):
        with pytest.raises(StorageError, match="cannot be written") as caught:
            subject.do(lambda c: c.download(result), ledger=ledger)
        assert caught.value.task_id == "t1"
    obstacle.unlink()
    assert subject.do(lambda c: c.download(result), ledger=ledger).path.read_bytes() == PNG
    assert len(files.seen) == 1


@pytest.mark.parametrize("where", ["not in the ledger", "in a ledger that is full"])
def test_what_the_ledger_does_not_take_in_is_found_all_the_same(subject, sequencer, files, home, where):
    result = finished(files.serve("/x.png", File(PNG), File(b"expired", 403)))
    if where == "in a ledger that is full":
        subject.do(lambda c: c.execute_workflow(FluxLoraTask("a rabbit", "soft.safetensors")), ledger=True)
        with closing(sqlite3.connect(home / "ledger.sqlite3")) as db, db:
            db.execute("CREATE TRIGGER full BEFORE UPDATE ON tasks BEGIN SELECT raise(abort, 'disk is full'); END")
    for _ in range(3):
        file = subject.do(lambda c: c.download(result), ledger=True)
        assert (file.path.read_bytes(), file.info.format.name) == (PNG, "png")
    file.path.unlink()
    assert subject.do(lambda c: c.download(result), ledger=True).path.read_bytes() == PNG
    assert len(files.seen) == 1


def test_a_complete_download_that_was_damaged_since_is_fetched_again(subject, files, home):
    result = finished(files.serve("/x.png", File(PNG)))
    subject.do(lambda c: c.download(result), ledger=True)
    (whole,) = (home / "media" / "incoming").iterdir()
    whole.write_bytes(OTHER_PNG)
    assert subject.do(lambda c: c.download(result), ledger=True).path.read_bytes() == PNG
    assert len(files.seen) == 2
    (kept,) = (home / "media" / "rejected").iterdir()
    assert kept.read_bytes() == OTHER_PNG


def test_the_place_of_rejected_files_is_taken(fetch, files, home):
    (home / "media").mkdir(parents=True)
    (home / "media" / "rejected").write_text("in the way")
    with pytest.raises((DownloadError, StorageError, DecodeError)):
        fetch(files.serve("/x.png", File(b"no media")))
    assert not list((home / "media").rglob("*.part"))
