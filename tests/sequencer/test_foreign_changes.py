"""What others do to the sequencer's files while it runs, and which files it refuses at its start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import requests

from tests.sequencer.conftest import SequencerServer
from tests.support.fake_miner import FakeMiner, in_thread
from tests.support.processes import Command, poll
from xalora_client.storage.file_locks import ProcessLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there, files that are open cannot be replaced")

NAME = "sequencer.sqlite3"


class Sequencer:
    """``xalora sequencer`` as a process."""

    def __init__(self, folder):
        self.data = folder / "data"
        self.folder = folder
        self.command = None
        self.start()

    def start(self):
        if self.command is not None:
            self.command.close()
        self.command = Command(
            "sequencer", "--port", 0, "--data", self.data, cwd=self.folder, home=self.folder / "home"
        )  # fmt: skip

    def url(self):
        return self.command.first_line().rpartition(" ")[2]

    def create(self, job_id, length=3000):
        body = {
            "consumer_id": "a", "api_key": "b", "job_id": job_id, "task_type": "txt2vid", "workflow_id": "1",
            "task_details": {"parameters": {"prompt": "x" * length}},
        }  # fmt: skip
        return requests.post(f"{self.url()}/task_create", json=body, timeout=30)

    def jobs(self, file=NAME):
        with closing(sqlite3.connect(f"file:{self.data / file}?mode=ro", uri=True)) as db:
            return {job for (job,) in db.execute("SELECT job_id FROM tasks")}

    def file(self, suffix=""):
        return self.data / f"{NAME}{suffix}"


@pytest.fixture
def running(tmp_path):
    """A sequencer with ten tasks, and beside it a copy of its files from after the fifth."""
    sequencer = Sequencer(tmp_path)
    FakeMiner(sequencer.url(), "txt2vid.1")
    for number in range(5):
        assert sequencer.create(f"early-{number}").status_code == 200
    shutil.copytree(sequencer.data, tmp_path / "before")
    for number in range(5):
        assert sequencer.create(f"late-{number}").status_code == 200
    yield sequencer
    sequencer.command.close()


def overwrite(source, destination):
    """As cp does: the file stays the same one, and its bytes change."""
    with destination.open("r+b") as file:
        file.truncate(0)
        file.write(source.read_bytes())


def restore(sequencer, *suffixes, by=overwrite):
    for suffix in suffixes:
        by(sequencer.folder / "before" / f"{NAME}{suffix}", sequencer.file(suffix))


def checkpoint(file):
    """Until then, the file itself is the same before and after."""
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def rename_over(source, destination):
    shutil.copy(source, f"{destination}.new")
    Path(f"{destination}.new").replace(destination)


def cut(file, part):
    os.truncate(file, int(file.stat().st_size * part))


CHANGES = {
    "file deleted": lambda s: s.file().unlink(),
    "all files deleted": lambda s: [file.unlink() for file in s.data.glob(f"{NAME}*")],
    "log deleted": lambda s: s.file("-wal").unlink(),
    "folder renamed": lambda s: s.data.rename(s.folder / "elsewhere"),
    "file replaced": lambda s: restore(s, "", by=rename_over),
    "file overwritten": lambda s: [checkpoint(s.folder / "before" / NAME), restore(s, "")],
    "file and log overwritten": lambda s: restore(s, "", "-wal"),
    "log replaced": lambda s: restore(s, "-wal", by=rename_over),
    "log overwritten": lambda s: restore(s, "-wal"),
    "log cut to half": lambda s: cut(s.file("-wal"), 0.5),
    "log emptied": lambda s: cut(s.file("-wal"), 0),
    "file emptied": lambda s: cut(s.file(), 0),
    "byte changed in the file": lambda s: os.pwrite(s.fd, b"\xff", 5000),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_acknowledged_into_files_that_others_changed(running, change):
    running.fd = os.open(running.file(), os.O_RDWR)
    try:
        CHANGES[change](running)
    finally:
        os.close(running.fd)
    found = {file.name: file.read_bytes() for file in running.data.glob(f"{NAME}*")} if running.data.exists() else {}
    with contextlib.suppress(requests.ConnectionError):
        assert running.create("after").status_code == 503
    assert running.command.wait() == 2
    errors = running.command.errors()
    assert "Traceback" not in errors
    assert "deleted" in errors or "replaced" in errors or "overwritten" in errors, errors
    # What was found is as it was; only the log of another file may have got another name.
    left = {file.name.partition(".left-")[0]: file for file in running.data.glob(f"{NAME}*")}
    for name in found.keys() - {f"{NAME}-shm"}:
        if name == NAME or "log" in change or "and log" in change:
            assert left[name].read_bytes() == found[name]
    if "deleted" in change or "replaced" in change:
        (saved,) = running.data.glob(f"{NAME}.saved-*")
        assert f"is in {saved.name}" in errors
        assert {f"{when}-{number}" for when in ("early", "late") for number in range(5)} <= running.jobs(saved.name)
    # The next start works, or says why not.
    running.start()
    if running.command.process.poll() is None:
        poll(lambda: "listening" in running.command.output() or running.command.process.poll() is not None)
    if "listening" in running.command.output():
        FakeMiner(running.url(), "txt2vid.1")
        answer = running.create("again")
        assert answer.status_code == 200, answer.text
        if change in ("file overwritten", "file replaced", "file and log overwritten"):
            assert "late-0" not in running.jobs()
    else:
        assert running.command.wait() == 2
        assert "Traceback" not in running.command.errors()
        assert str(running.data) in running.command.errors()


def write_the_same(file):
    with file.open("r+b") as opened:
        opened.write(b"SQLite")


@pytest.mark.parametrize("change", [os.utime, lambda file: os.utime(file, (1, 1)), write_the_same])
def test_the_same_bytes_are_no_change(running, change):
    change(running.file())
    assert running.create("after").status_code == 200
    running.command.process.terminate()
    assert running.command.wait() == 143
    assert {"early-0", "late-0", "after"} <= running.jobs()


def test_readers_writers_and_checkpoints_of_other_programs_are_no_change(running):
    for number in range(20):
        with closing(sqlite3.connect(running.file(), timeout=0.1)) as db, db:
            db.execute("SELECT count(*) FROM tasks").fetchone()
            db.execute("INSERT OR REPLACE INTO results VALUES ('x', 1, 1)")
            db.commit()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert running.create(f"beside-{number}").status_code == 200
    assert running.command.process.poll() is None


def test_a_long_log_is_copied_into_the_file(running):
    reader = sqlite3.connect(running.file(), isolation_level=None)
    with closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM tasks").fetchone()
        for number in range(40):
            assert running.create(f"more-{number}", 80_000).status_code == 200
        assert running.file("-wal").stat().st_size > 4 * 2**20
    poll(lambda: running.file("-wal").stat().st_size < 2**20)
    assert running.create("last").status_code == 200
    running.command.process.terminate()
    assert running.command.wait() == 143
    assert {"early-0", "more-39", "last"} <= running.jobs()


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_foreign_lock_is_waited_for_beside_everything_else(sequencer, begin):
    server: SequencerServer = sequencer()
    miner = server.miner()
    server.make()
    task = miner.take()
    with closing(sqlite3.connect(server.data / NAME, isolation_level=None)) as other:
        other.execute(begin)
        create = in_thread(server.make)
        end = in_thread(lambda: miner.submit(task, success=False, msg="out of memory"))
        longest = 0.0
        for _ in range(100):
            begun = time.monotonic()
            assert miner.beat(task) == {"lease_seconds": 30}
            longest = max(longest, time.monotonic() - begun)
        assert not create.done()
        assert not end.done()
        other.execute("ROLLBACK")
    assert create.result(20)
    assert end.result(20).status_code == 200
    assert longest < 1


def test_a_lock_that_stays_is_answered_with_words(sequencer, monkeypatch):
    monkeypatch.setattr("xalora_client.sequencer.database_file._PATIENCE", 0.2)
    server = sequencer()
    server.miner()
    with closing(sqlite3.connect(server.data / NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = server.try_create("txt2vid", {"prompt": "x"}, workflow_id="1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "locked" in answer.json()["message"]


def test_a_foreign_lock_at_the_start_is_waited_for(running):
    running.command.process.terminate()
    assert running.command.wait() == 143
    with closing(sqlite3.connect(running.file(), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        running.start()
        with pytest.raises(subprocess.TimeoutExpired):
            running.command.process.wait(3)
        other.execute("ROLLBACK")
    assert running.create("after").status_code == 200


@pytest.mark.parametrize("change", [lambda lock: lock.unlink(), lambda lock: lock.replace(lock.with_name("old"))])
def test_another_sequencer_is_kept_out_although_the_lock_was_removed(running, change):
    lock = running.data / "lock"
    change(lock)
    poll(lock.exists)
    first = running.command
    running.command = None
    running.start()
    assert running.command.wait() == 2
    assert "Another sequencer uses the data folder" in running.command.errors()
    running.command.close()
    running.command = first
    assert running.create("after").status_code == 200


def test_it_ends_once_another_sequencer_has_its_folder(running):
    lock = running.data / "lock"
    lock.unlink()
    with contextlib.ExitStack() as stack:
        stack.callback(ProcessLock.acquire(lock).release)
        assert running.command.wait() == 2
        assert "Another sequencer uses the data folder" in running.command.errors()
        assert lock.exists()


def test_the_database_may_be_a_link(running):
    running.command.process.terminate()
    assert running.command.wait() == 143
    real = running.file().rename(running.folder / "elsewhere.sqlite3")
    running.file().symlink_to(real)
    running.start()
    assert running.create("after").status_code == 200
    assert "early-0" in running.jobs()


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_it_ends_in_order(running, name, code):
    running.command.process.send_signal(getattr(signal, name))
    assert running.command.wait() == code
    assert not running.file("-wal").exists()


def another_program(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")


def another_program_in_use(path):
    subprocess.run(
        [sys.executable, "-c", "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
         "db.execute('PRAGMA journal_mode = WAL'); db.execute('CREATE TABLE tasks (x)'); os._exit(0)", path],
        check=True,
    )  # fmt: skip


def newer(path):
    with closing(sqlite3.connect(path)) as db, db:
        for table in ("salt", "tasks", "offers", "results", "images"):
            db.execute(f"CREATE TABLE {table} (x)")
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (another_program, "another program's"),
        (another_program_in_use, "another program's"),
        (newer, "newer version"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"no database " * 1000), "not a database"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(5000)), "not a database"),
    ],
    ids=["another", "another, in use", "newer", "empty", "text", "zeros"],
)
def test_a_file_that_is_not_its_own_is_refused_before_a_byte_changes(tmp_path, make, words):
    data = tmp_path / "data"
    data.mkdir()
    make(data / NAME)
    before = {file.name: file.read_bytes() for file in data.iterdir() if not file.name.endswith("-shm")}
    sequencer = Sequencer(tmp_path)
    assert sequencer.command.wait() == 2
    assert words in sequencer.command.errors()
    assert "Traceback" not in sequencer.command.errors()
    after = {file.name: file.read_bytes() for file in data.iterdir() if not file.name.endswith("-shm")}
    assert {name: after.get(name) for name in before} == before
    sequencer.command.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of a running process")
def test_a_disk_that_refuses_writes_is_answered_and_logged_once(running):
    import resource  # Not on Windows.

    pid = running.command.process.pid
    size = running.file("-wal").stat().st_size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    answers = [running.create(f"refused-{number}") for number in range(5)]
    assert {answer.status_code for answer in answers} <= {503, 507}
    assert all("disk" in answer.text or "database" in answer.text for answer in answers)
    assert all("Retry-After" not in answer.headers for answer in answers)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for number in range(5):
        assert running.create(f"refused-{number}").status_code == 200
    lines = [line for line in running.command.errors().splitlines() if "/task_create" in line]
    assert len(lines) == 1, lines
    assert "Traceback" not in running.command.errors()
    running.command.process.terminate()
    assert running.command.wait() == 143
    assert "refused-4" in running.jobs()
