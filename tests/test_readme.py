"""What the README shows works, and the project's texts agree with each other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import xalora_client

tomllib = pytest.importorskip("tomllib")
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_blocks_run(block, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XALORA_WORKFLOW_URL", "sandbox")
    monkeypatch.setenv("XALORA_HOME", str(tmp_path))
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip().endswith(".mp4")


def test_every_command_shown_is_one():
    from xalora_client.cli.arguments import parse

    commands = re.findall(r"^xalora (.*)$", README.replace("; xalora", "\nxalora"), re.MULTILINE)
    assert len(commands) > 8
    for command in commands:
        assert parse(shlex.split(command)).command


def test_one_version_and_one_list_of_dependencies():
    assert PROJECT["version"] == xalora_client.__version__
    assert (ROOT / "requirements.txt").read_text().split() == PROJECT["dependencies"]
