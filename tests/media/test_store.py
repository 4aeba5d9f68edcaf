"""Stored media: whole or not there, and not removed from under anybody."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from xalora_client.errors import StorageError
from xalora_client.media.store import GRACE_SECONDS, LEFT_BEHIND_SECONDS, MediaStore


@pytest.fixture
def store(tmp_path):
    return MediaStore(tmp_path)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def put(store, content, *, age=GRACE_SECONDS * 2):
    """Store some bytes that were last used ``age`` seconds ago."""
    path = store.commit(part(store, content), sha256(content), ".mp4")
    set_age(path, age)
    return path


def part(store, content):
    """A download with all its bytes."""
    file = store.incoming("t")
    file.write_bytes(content)
    return file


def set_age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_file_is_stored_and_found(store):
    path = put(store, b"content")
    assert path == store.folder / sha256(b"content")[:2] / f"{sha256(b'content')}.mp4"
    assert path.read_bytes() == b"content"
    assert not list((store.folder / "incoming").iterdir())
    assert store.find(sha256(b"content"), ".mp4") == path
    assert time.time() - path.stat().st_mtime < GRACE_SECONDS


def test_the_same_bytes_are_kept_once(store):
    path = put(store, b"content")
    before = path.stat().st_ino
    assert put(store, b"content") == path
    assert path.stat().st_ino == before
    assert not list((store.folder / "incoming").iterdir())


def test_storing_again_replaces_a_damaged_file(store):
    path = put(store, b"content")
    path.write_bytes(b"contend")
    assert put(store, b"content") == path
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("damage", [b"", b"contend", b"content and more"])
def test_a_damaged_file_is_not_found_but_kept(store, caplog, damage):
    path = put(store, b"content")
    path.write_bytes(damage)
    assert store.find(sha256(b"content"), ".mp4") is None
    kept = store.folder / "rejected" / path.name
    assert kept.read_bytes() == damage
    assert str(kept) in caplog.text
    assert not path.exists()
    assert store.find(sha256(b"content"), ".mp4") is None


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a" * 64, ".mp4"), ("../../x", ""), ("A" * 64, ".mp4"), ("a" * 64, "/../x"), ("", ""), ("a" * 64, "")],
)
def test_what_is_not_there_is_not_found(store, name, extension):
    put(store, b"content")
    assert store.find(name, extension) is None


def test_least_recently_used_goes_first(store):
    oldest, older, newer = (put(store, bytes([each]) * 100, age=age) for each, age in ((1, 9e5), (2, 8e5), (3, 7e5)))
    assert store.find(sha256(b"\x01" * 100), ".mp4") == oldest  # Used again: now the newest.
    set_age(oldest, 6e5)
    pruned = store.prune(250)
    assert pruned.files == (older,)
    assert (pruned.freed, pruned.left) == (100, 200)
    assert store.prune(250).files == ()
    assert store.prune(0).files == (newer, oldest)


def test_rejected_files_count_as_well(store):
    file = store.incoming("t")
    file.write_bytes(b"x" * 100)
    kept = store.reject(file, "../t 1.bin")
    assert kept == store.folder / "rejected" / ".._t_1.bin"
    set_age(kept, 1e6)
    assert store.prune(0).files == (kept,)


def test_a_file_just_used_stays(store):
    path = put(store, b"content", age=GRACE_SECONDS / 2)
    assert store.prune(0).files == ()
    set_age(path, GRACE_SECONDS * 2)
    assert store.prune(0).files == (path,)


def test_a_complete_download_that_has_its_place_as_well_goes(store):
    content = b"content"
    for name in ("kept", "placed"):
        part = store.incoming(name)
        part.write_bytes(content if name == "placed" else b"more")
        store.mark_complete(part, name, sha256(part.read_bytes()))
    whole, digest = store.completed("placed")
    path = store.commit(whole, digest, ".mp4", keep_source=True)
    assert store.completed("placed")
    for file in (store.folder / "incoming").iterdir():
        set_age(file, LEFT_BEHIND_SECONDS + 60)
    store.prune()
    assert store.completed("placed") is None
    assert store.completed("kept")  # It is nowhere else.
    assert path.exists()


def test_downloads_left_behind_go(store):
    mine, old = store.incoming("t"), store.incoming("t")
    old.write_bytes(b"half")
    set_age(old, LEFT_BEHIND_SECONDS + 60)
    pruned = store.prune()
    assert pruned.files == (old,)
    assert (pruned.freed, pruned.left) == (4, 0)
    assert mine.exists()


def test_complete_downloads_stay_within_the_budget(store):
    old, new = (store.mark_complete(part(store, content), "t", sha256(content)) for content in (b"old", b"newer"))
    set_age(old, LEFT_BEHIND_SECONDS * 10)
    set_age(new, LEFT_BEHIND_SECONDS * 9)
    assert store.completed("t") in [(old, sha256(b"old")), (new, sha256(b"newer"))]
    assert store.prune(8).files == ()
    assert store.prune(7).files == (old,)
    assert store.completed("t") == (new, sha256(b"newer"))
    assert store.completed("u") is None


def test_a_file_that_is_kept_under_its_name_counts_once(store):
    whole = store.mark_complete(part(store, b"content"), "t", sha256(b"content"))
    path = store.commit(whole, sha256(b"content"), ".mp4", keep_source=True)
    assert (path.read_bytes(), whole.read_bytes()) == (b"content", b"content")
    assert store.prune(7).left == 7
    assert store.commit(whole, sha256(b"content"), ".mp4") == path
    assert not whole.exists()


def test_a_damaged_file_that_cannot_be_rejected_is_not_found(store, caplog):
    path = put(store, b"content")
    path.write_bytes(b"contend")
    (store.folder / "rejected").touch()
    assert store.find(sha256(b"content"), ".mp4") is None
    assert "damaged" in caplog.text


def test_what_cannot_be_removed_is_not_counted(store):
    folder = store.folder / "ab" / "folder"
    folder.mkdir(parents=True)
    set_age(folder, 1e6)
    pruned = store.prune(0)
    assert pruned.files == ()
    assert folder.exists()


def test_pruning_nothing(store):
    assert store.prune().files == ()


def test_a_home_that_cannot_be_written(tmp_path):
    (tmp_path / "home").touch()
    store = MediaStore(tmp_path / "home")
    file = tmp_path / "file"
    file.write_bytes(b"content")
    for action in (
        lambda: store.incoming("t"),
        lambda: store.commit(file, sha256(b"content"), ".mp4"),
        lambda: store.reject(file, "x"),
    ):
        with pytest.raises(StorageError, match="Media cannot be written"):
            action()
    assert file.read_bytes() == b"content"
    assert store.find(sha256(b"content"), ".mp4") is None
