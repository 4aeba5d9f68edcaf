"""The steps of a task in the ledger, each with what most tests need."""

from __future__ import annotations

from xalora_client import CustomTask, TaskStatus, WorkflowTaskResult
from xalora_client.ledger import Listing, TaskIdentity
from xalora_client.protocol.requests import Credentials

WHO = Credentials("consumer-1", "secret-key")
SERVER = "https://sequencer.example"
COMMON = """
import os, sys, time
from pathlib import Path
from xalora_client import StorageError, CustomTask
from xalora_client.protocol.requests import Credentials
from xalora_client.ledger import TaskIdentity, Ledger, Step
home = Path(sys.argv[1])
def identity(name):
    task = CustomTask("kind", {"name": name})
    return TaskIdentity.of("https://sequencer.example", task, Credentials("c", "secret-key"))
def claim(ledger, name, reuse=True):
    return ledger.claim(identity(name), f"job-{os.getpid()}-{name}", reuse=reuse, source="library")
"""


def identity(name="a rabbit", **options):
    return TaskIdentity.of(SERVER, CustomTask("kind", {"name": name}, **options), WHO)


_jobs = iter(range(10**9))


def claim(ledger, what=None, *, reuse=True, source="library"):
    return ledger.claim(what or identity(), f"job-{next(_jobs)}", reuse=reuse, source=source)


def answer(status, task_id="t1", **fields):
    return WorkflowTaskResult(task_id, TaskStatus(status), **fields)


def run_to(ledger, status, task_id="t1", what=None):
    ledger.created(claim(ledger, what, reuse=False), task_id)
    ledger.observed(task_id, answer(status, task_id))


def records_of(ledger, limit=100):
    """The newest tasks, newest first."""
    return Listing(ledger._database.path.parent).tasks(limit)[0]


def full(ledger):
    """Let the file grow no more."""
    ledger._database.run(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall())


def spoil(ledger, name):
    """Write over the root page of a table or index."""
    query = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_master WHERE name = ?"
    page, size = ledger._database.run(lambda db: db.execute(query, (name,)).fetchone())
    ledger.close()
    with ledger._database.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xaa" * size)
