"""A lock that tells whether its holder lives: in this process, in others, in forked ones."""

from __future__ import annotations

import gc
import os
import signal
import threading

import pytest

from tests.support.ledger_steps import SERVER, claim
from tests.support.processes import run_together, start_script
from xalora_client import StorageError
from xalora_client.ledger import Ledger
from xalora_client.storage.file_locks import FileSystemError, ProcessLock, is_held

unix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

HOLD = """
import sys
import threading
from pathlib import Path
from xalora_client.storage.file_locks import ProcessLock
lock = ProcessLock.acquire(Path(sys.argv[1]))
print(lock is not None, flush=True)
sys.stdin.readline()
"""

CONTEND = """
import os, sys, time
from pathlib import Path
from xalora_client.storage.file_locks import ProcessLock
path, inside = Path(sys.argv[1]), Path(sys.argv[2])
sys.stdin.readline()
turns = 0
while turns < 100:
    lock = ProcessLock.acquire(path)
    if lock is None:
        time.sleep(0.0005)
        continue
    inside.touch(exist_ok=False)
    inside.unlink()
    lock.release()
    turns += 1
print("never two", flush=True)
"""

FORK = """
import os, sys
from pathlib import Path
from xalora_client.storage.file_locks import ProcessLock, is_held
path = Path(sys.argv[1])
lock = ProcessLock.acquire(path)
to_child, from_parent = os.pipe()
to_parent, from_child = os.pipe()
child = os.fork()
if not child:
    before = is_held(path)
    lock.release()
    still = is_held(path)
    print("parent holds", before, still, flush=True)
    os.write(from_child, b"x")
    os.read(to_child, 1)
    print("after the parent's release", is_held(path), flush=True)
    os._exit(0)
os.read(to_parent, 1)
lock.release()
os.write(from_parent, b"x")
os.waitpid(child, 0)
"""


def test_one_at_a_time(tmp_path):
    path = tmp_path / "a" / "lock"
    lock = ProcessLock.acquire(path)
    assert lock is not None
    assert ProcessLock.acquire(path) is None
    assert is_held(path)
    lock.release()
    lock.release()
    assert not path.exists()
    assert not is_held(path)
    again = ProcessLock.acquire(path)
    assert again is not None
    again.release()


def test_a_lock_nobody_knows_is_free(tmp_path):
    lock = ProcessLock.acquire(tmp_path / "lock")
    assert is_held(tmp_path / "lock")
    del lock
    gc.collect()
    assert not is_held(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()


def test_a_file_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        ProcessLock.acquire(tmp_path / "file" / "lock")


def test_a_lock_that_cannot_be_had_at_all(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(OSError, match="lock"):
        is_held(tmp_path / "lock")


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "lock"
    with start_script(HOLD, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert is_held(path)
        assert ProcessLock.acquire(path) is None
        holder.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        holder.wait()
        assert path.exists()
        assert not is_held(path)
        assert not path.exists()


def test_processes_take_turns(tmp_path):
    outputs = run_together(CONTEND, 3, tmp_path / "lock", tmp_path / "inside")
    assert outputs == ["never two\n"] * 3


def test_threads_take_turns(tmp_path):
    path, inside, turns = tmp_path / "lock", tmp_path / "inside", []

    def work():
        while len(turns) < 600:
            lock = ProcessLock.acquire(path)
            if lock is not None:
                inside.touch(exist_ok=False)
                inside.unlink()
                turns.append(lock)
                lock.release()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(turns) >= 600
    assert not inside.exists()


@unix
def test_a_forked_child_holds_nothing(tmp_path):
    with start_script(FORK, tmp_path / "lock") as parent:
        output, _ = parent.communicate(timeout=60)
    assert output.splitlines() == [
        "parent holds True True",
        "after the parent's release False",
    ]


def test_a_file_system_that_gives_a_file_another_number_each_time_is_an_error_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.samestat", lambda one, other: False)
    with pytest.raises(FileSystemError, match="does not say which file is which"):
        ProcessLock.acquire(tmp_path / "lock")
    with pytest.raises(StorageError, match=r"does not say which file is which; nothing was sent\. Set XALORA_HOME"):
        claim(Ledger(tmp_path, SERVER))
