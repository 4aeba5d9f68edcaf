"""The sequencer's tables."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

from ..errors import StorageError
from ..sqlite_file import Steps, connect

_SALT = "CREATE TABLE IF NOT EXISTS salt (value BLOB NOT NULL)"
_TASKS = """
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
    inputs TEXT,                      -- JSON: for each image parameter its file, or null until it is here
    ready INTEGER NOT NULL DEFAULT 0, -- whether all inputs are here
    attempts INTEGER NOT NULL DEFAULT 0,
    miner TEXT,                       -- who has the present attempt, or had the last
    lease TEXT,                       -- that attempt's token
    prompt_id TEXT,                   -- and its id
    began REAL,                       -- and when it began, Unix seconds
    upload TEXT,                      -- the file that it uploaded
    file TEXT,                        -- the file of the result
    revision INTEGER NOT NULL DEFAULT 0,
    outcome TEXT,                     -- finished, error, canceled, timed out, lost
    ended REAL,                       -- Unix seconds
    UNIQUE (owner, consumer_id, job_id)
)
"""
_OFFERS = """
CREATE TABLE IF NOT EXISTS offers (   -- what miners said they can run
    miner TEXT NOT NULL,
    offer TEXT NOT NULL,              -- JSON
    seen REAL NOT NULL,               -- Unix seconds
    PRIMARY KEY (miner, offer)
) WITHOUT ROWID
"""
_RESULTS = """
CREATE TABLE IF NOT EXISTS results (  -- the files in the folder of media
    file TEXT PRIMARY KEY,
    size INTEGER NOT NULL,            -- bytes
    added REAL NOT NULL               -- Unix seconds, of the last task that has it
) WITHOUT ROWID
"""
_IMAGES = """
CREATE TABLE IF NOT EXISTS images (   -- what clients uploaded for their tasks
    token TEXT PRIMARY KEY,           -- the last part of its address
    owner BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,            -- bytes
    content_type TEXT NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0,
    used REAL NOT NULL,               -- Unix seconds, of the last use
    UNIQUE (owner, sha256)
) WITHOUT ROWID
"""


def _add_salt(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO salt SELECT ? WHERE NOT EXISTS (SELECT 1 FROM salt)", (secrets.token_bytes(16),))


STEPS: Steps = [
    # Files from before versions were counted have these tables, and rows without what was added later.
    (
        _SALT,
        _TASKS,
        _OFFERS,
        _RESULTS,
        _IMAGES,
        _add_salt,
        "UPDATE tasks SET file = media WHERE file IS NULL",
        "UPDATE tasks SET inputs = '{}' WHERE inputs IS NULL",
        "DROP TABLE IF EXISTS requests",
        "CREATE INDEX IF NOT EXISTS tasks_open ON tasks (status) WHERE status IN ('waiting', 'running')",
        "CREATE INDEX IF NOT EXISTS tasks_ended ON tasks (ended) WHERE ended IS NOT NULL",
        "CREATE INDEX IF NOT EXISTS tasks_media ON tasks (media) WHERE media IS NOT NULL",
    )
]


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file at its newest version. A commit is on the disk when it returns, and others can read meanwhile.

    Raises StorageError for a file of a newer version, OSError and sqlite3.Error.
    """
    try:
        return connect(path, STEPS, "The sequencer's database")
    except StorageError as error:
        raise error.derived(advice="Update this version, or choose another data folder.") from error
