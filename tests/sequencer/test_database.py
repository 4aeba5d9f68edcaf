"""The sequencer's file: files of before, newer ones, and what is written when."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest
import requests

from tests.support.fake_miner import in_thread
from tests.support.pictures import png
from xalora_client.errors import StorageError
from xalora_client.sequencer import SequencerOptions, database_file, schema
from xalora_client.sequencer.app import serve

BEFORE = """
CREATE TABLE salt (value BLOB NOT NULL);
CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY, owner BLOB NOT NULL, consumer_id TEXT NOT NULL, job_id TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'waiting', task_type TEXT NOT NULL, task_details TEXT NOT NULL, work TEXT,
    workflow_id TEXT, timeout_seconds INTEGER, create_timestamp REAL NOT NULL, inference_latency REAL,
    upload_latency REAL, media TEXT, msg TEXT, inputs TEXT, ready INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, miner TEXT, lease TEXT, prompt_id TEXT, began REAL, upload TEXT, file TEXT,
    revision INTEGER NOT NULL DEFAULT 0, outcome TEXT, ended REAL, UNIQUE (owner, consumer_id, job_id)
);
CREATE TABLE requests (time REAL NOT NULL, endpoint TEXT NOT NULL, job_id TEXT, task_id TEXT, status_code INTEGER);
CREATE TABLE offers (miner TEXT NOT NULL, offer TEXT NOT NULL, seen REAL NOT NULL, PRIMARY KEY (miner, offer))
    WITHOUT ROWID;
CREATE TABLE results (file TEXT PRIMARY KEY, size INTEGER NOT NULL, added REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    token TEXT PRIMARY KEY, owner BLOB NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
    content_type TEXT NOT NULL, complete INTEGER NOT NULL DEFAULT 0, used REAL NOT NULL, UNIQUE (owner, sha256)
) WITHOUT ROWID;
CREATE INDEX tasks_open ON tasks (status) WHERE status IN ('waiting', 'running');
"""
COPIED = ("salt", "tasks", "offers", "results", "images")


def test_a_file_from_before_versions_were_counted_is_taken_over(sequencer):
    first = sequencer()
    miner = first.miner()
    done = first.make()
    miner.finish(miner.take())
    waiting = first.make(more={"job_id": "sdk-workflow-1"})
    first.stop()
    path = first.data / "sequencer.sqlite3"
    path.rename(first.data / "newer")
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(BEFORE)
        db.execute("ATTACH ? AS newer", (str(first.data / "newer"),))
        for table in COPIED:
            columns = ", ".join(name for _, name, *_ in db.execute(f"PRAGMA main.table_info({table})"))
            db.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM newer.{table}")
        # What a version wrote that knew no files and inputs.
        db.execute("UPDATE tasks SET media = file, file = NULL, inputs = NULL")

    second = sequencer(now=first.clock.now)

    assert second.rows("PRAGMA user_version") == [(len(schema.STEPS),)]
    assert second.rows("SELECT name FROM sqlite_master WHERE name = 'requests'") == []
    assert {"tasks_open", "tasks_ended", "tasks_media"} <= {
        name for (name,) in second.rows("SELECT name FROM sqlite_master")
    }
    assert requests.get(second.query(done)["result"], timeout=30).content == png()
    assert second.make(more={"job_id": "sdk-workflow-1"}) == waiting
    miner.move_to(second.url).register()
    assert miner.take()["task_id"] == waiting


def test_a_newer_file_is_refused_with_words(sequencer):
    first = sequencer()
    first.stop()
    with closing(sqlite3.connect(first.data / "sequencer.sqlite3")) as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(StorageError, match=r"newer version.*schema 9.*choose another data folder"):
        asyncio.run(serve("127.0.0.1", 0, first.data, SequencerOptions()))


def test_what_is_promised_is_written_and_heartbeats_are_not(sequencer):
    server = sequencer()
    miner = server.miner()
    log = server.data / "sequencer.sqlite3-wal"

    def grows(does):
        before = log.stat().st_size, log.stat().st_mtime_ns
        does()
        return (log.stat().st_size, log.stat().st_mtime_ns) != before

    assert grows(server.make)
    given = []
    assert grows(lambda: given.append(miner.ask()))
    (task,) = given
    assert not grows(lambda: miner.beat(task))
    assert not grows(lambda: miner.beat(task, progress={"value": 1, "maximum": 2}))
    assert not grows(lambda: server.query(task["task_id"]))
    assert not grows(lambda: miner.ask())
    uploaded = []
    assert grows(lambda: uploaded.append(miner.upload(task).json()["result"]))
    assert grows(lambda: miner.submit(task, result=uploaded[0]))


def test_a_create_is_answered_once_it_is_on_the_disk_and_others_go_on_meanwhile(sequencer, monkeypatch):
    server = sequencer()
    miner = server.miner()
    server.make()
    task = miner.take()
    begun, done, flushes = threading.Event(), threading.Event(), []

    def slow(file):
        flushes.append(file)
        begun.set()
        assert done.wait(20)

    monkeypatch.setattr(database_file, "_flush_bytes", slow)
    creates = [in_thread(server.make)]
    assert begun.wait(20)
    creates += [in_thread(server.make) for _ in range(10)]
    assert miner.beat(task) == {"lease_seconds": 30}
    assert server.query(task["task_id"])["status"] == "running"
    assert not any(create.done() for create in creates)
    done.set()
    assert len({create.result(20) for create in creates}) == 11
    assert len(flushes) < 11  # Those that came meanwhile shared one.


def test_a_disk_that_fails_is_no_answer_and_no_later_flush_repairs_it(sequencer, monkeypatch):
    server = sequencer()
    server.miner()

    def broken(file):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    once = {"workflow_id": "1", "job_id": "sdk-workflow-1"}
    with monkeypatch.context() as patch:
        patch.setattr(database_file, "_flush_bytes", broken)
        assert server.try_create("txt2vid", {"prompt": "x"}, **once).status_code == 503
        with pytest.raises(StorageError, match="did not keep what was written"):
            server.ended()
    assert sequencer(now=server.clock.now).try_create("txt2vid", {"prompt": "x"}, **once).status_code == 200


def test_after_a_power_cut_all_that_was_answered_is_there(sequencer, monkeypatch, tmp_path):
    """What is on the disk is what the files held at the last flush."""
    server = sequencer()
    miners = [server.miner() for _ in range(4)]
    disk = tmp_path / "disk"
    disk.mkdir()

    def flush(log):
        for file in (log.with_name(log.name.removesuffix("-wal")), log):
            shutil.copy(file, disk)

    monkeypatch.setattr(database_file, "_flush_bytes", flush)
    waiting, canceled, running, finished = (server.make() for _ in range(4))
    taken = [miner.take() for miner in miners]
    assert [task["task_id"] for task in taken] == [waiting, canceled, running, finished]
    miners[0].submit(taken[0], success=False, give_back="stopping")
    server.cancel(canceled)
    miners[3].finish(taken[3])
    shutil.copytree(server.data / "media", disk / "media")

    after = sequencer(disk, now=server.clock.now)
    statuses = [after.query(each)["status"] for each in (waiting, canceled, running, finished)]
    assert statuses == ["waiting", "canceled", "running", "finished"]
    assert miners[2].move_to(after.url).beat(taken[2]) == {"lease_seconds": 30}
    assert requests.get(after.query(finished)["result"], timeout=30).content == png()
