"""The wheel has the SDK's types: users' programs over what it installs pass the strictest checks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

import xalora_client
from tests.support.processes import ROOT, bare_environment
from tests.support.public_modules import PUBLIC

HERE = Path(__file__).parent
NO_MYPY = 'mypy is not installed: pip install ".[lint]"'
WRONG_PROGRAM = """
import xalora_client
from xalora_client import Client, WorkflowTaskResult

def wrong(client: Client, result: WorkflowTaskResult) -> None:
    number: int = client.cancel_task(result.task_id)
    client.execute_workflow("txt2vid")
    xalora_client.Cleint
"""


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=bare_environment(), capture_output=True, text=True, encoding="utf-8"
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel installed, and everything else from this one's environment. Needs no network."""
    pytest.importorskip("mypy", reason=NO_MYPY)
    pytest.importorskip("setuptools", "77", reason='building the wheel needs setuptools: pip install ".[test]"')
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "xalora_client", source / "xalora_client", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = run("-c", "import setuptools.build_meta as backend; backend.build_wheel('..')", cwd=source)
    assert build.returncode == 0, build.stderr
    (wheel,) = folder.glob("*.whl")

    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    installed = Path(subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    pip = run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", installed, wheel, cwd=folder)
    assert pip.returncode == 0, pip.stderr
    assert (installed / "xalora_client" / "py.typed").is_file()
    for folder_name in ("ready", "small"):
        files = Path("xalora_client", "workflows", folder_name)
        assert sorted(each.name for each in (installed / files).iterdir()) == sorted(
            each.name for each in (ROOT / files).iterdir()
        )
    (installed / "environment.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.fixture
def pyright(python: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Pyright over the installed package. ``--verifytypes`` finds that only by PYTHONPATH."""
    program = shutil.which("pyright")
    if program is None:
        pytest.skip('pyright is not installed: pip install "pyright[nodejs]"')
    (installed,) = python.parents[1].glob("**/site-packages")
    command, env = [program, "--pythonpath", python], bare_environment(PYTHONPATH=str(installed))
    return lambda *arguments: subprocess.run(
        [*command, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, encoding="utf-8"
    )


def shown_programs(folder: Path) -> list[Path]:
    """The programs of the README and of the page of usual jobs."""
    folder.mkdir()
    shown = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/jobs.md"))
    blocks = re.findall(r"```python\n(.*?)```", shown, re.DOTALL)
    programs = [folder / f"shown_{number}.py" for number in range(len(blocks))]
    for program, block in zip(programs, blocks, strict=True):
        program.write_text(block)
    return programs


def mypy(python: Path, program: Path, cwd: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Check a program where nothing but the installed package can be found under its name."""
    alone = shutil.copy(program, cwd)
    strict = ["--config-file=", "--strict", "--python-executable", str(python), *options]
    return run("-m", "mypy", *strict, Path(alone).name, cwd=cwd)


@pytest.mark.parametrize(("program", "options"), [("user_program.py", ["--disallow-any-expr"]), ("user_arrays.py", [])])
def test_users_programs_are_typed_through_and_through(python, tmp_path, program, options):
    done = mypy(python, HERE / program, tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_texts_show_is_typed(python, tmp_path):
    for program in shown_programs(tmp_path / "shown"):
        done = mypy(python, program, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_finds_nothing_in_them_either(pyright, tmp_path):
    programs = [HERE / "user_program.py", HERE / "user_arrays.py", *shown_programs(tmp_path / "shown")]
    copies = [shutil.copy(program, tmp_path) for program in programs]
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    done = pyright(*copies)
    assert done.returncode == 0, done.stdout + done.stderr


def test_types_of_public_symbols_are_known(pyright):
    """To pyright, also where an assignment without a type could be read in several ways."""
    done = pyright("--verifytypes", "xalora_client", "--ignoreexternal", "--outputjson")
    found = json.loads(done.stdout)
    unknown = {each["name"] for each in found["typeCompleteness"]["symbols"] if not each["isTypeKnown"]}
    public = {name.rpartition(".")[2] for names in PUBLIC.values() for name in names}
    assert {name for name in unknown if set(name.split(".")) & public} == set()
    assert found["typeCompleteness"]["completenessScore"] > 0.95


def test_a_wrong_program_is_found_out(python, tmp_path):
    program = tmp_path / "wrong" / "program.py"
    program.parent.mkdir()
    program.write_text(WRONG_PROGRAM)
    done = mypy(python, program, tmp_path)
    assert done.returncode == 1
    assert re.findall(r"\[([a-z-]+)\]$", done.stdout, re.MULTILINE) == ["assignment", "arg-type", "attr-defined"]


def test_the_programs_use_every_public_name():
    """So that a new name does not go unchecked. Errors that add nothing to their base class need no lines."""
    said = "".join((HERE / name).read_text(encoding="utf-8") for name in ("user_program.py", "user_arrays.py"))
    plain = {
        name
        for name in xalora_client.__all__
        if isinstance(value := getattr(xalora_client, name), type)
        and issubclass(value, xalora_client.XaloraError)
        and "__init__" not in vars(value)
    }
    assert [name for names in PUBLIC.values() for name in names if name not in said and name not in plain] == []
