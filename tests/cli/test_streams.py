"""stdout and stderr that are closed, full, or that nobody reads any more: no task is lost for a line of text."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.command_line import picture
from tests.support.processes import PATIENCE, ROOT, bare_environment
from tests.support.subject import KEY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows' shells close no streams")

GONE = "gone"
"""A pipe that nobody reads any more."""


@pytest.fixture(params=["1", ""], ids=["unbuffered", "buffered"])
def run(request, scripted, tmp_path):
    """Run the command with other streams, by the shell; its exit code, and what it wrote to those that are pipes."""

    def run(arguments, redirection="", **streams):
        environment = bare_environment(
            PYTHONPATH=str(ROOT), XALORA_HOME=str(tmp_path / "home"), XALORA_API_KEY=KEY,
            XALORA_WORKFLOW_URL=scripted.url, PYTHONUNBUFFERED=request.param,
        )  # fmt: skip
        ends = []
        for name in [name for name, stream in streams.items() if stream == GONE]:
            read_end, streams[name] = os.pipe()
            os.close(read_end)
            ends.append(streams[name])
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "xalora_client", *arguments.split()],
            cwd=tmp_path, env=environment, timeout=PATIENCE,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
        )  # fmt: skip
        for end in ends:
            os.close(end)
        return done

    return run


RUN = "run --task-type t -o x.png"


@pytest.mark.parametrize(
    ("redirection", "streams"),
    [
        ("", {"stderr": GONE}),
        ("", {"stdout": GONE}),
        ("", {"stdout": GONE, "stderr": GONE}),
        ("2>/dev/full", {}),
        ("2>&-", {}),
        (">&-", {}),
        ("<&- >&- 2>&-", {}),
    ],
    ids=str,
)
def test_the_result_is_saved_after_one_create(run, scripted, tmp_path, redirection, streams):
    assert run(RUN, redirection, **streams).returncode == 0
    assert (tmp_path / "x.png").read_bytes() == picture(32, 16)
    assert scripted.count("task_create") == 1


@pytest.mark.parametrize("arguments", ["tasks", "--help", "tasks --json", "workflows copy new"])
def test_a_reader_that_has_seen_enough_is_no_error(run, arguments):
    done = run(arguments, stdout=GONE)
    assert (done.returncode, b"rror" in done.stderr, b"Broken" in done.stderr) == (0, False, False)


@pytest.mark.parametrize("arguments", [RUN, f"{RUN} --json", "run --task-type t -o -", "workflows copy new"])
def test_a_full_disk_behind_stdout_is_an_error(run, scripted, tmp_path, arguments):
    done = run(arguments, ">/dev/full")
    assert (done.returncode, b"stdout cannot be written: No space left" in done.stderr) == (2, True)
    assert b"Traceback" not in done.stderr
    if "x.png" in arguments:
        assert (tmp_path / "x.png").read_bytes() == picture(32, 16)


def test_a_result_that_nobody_reads_to_its_end_is_safe(run):
    done = run("run --task-type t -o -", stdout=GONE)
    assert (done.returncode, b"The result is safe in" in done.stderr) == (2, True)
