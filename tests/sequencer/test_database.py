"""The sequencer's file: files of before, newer ones, and what is written when."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest
import requests
from pictures import png

from xalora_client.errors import StorageError
from xalora_client.sequencer import SequencerOptions
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

    assert second.rows("PRAGMA user_version") == [(1,)]
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
