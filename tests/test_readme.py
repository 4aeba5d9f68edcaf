"""What the README shows works, and the project's texts agree with each other."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import xalora_client
from xalora_client.client.doctor.machine import OLDEST_COMFYUI

tomllib = pytest.importorskip("tomllib")
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def marked(name: str) -> str:
    """The shell block below a marker, as ``.ci/run`` finds it."""
    (block,) = re.findall(rf"^<!-- ci: {name} -->\n```sh\n(.*?)\n```$", README, re.DOTALL | re.MULTILINE)
    return block


def test_ci_runs_the_blocks_that_are_marked():
    """Its blocks are the README's; the workflow for bare machines has the tests' one word for word."""
    called = re.findall(r"readme_block (\w+)\)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert called == re.findall(r"<!-- ci: (\w+) -->", README) == ["try", "test"]
    assert marked("try").startswith("pip install . && xalora ")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert re.findall(r"- run: (.*)", workflow) == [".ci/run", marked("test")]


def test_extras_are_apart():
    """Checking the code must not bring torch, nor running the tests a browser's driver."""
    extras = {name: {re.split(r"[^\w-]", line)[0] for line in lines} for name, lines in EXTRAS.items()}
    assert extras.keys() == {"test", "lint", "browser", "sequencer", "bucket", "bucket-test"}
    assert "torch" in extras["test"]
    assert not any(one & other for one, other in itertools.combinations(extras.values(), 2))


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
    pack = re.search(r'\{ cnr_id: "(.+)", ver: "(.+)" \}', (ROOT / "web" / "xalora.js").read_text(encoding="utf-8"))
    assert pack.groups() == (PROJECT["name"], PROJECT["version"])
    for file in (ROOT / "example_workflows").glob("*.json"):
        for node in json.loads(file.read_text(encoding="utf-8"))["nodes"]:
            if node["type"] != "MarkdownNote":  # The editor's own.
                is_ours = node["type"].startswith("Xalora")
                of = pack.groups() if is_ours else ("comfy-core", OLDEST_COMFYUI)
                assert (node["properties"]["cnr_id"], node["properties"]["ver"]) == of


def test_no_file_names_a_package_of_ours_on_the_index():
    """Nobody owns that name there: whoever takes it would be installed."""
    for file in tracked():
        if not file.startswith("tests/") and Path(file).suffix in (".py", ".md", ".js", ".json", ".toml", ".txt"):
            text = (ROOT / file).read_text(encoding="utf-8")
            assert not re.search(r"xalora-nodes\[|install [\"']?xalora", text), file


def test_the_registrys_archive_has_what_the_pack_needs_and_nothing_else():
    """What `comfy node publish` packs: the tracked files but those that .comfyignore names, by git's rules."""
    ignored = set(tracked("--ignored", "--exclude-from=.comfyignore"))
    packed = {file for file in tracked() if file not in ignored}
    folders = ("example_workflows/", "locales/", "nodes/", "web/", "xalora_client/")
    files = {
        "__init__.py",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "docs/jobs.md",
        "docs/threats.md",
        "pyproject.toml",
        "requirements.txt",
    }
    assert packed == files | {file for file in tracked() if file.startswith(folders)}
    for node in json.loads((ROOT / "tests" / "nodes" / "snapshot.json").read_text(encoding="utf-8")):
        assert {f"web/docs/{node}.md", f"web/docs/{node}.jpg"} <= packed


def tracked(*more):
    """The tracked files, as git lists them."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    return subprocess.run(
        [git, "ls-files", "--cached", *more], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
