"""The sequencer's tables."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

KEPT_REQUESTS = 100_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS salt (value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    task_id TEXT PRIMARY KEY,
    owner BLOB NOT NULL,              -- salted hash of the api_key
    consumer_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'waiting',
    task_type TEXT NOT NULL,
    task_details TEXT NOT NULL,       -- JSON, as answers show it
    work TEXT,                        -- JSON, all of it; only while there is work to do
    workflow_id TEXT,
    timeout_seconds INTEGER,
    create_timestamp REAL NOT NULL,   -- Unix seconds
    inference_latency REAL,           -- seconds
    upload_latency REAL,              -- seconds
    media TEXT,                       -- the name in the result's address
    msg TEXT,
    UNIQUE (owner, consumer_id, job_id)
);
CREATE TABLE IF NOT EXISTS requests (
    time REAL NOT NULL,               -- Unix seconds
    endpoint TEXT NOT NULL,
    job_id TEXT,
    task_id TEXT,
    status_code INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS offers (   -- what miners said they can run
    miner TEXT NOT NULL,
    offer TEXT NOT NULL,              -- JSON
    seen REAL NOT NULL,               -- Unix seconds
    PRIMARY KEY (miner, offer)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (  -- the files in the folder of media
    file TEXT PRIMARY KEY,
    size INTEGER NOT NULL,            -- bytes
    added REAL NOT NULL               -- Unix seconds, of the last task that has it
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (   -- what clients uploaded for their tasks
    token TEXT PRIMARY KEY,           -- the last part of its address
    owner BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,            -- bytes
    content_type TEXT NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0,
    used REAL NOT NULL,               -- Unix seconds, of the last use
    UNIQUE (owner, sha256)
) WITHOUT ROWID;
"""
# Columns that earlier versions did not have.
_ADDED = {
    "inputs": "TEXT",  # JSON: for each image parameter, the file that holds it, or null until it is here
    "ready": "INTEGER NOT NULL DEFAULT 0",  # whether all inputs are here
    "attempts": "INTEGER NOT NULL DEFAULT 0",
    "miner": "TEXT",  # who has the present attempt, or had the last
    "lease": "TEXT",  # that attempt's token
    "prompt_id": "TEXT",  # and its id
    "began": "REAL",  # and when it began, Unix seconds
    "upload": "TEXT",  # the file that it uploaded
    "file": "TEXT",  # the file of the result; where it is null, it is called as in media
    "revision": "INTEGER NOT NULL DEFAULT 0",
    "outcome": "TEXT",  # finished, error, canceled, timed out, lost
    "ended": "REAL",  # Unix seconds
}
_INDEXES = """
CREATE INDEX IF NOT EXISTS tasks_open ON tasks (status) WHERE status IN ('waiting', 'running');
CREATE INDEX IF NOT EXISTS tasks_ended ON tasks (ended) WHERE ended IS NOT NULL;
CREATE INDEX IF NOT EXISTS tasks_media ON tasks (media) WHERE media IS NOT NULL;
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, make what it lacks, and return the connection. Raises sqlite3.Error.

    Every statement commits on its own. With WAL, others can read the file meanwhile, and commits survive SIGKILL
    without waiting for the disk.
    """
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(_SCHEMA)
        present = {row["name"] for row in db.execute("PRAGMA table_info(tasks)")}
        for name, kind in _ADDED.items():
            if name not in present:
                db.execute(f"ALTER TABLE tasks ADD COLUMN {name} {kind}")
        db.executescript(_INDEXES)
        db.execute("INSERT INTO salt SELECT ? WHERE NOT EXISTS (SELECT 1 FROM salt)", (secrets.token_bytes(16),))
        db.execute("DELETE FROM requests WHERE rowid <= (SELECT max(rowid) FROM requests) - ?", (KEPT_REQUESTS,))
    except sqlite3.Error:
        db.close()
        raise
    return db
