"""What the command costs before it does anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Command, bare_environment
from xalora_client.workflows import READY_FOLDER, check, read_folder

HEAVY = {"PIL", "aiohttp", "asyncio", "av", "certifi", "dotenv", "numpy", "requests", "sqlite3", "ssl", "tqdm"}
"""What brings many modules, or opens libraries. Only commands that use it may import it."""

MOST_SECONDS = 0.25
ROUNDS = 5
START = """
import json, sys, time
from xalora_client.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(json.dumps({"code": code, "modules": sorted(sys.modules), "cpu": time.process_time()}))
"""


def start(folder: Path, *arguments: str) -> dict:
    """Run the command in a process of its own; what it printed, its exit code, its modules and its CPU seconds."""
    done = subprocess.run(
        [sys.executable, "-c", START, *arguments],
        cwd=folder,
        env=bare_environment(PYTHONPATH=str(ROOT), XALORA_HOME=str(folder / "home")),
        capture_output=True, text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    printed, _, last = done.stdout.rstrip("\n").rpartition("\n")
    return {"printed": printed, **json.loads(last)}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("text2video", "--help")], ids=" ".join)
def test_help_imports_nothing_heavy(tmp_path, arguments):
    told = start(tmp_path, *arguments)
    assert told["code"] == 0
    assert told["printed"]
    assert HEAVY & {name.partition(".")[0] for name in told["modules"]} == set()


def test_help_is_there_at_once(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """The quickest of several rounds, in CPU time with Python's own start: what other processes do counts little."""
    seconds = min(start(tmp_path, "--help")["cpu"] for _ in range(ROUNDS))
    figure(f"xalora --help takes {seconds * 1000:.0f} ms of CPU")
    assert seconds <= MOST_SECONDS


@pytest.mark.parametrize("file", ["not there/keys.log", "."])
@pytest.mark.parametrize("arguments", [("status", "t1"), ("doctor",)], ids=" ".join)
def test_a_key_log_that_cannot_be_written_is_ignored(tmp_path, sequencer, arguments, file):
    """Analyzers of network traffic leave SSLKEYLOGFILE behind, with which Python makes no TLS context."""
    settings = {"XALORA_API_KEY": "me#a-long-key", "XALORA_WORKFLOW_URL": sequencer.url, "SSLKEYLOGFILE": file}
    command = Command(*arguments, cwd=tmp_path, home=tmp_path / "home", **settings)
    try:
        command.wait()
        assert re.search(r"^(finished|ok +server)", command.output(), re.MULTILINE), command.errors()
        assert "SSLKEYLOGFILE is ignored" in command.errors()
    finally:
        command.close()


def test_one_that_can_be_is_written(tmp_path, sequencer):
    settings = {"XALORA_API_KEY": "me#a-long-key", "XALORA_WORKFLOW_URL": sequencer.url, "SSLKEYLOGFILE": "keys.log"}
    command = Command("status", "t1", cwd=tmp_path, home=tmp_path / "home", **settings)
    try:
        assert (command.wait(), command.errors()) == (0, "")
    finally:
        command.close()
    assert (tmp_path / "keys.log").exists()


def test_help_says_what_each_flag_does_if_it_is_not_given(tmp_path: Path) -> None:
    """The values are those of the workflows that come with Xalora."""
    workflows = {workflow.key.task_type: workflow for workflow in read_folder(READY_FOLDER)}
    for command, task_type in (("text2video", "txt2vid"), ("flux-lora", "txt2img")):
        printed = " ".join(start(tmp_path, command, "--help")["printed"].split())
        for parameter in check(workflows[task_type], None).parameters.values():
            if parameter.name not in ("prompt", "lora_name", "strength_model"):
                flag = f"--{parameter.name.replace('_', '-')}"
                assert re.search(rf" {flag} [A-Z]+ [^)]* usually {parameter.default}\)", printed), flag
        assert f"example: xalora {command} " in printed
    assert "1 is Hunyuan, 2 is Mochi" in " ".join(start(tmp_path, "text2video", "--help")["printed"].split())
