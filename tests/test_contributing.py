"""CONTRIBUTING.md's examples, carried out word for word in a copy of the pack."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.processes import ROOT, bare_environment

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^<!-- (edit|file): (\S+) -->\n```\w+\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
COPIED = ("__init__.py", "pyproject.toml", "nodes", "xalora_client", "typings", "tests/conftest.py", "tests/support")


def edited(text: str, diff: str) -> str:
    """Carry out a diff without line numbers: its old lines must stand in the text once."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(old) == 1, f"not in the file, or more than once:\n{old}"
    return text.replace(old, new)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack with both examples in it."""
    folder = tmp_path_factory.mktemp("example") / "xalora-nodes"
    parts = [*COPIED, *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/*/conftest.py"))]
    for part in parts:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for kind, name, block in STEPS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block if kind == "file" else edited(path.read_text(encoding="utf-8"), block), encoding="utf-8")
    return folder


def run(*arguments: str | Path, cwd: Path) -> str:
    """Run Python there and return what it printed; it must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=bare_environment(PYTHONPATH=str(cwd), XALORA_HOME=str(cwd / "home"), PYTHONUTF8="1"),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_tests_pass(copy):
    names = [name for kind, name, _ in STEPS if kind == "file" and name.startswith("tests/")]
    assert len(names) == 2
    if importlib.util.find_spec("torch") is None:
        names = [name for name in names if not name.startswith("tests/nodes/")]
    assert "passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", *names, cwd=copy)


def test_the_examples_command_works(copy):
    (command,) = re.findall(r"^<!-- run -->\n```sh\n(.*?)\n```$", TEXT, re.DOTALL | re.MULTILINE)
    xalora, *arguments = shlex.split(command)
    assert xalora == "xalora"
    run("-m", "xalora_client", *arguments, cwd=copy)
    with Image.open(copy / "fox.png") as picture:
        assert picture.size == (96, 96)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("ruff", ("-m", "ruff", "check", "--no-cache")),
        ("ruff", ("-m", "ruff", "format", "--check", "--no-cache")),
        ("mypy", ("typings/check.py",)),
    ],
    ids=["lint", "format", "types"],
)
def test_the_examples_meet_the_rules(copy, tool, arguments):
    pytest.importorskip(tool, reason=f'{tool} is not installed: pip install ".[lint]"')
    run(*arguments, cwd=copy)


@pytest.mark.parametrize("block", re.findall(r"(?<!-->\n)```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
def test_other_python_blocks_run(block):
    exec(compile(block, "CONTRIBUTING.md", "exec"), {})


def test_folders_and_files_it_names_exist():
    """Those in backticks, but for what the examples make."""
    named = set(re.findall(r"`((?:\.ci|[a-z_]+)/[\w./-]*)`", TEXT))
    examples = {name for _, name, _ in STEPS}
    homes = (ROOT, ROOT / "xalora_client")
    assert sorted(name for name in named - examples if not any((home / name).exists() for home in homes)) == []
