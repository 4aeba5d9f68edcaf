"""What is in the sequencer's database: its tables, version by version, and how to tell a file that has them."""

from __future__ import annotations

import secrets
import sqlite3

from ..errors import StorageError
from ..storage.sqlite_file import DamageError, Steps

NAME = "The sequencer's database"

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
    miner TEXT,                       -- of the present attempt, or the last
    lease TEXT,                       -- that attempt's token
    prompt_id TEXT,                   -- and its id
    began REAL,                       -- and when it began, Unix seconds
    upload TEXT,                      -- the files that it uploaded, separated by blanks
    file TEXT,                        -- the files of the result, in their order
    revision INTEGER NOT NULL DEFAULT 0,
    outcome TEXT,                     -- finished, error, canceled, timed out, lost
    ended REAL,                       -- Unix seconds
    UNIQUE (owner, consumer_id, job_id)
)
"""
_CAPABILITIES = """
CREATE TABLE IF NOT EXISTS offers (   -- what miners announced that they can run
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


_STEADY_TIME = """
CREATE TABLE steady_time (            -- one row: the time that was last, which ``Database.steady_time`` goes on from
    value REAL
)
"""
_LAST_TIME = """
INSERT INTO steady_time SELECT max(moment) FROM (
    SELECT max(ended) AS moment FROM tasks UNION SELECT max(used) FROM images
    UNION SELECT max(added) FROM results UNION SELECT max(seen) FROM offers
)
"""

STEPS: Steps = [
    # Files from before versions were counted have these tables, and rows without what was added later.
    (
        _SALT,
        _TASKS,
        _CAPABILITIES,
        _RESULTS,
        _IMAGES,
        _add_salt,
        "UPDATE tasks SET file = media WHERE file IS NULL",
        "UPDATE tasks SET inputs = '{}' WHERE inputs IS NULL",
        "DROP TABLE IF EXISTS requests",
        "CREATE INDEX IF NOT EXISTS tasks_open ON tasks (status) WHERE status IN ('waiting', 'running')",
        "CREATE INDEX IF NOT EXISTS tasks_ended ON tasks (ended) WHERE ended IS NOT NULL",
        "CREATE INDEX IF NOT EXISTS tasks_media ON tasks (media) WHERE media IS NOT NULL",
    ),
    ("ALTER TABLE tasks ADD COLUMN priority INTEGER NOT NULL DEFAULT 0", _STEADY_TIME, _LAST_TIME),
    (),  # From here on, upload and file may name several files.
]

OWN_TABLES = {"salt", "tasks", "offers", "results", "images"}


def check_file(db: sqlite3.Connection) -> None:
    """Raise StorageError for a file that is not a sequencer's, and DamageError for one that is damaged."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if OWN_TABLES - tables:
        raise StorageError(f"{NAME} cannot be used: the file is another program's")
    (report,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if report != "ok":
        raise DamageError(" ".join(str(report).split()))
