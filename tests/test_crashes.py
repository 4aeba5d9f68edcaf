"""Killed at any moment, the next run picks up where it stopped: one task for each intent, every file whole.

``XALORA_CRASH_KILLS`` sets how many kills each kind of run gets (8 unless set; 40 and more to be thorough).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.fake_file_server import FakeFileServer, File
from tests.support.fake_sequencer import Answer, status
from tests.support.kills import DOWNLOADED, Home, moments, wait_until
from tests.support.pictures import png
from tests.support.processes import PATIENCE, ROOT, bare_environment, poll
from tests.support.sandbox_process import SandboxProcess

KILLS = int(os.environ.get("XALORA_CRASH_KILLS", "8"))

LIBRARY = """
import sys
from xalora_client import Client, Text2VideoTask
with Client(ledger=True) as client:
    task = Text2VideoTask(sys.argv[1], width=64, height=64, length=5)
    print(client.download(client.execute_workflow_and_wait_for_result(task)).path)
"""


def start(kind: str, prompt: str, url: str, folder: Path) -> subprocess.Popen[str]:
    """A process that makes the prompt's video and prints where it is."""
    arguments = {
        "library": ["-c", LIBRARY, prompt],
        "command": ["-m", "xalora_client", "text2video", prompt, "--width", "64", "--height", "64", "--length", "5",
                    "-o", f"{prompt}.mp4"],
    }[kind]  # fmt: skip
    return launch(arguments, url, folder)


def launch(arguments: list[str], url: str, folder: Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Python with these arguments, a key and a home in the folder."""
    environment = bare_environment(
        PYTHONPATH=str(ROOT),
        XALORA_API_KEY="me#crash-test-key",
        XALORA_WORKFLOW_URL=url,
        XALORA_HOME=str(folder / "home"),
    )
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, env=environment, text=True,
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], folder: Path) -> bytes:
    """The bytes it made."""
    said, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    return (folder / said.strip()).read_bytes()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"), render_seconds=0.5)
    yield process
    process.close()


@pytest.mark.parametrize("kind", ["library", "command"])
def test_killed_at_any_moment(kind, sandbox, tmp_path, figure):
    mark = sandbox.mark()
    table: Counter[tuple[str, str]] = Counter()
    for number in range(KILLS):
        home = Home(tmp_path / "home")
        choices = moments(home)
        name, now = choices[number % len(choices)]
        process = start(kind, f"{kind} {number}", sandbox.url, tmp_path)
        wait_until(lambda now=now, process=process: now() or process.poll() is not None, PATIENCE)
        process.kill()
        process.communicate()
        reached = home.phase()
        table[name, reached] += 1
        killed = sandbox.mark()
        assert finish(start(kind, f"{kind} {number}", sandbox.url, tmp_path), tmp_path)[4:8] == b"ftyp"
        assert len(killed.requests("media/*")) == (0 if reached in DOWNLOADED else 1), reached
        assert home.phase() == "stored"
    figure(f"{kind}: {KILLS} kills, {len(mark.tasks())} tasks for {KILLS} intents")
    for (name, reached), count in sorted(table.items()):
        figure(f"{kind}: killed {name!r}: {count} × {reached}")
    assert len(mark.tasks()) == len(mark.jobs()) == KILLS


class Killer:
    """Kills the process at a chosen moment of a scripted run: the moment is what the server sees."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, answer: Answer):
        def kill(_):
            poll(lambda: self.process is not None)
            self.process.kill()
            self.process.wait()
            return answer

        return kill


@pytest.mark.parametrize("kind", ["library", "command"])
@pytest.mark.parametrize("moment", ["create in flight", "waiting", "downloading"])
def test_killed_at_a_chosen_moment(kind, moment, sequencer, tmp_path):
    kill = Killer()
    files = FakeFileServer()
    content = png()
    url = files.serve("/x.png", File(content, etag='"1"'))
    created, finished = Answer({"task_id": "t1"}), status("finished", result=url)
    if moment == "create in flight":
        sequencer.script("task_create", kill(created), created)
    if moment == "waiting":
        sequencer.script("task_result_query", kill(status("running")), status("running"))
    else:
        sequencer.script("task_result_query", finished)
    if moment == "downloading":
        files.serve("/x.png", File(content, stall_after=20), File(content))
    process = start(kind, "one", sequencer.url, tmp_path)
    kill.process = process
    if moment == "downloading":
        assert files.stalled.wait(30)
        process.kill()
    process.communicate(timeout=60)
    assert process.returncode
    sequencer.script("task_result_query", finished)
    files.released.set()
    assert finish(start(kind, "one", sequencer.url, tmp_path), tmp_path) == content
    jobs = [seen.body["job_id"] for seen in sequencer.seen if seen.path == "/task_create"]
    assert len(set(jobs)) == 1
    assert len(jobs) == (2 if moment == "create in flight" else 1)
    downloads = len(files.seen)
    assert finish(start(kind, "one", sequencer.url, tmp_path), tmp_path) == content
    assert len(files.seen) == downloads
    files.close()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_between_the_files_of_a_batch(sequencer, tmp_path, number):
    files = FakeFileServer()
    pictures = [png(side) for side in (8, 9, 10)]
    urls = [files.serve(f"/{each}.png", File(picture)) for each, picture in enumerate(pictures, 1)]
    answer = status("finished", result=urls[0], results=urls, revision=3, long_poll_seconds=25)
    sequencer.script("task_result_query", answer)
    files.serve(f"/{number}.png", File(pictures[number - 1], stall_after=20), File(pictures[number - 1]))
    arguments = ["-m", "xalora_client", "run", "--task-type", "t", "-o", "x.png"]
    killed = launch(arguments, sequencer.url, tmp_path)
    assert files.stalled.wait(30)
    killed.kill()
    killed.communicate(timeout=60)
    files.released.set()
    files.seen.clear()
    again = launch(arguments, sequencer.url, tmp_path)
    said, complaints = again.communicate(timeout=60)
    assert said.split() == ["x.png", "x-2.png", "x-3.png"], complaints
    assert [(tmp_path / name).read_bytes() for name in said.split()] == pictures
    assert [asked.path for asked in files.seen] == [f"/{each}.png" for each in range(number, 4)]
    assert sequencer.count("task_create") == 1
    files.close()


def test_two_processes_with_one_intent_make_one_task(sandbox, tmp_path):
    mark = sandbox.mark()
    for number in range(3):
        both = [start("library", f"both {number}", sandbox.url, tmp_path) for _ in range(2)]
        made = {finish(process, tmp_path) for process in both}
        assert len(made) == 1
    assert len(mark.tasks()) == 3


RACER = """
import sys
from xalora_client import Client, Text2VideoTask
with Client(ledger=True) as client:
    print("ready", flush=True)
    for line in sys.stdin:
        task = Text2VideoTask(line.strip(), width=64, height=64, length=5)
        print(client.execute_workflow(task), flush=True)
"""


def test_fifty_races_of_two_processes_are_one_create_each(sandbox, tmp_path):
    mark = sandbox.mark()
    racers = [launch(["-c", RACER], sandbox.url, tmp_path, subprocess.PIPE) for _ in range(2)]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 2
    for number in range(50):
        for racer in racers:
            racer.stdin.write(f"race {number}\n")
            racer.stdin.flush()
        assert len({racer.stdout.readline() for racer in racers}) == 1
    for racer in racers:
        racer.communicate(timeout=60)
    assert len(mark.tasks()) == len(mark.requests("task_create")) == 50


def test_a_wait_outlives_a_crash_of_the_sandbox(tmp_path):
    first = SandboxProcess(tmp_path / "sandbox", render_seconds=1.0)
    port = int(first.url.rpartition(":")[2])
    home = Home(tmp_path / "home")
    process = start("library", "patient", first.url, tmp_path)
    poll(lambda: home.phase() == "waiting")  # Before, the create's answer would be lost with the sandbox.
    poll(lambda: first.rows("SELECT 1 FROM tasks WHERE status = 'running'"))
    first.kill()
    again = SandboxProcess(tmp_path / "sandbox", render_seconds=1.0, port=port)
    assert finish(process, tmp_path)[4:8] == b"ftyp"
    assert len(again.rows("SELECT 1 FROM tasks")) == 1
    again.close()


def test_the_task_list_after_a_crash_names_the_job(sequencer, tmp_path):
    kill = Killer()
    sequencer.script("task_create", kill(Answer({"task_id": "t1"})))
    kill.process = start("command", "one", sequencer.url, tmp_path)
    kill.process.communicate()
    listing = subprocess.run(
        [sys.executable, "-m", "xalora_client", "tasks", "--json"], check=True, capture_output=True, cwd=tmp_path,
        env=bare_environment(PYTHONPATH=str(ROOT), XALORA_HOME=str(tmp_path / "home")),
    )  # fmt: skip
    (task,) = json.loads(listing.stdout)["tasks"]
    assert (task["state"], task["task_id"]) == ("creating", None)
    (created,) = [seen for seen in sequencer.seen if seen.path == "/task_create"]
    assert task["job_id"] == created.body["job_id"]
