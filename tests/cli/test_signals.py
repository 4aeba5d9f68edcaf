"""SIGTERM and SIGHUP end a command as Ctrl-C does, also as the first process of a container."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import SMALL, on_terminal, state_of
from xalora_client.config import SANDBOX_KEY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")

CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
"""Runs a program as the first process of a namespace: for it, signals without a handler are ignored."""


@pytest.fixture(params=["alone", "in a container"])
def start(request, command):
    """Start a command; returns it and a function that sends a signal to its own process."""
    program = ("-m", "xalora_client")
    if request.param != "alone":
        if not shutil.which("unshare") or subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
            pytest.skip("no namespaces of processes can be made here")
        code = f"import os, sys; os.execvp('unshare', {CONTAINER} + [sys.executable, *sys.argv[1:]])"
        program = ("-c", code, *program)

    def started(*arguments, **options):
        run = command(*arguments, program=program, **options)

        def kill(number):
            children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children")
            pid = run.process.pid if request.param == "alone" else int(children.read_text().split()[0])
            subprocess.run(["kill", f"-{number}", str(pid)], check=True)

        return run, kill

    return started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("server", ["sandbox", "sequencer"])
def test_a_server_ends_in_order(start, tmp_path, server, number):
    run, kill = start(server, "--port", 0, "--data", tmp_path / "data")
    line = run.first_line()
    kill(number)
    assert run.wait() == 128 + number, run.errors()
    assert run.output() == f"{line}\n"
    assert f"Ended by {number.name}" in run.errors()
    assert "Traceback" not in run.errors()
    assert list((tmp_path / "data").glob("*-wal")) == []  # The database was closed.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_command_cancels_its_task(start, slow, number):
    run, kill = start("text2video", "a rabbit", *SMALL, "-o", "x.mp4", "--sandbox", "--json")
    task_id = run.said(r"task (\S+) queued")[1]
    run.said("running")
    kill(number)
    assert run.wait() == 128 + number, run.errors()
    assert json.loads(run.output())["message"] == f"Ended by {number.name}"
    assert state_of(slow, task_id, SANDBOX_KEY.partition("#")[2]) == "canceled"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_waits_for_a_person_ends_at_once(tmp_path, number, code):
    with on_terminal("login", home=tmp_path / "home", cwd=tmp_path) as terminal:
        terminal.until("API key")
        terminal.process.send_signal(number)
        assert terminal.wait() == code, terminal.shown
    assert not (tmp_path / "home").exists()


def test_what_is_to_be_ignored_stays_ignored(command, slow):
    code = "import signal, xalora_client.cli as cli; signal.signal(signal.SIGHUP, signal.SIG_IGN); exit(cli.main())"
    run = command("text2video", "a rabbit", *SMALL, "-o", "x.mp4", "--sandbox", program=("-c", code))
    run.said("running")
    run.process.send_signal(signal.SIGHUP)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
