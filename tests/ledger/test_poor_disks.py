"""Disks that lack something, as network disks and memory cards do: it is done without, or said before a create."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import picture
from tests.support.fake_file_server import File
from tests.support.fake_sequencer import status
from tests.support.processes import PATIENCE, ROOT, bare_environment
from tests.support.subject import KEY

RUN = ["run", "--task-type", "t", "-o", "home/x.png"]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes a disk poor."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("no library can be built that stands before Linux's")
    library = tmp_path_factory.mktemp("poor") / "poor_disk.so"
    source = ROOT / "tests" / "support" / "poor_disk.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def run(library, sequencer, files, tmp_path):
    """Run the command with a home on a disk that lacks something."""
    url = files.serve("/result.png", File(picture(32, 16)))
    sequencer.script("task_result_query", status("finished", result=url))
    sequencer.script("", status("", service="Xalora sequencer"))
    (tmp_path / "home").mkdir()

    def run(lacks, *arguments, home="home"):
        environment = bare_environment(
            PYTHONPATH=str(ROOT), XALORA_HOME=str(tmp_path / home), XALORA_API_KEY=KEY, LD_PRELOAD=str(library),
            XALORA_WORKFLOW_URL=sequencer.url, POOR_DISK=lacks, POOR_FOLDER=str(tmp_path / "home"),
        )  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "xalora_client", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("lacks", ["fsync", "utime", "rename", "mmap", "fsync utime rename mmap"])
def test_what_can_be_done_without_costs_nothing(run, sequencer, tmp_path, lacks):
    for _ in range(2):  # The second is reused.
        done = run(lacks, *RUN)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "home" / "x.png").read_bytes() == picture(32, 16)
        (tmp_path / "home" / "x.png").unlink()
    assert sequencer.count("task_create") == 1
    assert run(lacks, "doctor").returncode == 0
    left = {path.name for path in (tmp_path / "home").iterdir()}
    assert left == {"ledger.sqlite3", "media", "owners"}


@pytest.mark.parametrize("lacks", ["flock", "lockf"])
def test_what_cannot_be_done_without_is_said_before_a_create(run, sequencer, lacks):
    done = run(lacks, *RUN)
    assert done.returncode == 2
    assert "its file system has no locks; nothing was sent. Set XALORA_HOME to a folder on a disk" in done.stderr
    assert sequencer.count("task_create") == 0
    doctor = run(lacks, "doctor")
    assert (doctor.returncode, "its file system has no locks" in doctor.stdout) == (1, True)


def test_a_path_that_is_too_long_for_sqlite(run, sequencer, tmp_path):
    home = Path("home", *["x" * 100] * 5)
    for arguments in (RUN, ["doctor"]):
        done = run("", *arguments, home=home)
        assert done.returncode == (1 if arguments == ["doctor"] else 2)
        assert "its path is longer than 490 bytes" in done.stdout + done.stderr
        assert "Set XALORA_HOME to a shorter path" in done.stdout + done.stderr
    assert sequencer.count("task_create") == 0
    just_fits = "x" * (490 - len(os.fsencode(tmp_path / "home" / "ledger.sqlite3")) - 1 - 202)
    done = run("", *RUN, home=Path("home", "x" * 200, "x", just_fits[:200], *filter(None, [just_fits[200:]])))
    assert done.returncode == 0, done.stderr


def test_a_home_that_moves_between_a_local_and_a_network_disk(run, sequencer, tmp_path):
    for lacks in ("", "mmap", "", "mmap"):
        assert run(lacks, *RUN).returncode == 0
    assert sequencer.count("task_create") == 1
