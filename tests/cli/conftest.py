"""The command, in this process or another, and servers for it."""

from __future__ import annotations

import pytest

from tests.support.command_line import Outcome, picture
from tests.support.fake_file_server import File
from tests.support.fake_sequencer import status
from tests.support.processes import Command
from tests.support.quick_time import hurry
from tests.support.sandbox_process import SandboxProcess
from tests.support.subject import KEY, SECRET, FakeClock
from xalora_client import AdvancedOptions
from xalora_client.cli import main


@pytest.fixture
def slow(tmp_path):
    """A sandbox that never finishes anything, serving the folder that --sandbox uses."""
    server = SandboxProcess(tmp_path / "slow", "--data", tmp_path / "home" / "sandbox", render_seconds=3600)
    yield server
    server.close()


@pytest.fixture
def command(tmp_path):
    """A function that starts the command as a process; all end with the test."""
    started = []

    def start(*arguments, **options):
        started.append(Command(*arguments, cwd=tmp_path, home=tmp_path / "home", **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def xalora(capsys, monkeypatch):
    """Run the command in this process, without its pauses. Whatever it prints, the key is not in it."""
    monkeypatch.setenv("XALORA_API_KEY", KEY)
    hurry(monkeypatch, AdvancedOptions, FakeClock())

    def run(*arguments):
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as end:
            code = end.code
        outcome = Outcome(code, capsys.readouterr())
        assert SECRET not in outcome.out + outcome.err
        return outcome

    return run


@pytest.fixture
def at(monkeypatch):
    """Point the command at a server."""
    return lambda server: monkeypatch.setenv("XALORA_WORKFLOW_URL", server.url)


@pytest.fixture
def preview(sandbox, at):
    at(sandbox)
    return sandbox


@pytest.fixture
def scripted(sequencer, files, at):
    """The sequencer that says what it is told; its results are real pictures."""
    at(sequencer)
    url = files.serve("/result.png", File(picture(32, 16)))
    sequencer.script("task_result_query", status("finished", result=url))
    return sequencer
