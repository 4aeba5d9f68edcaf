"""The sandbox inside this process, shared with others."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import requests

from xalora_client.errors import ConfigurationError, StorageError
from xalora_client.sequencer import Options, close_local_sandboxes, in_process, local_sandbox
from xalora_client.sequencer.folder_lock import FolderLock, url_of_owner

ASK = """
import sys
from xalora_client.sequencer import local_sandbox
from pathlib import Path
print(local_sandbox(Path(sys.argv[1])), flush=True)
sys.stdin.readline()
"""
IMPORT = """
import sys
import xalora_client
before = set(sys.modules)
import xalora_client.sequencer
print(*{"aiohttp.web", "av", "numpy", "PIL.Image", "xalora_client.sequencer.app"} & (set(sys.modules) - before))
"""


@pytest.fixture(autouse=True)
def _close():
    yield
    close_local_sandboxes()


@pytest.fixture
def elsewhere():
    """A function that asks for the local sandbox of a folder in another process."""
    started = []

    def ask(data):
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-c", ASK, str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield ask
    for process in started:
        process.kill()
        process.communicate()


def test_one_per_folder(tmp_path, caller):
    url = local_sandbox(tmp_path / "a", Options(workers=1, render_seconds=0.01))
    assert url.startswith("http://127.0.0.1:")
    assert local_sandbox(tmp_path / "a") == url
    assert local_sandbox(tmp_path / "b" / ".." / "a") == url
    assert local_sandbox(tmp_path / "b") != url
    client = caller(url)
    assert client.wait(client.video())["status"] == "finished"


def test_it_starts_fast(tmp_path):
    local_sandbox(tmp_path / "a")  # imports what it needs
    begun = time.monotonic()
    local_sandbox(tmp_path / "b")
    assert time.monotonic() - begun < 0.5


def test_importing_it_is_cheap():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_unfinished_tasks_outlive_it(tmp_path, caller):
    client = caller(local_sandbox(tmp_path, Options(render_seconds=3600)))
    task = client.video()
    client.wait(task, "running")
    close_local_sandboxes()
    close_local_sandboxes()
    assert url_of_owner(tmp_path) is None
    assert caller(local_sandbox(tmp_path)).wait(task)["status"] == "finished"


def test_processes_share_one_and_inherit_it(tmp_path, elsewhere):
    owner = elsewhere(tmp_path)
    url = owner.stdout.readline().strip()
    assert local_sandbox(tmp_path) == url
    guest = elsewhere(tmp_path)
    assert guest.stdout.readline().strip() == url
    owner.kill()
    owner.wait()
    ours = local_sandbox(tmp_path)
    assert ours == url  # What clients and results remember still leads there.
    assert requests.get(ours, timeout=30).status_code == 200
    assert url_of_owner(tmp_path) == ours


@pytest.mark.parametrize("written", ['{"url": "http://127.0.0.1:PORT"}', '{"url": "http://[::1"}', "[]", ""])
def test_it_takes_another_port_where_that_of_the_last_is_taken_or_unknown(tmp_path, written):
    with socket.create_server(("127.0.0.1", 0)) as other:
        (tmp_path / "url").write_text(written.replace("PORT", str(other.getsockname()[1])))
        assert requests.get(local_sandbox(tmp_path), timeout=30).status_code == 200


def test_processes_that_start_together_agree(tmp_path, elsewhere):
    processes = [elsewhere(tmp_path) for _ in range(3)]
    assert len({process.stdout.readline() for process in processes}) == 1


def test_it_ends_quietly_with_its_process(tmp_path, elsewhere, caller):
    process = elsewhere(tmp_path)
    client = caller(process.stdout.readline().strip())
    task = client.video(width=848, height=480, length=4097)
    client.wait(task, "running")
    rest, errors = process.communicate("\n", timeout=30)
    # On a busy machine asyncio remarks in development mode that something took long.
    remarks = [line for line in errors.splitlines() if not re.match(r"Executing .* took \d", line)]
    assert (process.returncode, rest, remarks) == (0, "", [])
    assert list((tmp_path / "rendering").iterdir()) == []


def test_an_owner_that_has_not_said_its_url_is_waited_for(tmp_path):
    (tmp_path / "url").write_text(json.dumps({"url": "http://127.0.0.1:1", "instance": "of a dead one"}))
    lock = FolderLock(tmp_path)
    urls = []
    asking = threading.Thread(target=lambda: urls.append(local_sandbox(tmp_path)))
    asking.start()
    asking.join(0.3)
    assert urls == []
    lock.close()  # the owner dies before it answers
    asking.join()
    assert urls == [url_of_owner(tmp_path)]


def test_an_owner_that_never_answers_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(in_process, "_PATIENCE_SECONDS", 0.1)
    with closing(FolderLock(tmp_path)), pytest.raises(ConfigurationError, match="no sandbox answers there"):
        local_sandbox(tmp_path)


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"url": 5}', '{"url": "http://127.0.0.1:x"}'])
def test_a_broken_url_file_is_nobodys(tmp_path, written):
    (tmp_path / "url").write_text(written)
    assert url_of_owner(tmp_path) is None


def test_the_url_of_another_instance_is_nobodys(tmp_path):
    url = local_sandbox(tmp_path / "a")
    (tmp_path / "url").write_text(json.dumps({"url": url, "instance": "another"}))
    assert url_of_owner(tmp_path) is None


def test_unusable_folders_and_options(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use the data folder"):
        local_sandbox(tmp_path / "file")
    (tmp_path / "a" / "sandbox.sqlite3").mkdir(parents=True)
    for _ in range(2):  # the lock was given back
        with pytest.raises(StorageError, match="cannot use the data folder"):
            local_sandbox(tmp_path / "a")
    with pytest.raises(ConfigurationError, match="workers is 0"):
        local_sandbox(Path(tmp_path), Options(workers=0))
