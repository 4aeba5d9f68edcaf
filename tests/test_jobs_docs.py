"""Each example of docs/jobs.md does what the page says: it runs as it stands, in a process of its own."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.processes import ROOT, Command, free_port, poll
from tests.support.sandbox_process import SandboxProcess
from xalora_client import config

PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## (.+)\n(?:(?!## |```).*\n)*```(python|sh)\n((?:(?!```).*\n)*)```$", PAGE, re.MULTILINE)
CODE = {heading: code for heading, _, code in EXAMPLES}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither these signals nor this shell")
IN_SHELL = ("-c", "import os, sys; os.execvp('sh', ['sh', '-c', sys.argv[1]])")


@pytest.fixture(scope="module")
def paced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A sandbox whose renders take a while."""
    process = SandboxProcess(tmp_path_factory.mktemp("paced"), render_seconds=3, workers=16)
    yield process
    process.close()


@pytest.fixture
def settings(sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of the examples: a server, a key, and the command."""
    (tmp_path / "prompts.txt").write_text("".join(f"a rabbit and {number} foxes\n" for number in range(20)))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "xalora").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xalora_client "$@"\n')
    (tmp_path / "bin" / "xalora").chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    found = {"PATH": path, "XALORA_WORKFLOW_URL": sandbox.url, "XALORA_API_KEY": config.SANDBOX_KEY}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def start(settings: dict[str, str], tmp_path: Path, home: Path) -> Iterator[Callable[..., Command]]:
    """A function that starts the example under a heading, with arguments."""
    started: list[Command] = []

    def start_one(heading: str, *arguments: object, server: SandboxProcess | None = None) -> Command:
        code = CODE[heading]
        # With "exec" the command has the shell's place, and gets the signals.
        program = ("-W", "error", "-c", code) if "import" in code else (*IN_SHELL, f"exec {code}")
        environ = settings | ({"XALORA_WORKFLOW_URL": server.url} if server else {})
        started.append(Command(*arguments, cwd=tmp_path, home=home, program=program, **environ))
        return started[-1]

    yield start_one
    for each in started:
        each.close()


@pytest.fixture
def run(start: Callable[..., Command]) -> Callable[..., str]:
    """A function that runs the example under a heading to its good end, and returns what it wrote to stdout."""

    def run_one(*arguments: object, **options: SandboxProcess) -> str:
        example = start(*arguments, **options)
        assert example.wait() == 0, example.errors()
        return example.output()

    return run_one


def is_video(path: str | Path) -> bool:
    return b"ftyp" in Path(path).read_bytes()[:12]


def test_one_result_to_a_file(run):
    assert run("One result to a file") == ""
    assert is_video("rabbit.mp4")


def test_a_progress_bar(start, paced):
    example = start("A progress bar", server=paced)
    assert example.wait() == 0
    shares = [int(share) for share in re.findall(r"(\d+)%", example.errors())]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert len(set(shares)) > 3
    assert is_video("rabbit.mp4")


def test_a_notebook(settings):
    """As a notebook does it: the cell runs in a thread with an event loop, and its last value is shown."""
    *statements, last = ast.parse(CODE["A notebook"]).body
    names: dict[str, Any] = {}

    async def cell() -> Any:
        exec(compile(ast.Module(statements, []), "cell", "exec"), names)
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)

    shown = asyncio.run(cell())._repr_mimebundle_()
    assert shown["text/html"].startswith('<video controls loop src="data:video/mp4')


def test_twenty_prompts(run, sandbox):
    mark = sandbox.mark()
    for _ in range(2):
        assert sorted(run("Twenty prompts, four at a time").split()) == sorted(f"{number}.mp4" for number in range(20))
    assert mark.statuses() == ["finished"] * 20
    assert all(is_video(f"{number}.mp4") for number in range(20))


def test_after_a_kill(start, run, paced):
    mark = paced.mark()
    first = start("After a kill", server=paced)
    poll(lambda: "running" in first.output())
    first.process.kill()
    first.wait()
    assert "continued from an earlier run" in run("After a kill", server=paced)
    assert mark.statuses() == ["finished"]
    assert len(mark.jobs()) == 1
    assert is_video("rabbit.mp4")


@POSIX
def test_ctrl_c(start, paced):
    mark = paced.mark()
    example = start("Ctrl-C", server=paced)
    poll(lambda: mark.statuses() == ["running"])
    example.interrupt()
    assert (example.wait(), example.output()) == (0, "The task is canceled.\n")
    assert mark.statuses() == ["canceled"]


def test_two_want_the_same(run, paced):
    mark = paced.mark()
    assert is_video(run("Two want the same", server=paced).strip())
    assert mark.statuses() == ["finished"]


def test_a_web_service_and_another_process(start, run, sandbox):
    mark = sandbox.mark()
    port = free_port()
    service = start("A web service", port)
    poll(lambda: "Running on" in service.output() or service.errors())
    orders = [requests.put(f"http://127.0.0.1:{port}/videos/17", data="a rabbit", timeout=30) for _ in range(2)]
    (task_id,) = {order.text for order in orders if order.status_code == 200}
    assert run("Another process looks", task_id).strip() in ("waiting", "running", "finished")
    assert mark.jobs() == {"17"}
    assert [each for each, _ in mark.tasks()] == [task_id]


def test_errors(run, sandbox):
    mark = sandbox.mark()
    kind, task_id, transient, what, advice = run("Errors").splitlines()
    assert (kind, transient) == ("TaskFailedError", "False")
    assert [(task_id, "failed")] == mark.tasks()
    assert "the sandbox was asked to fail it" in what
    assert "submit it again" in advice


def test_an_array_in_and_out(run):
    assert run("An array in and out") == "(1, 96, 128, 3)\n"


def test_tests_without_a_network(settings, tmp_path):
    (tmp_path / "test_own.py").write_text(CODE["Tests without a network"])
    offline = {name: value for name, value in os.environ.items() if not name.startswith("XALORA_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own.py"]
    done = subprocess.run(command, env=offline, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout


@POSIX
def test_types(start, tmp_path):
    pytest.importorskip("mypy", reason='mypy is not installed: pip install ".[lint]"')
    assert CODE["Types"] == "mypy --strict program.py\n"
    programs = {heading: code for heading, kind, code in EXAMPLES if kind == "python"}
    for number, code in enumerate(programs.values()):
        (tmp_path / f"program{number}.py").write_text(code)
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nmypy_path = {ROOT}\ncache_dir = /dev/null\n")
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, sorted(tmp_path.glob("program*.py")))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"Success: no issues found in {len(programs)} source files\n"


@POSIX
def test_pipes(run):
    run("Pipes")
    assert is_video("rabbit.mp4")


@POSIX
def test_prompts_from_a_file(run, sandbox):
    mark = sandbox.mark()
    for _ in range(2):
        run("Prompts from a file")
    assert mark.statuses() == ["finished"] * 20
    assert sorted(map(is_video, Path("videos").iterdir())) == [True] * 20


@POSIX
def test_watch(run, paced):
    lines = run("Watch", server=paced).splitlines()
    steps = [int(step) for step in re.findall(r"Preview (\d+) / 37", "\n".join(lines))]
    assert steps == sorted(steps)
    assert len(steps) > 2
    assert "finished" in lines[-1]


@POSIX
def test_what_would_be_sent(run, sandbox):
    mark = sandbox.mark()
    shown = run("What would be sent")
    assert '"length": 73' in shown
    assert mark.requests("task_create") == []


@POSIX
@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_ended_from_outside(start, paced, ended_by, code):
    mark = paced.mark()
    example = start("Ended from outside", server=paced)
    poll(lambda: mark.statuses() == ["running"])
    example.process.send_signal(ended_by)
    assert example.wait() == code
    assert mark.statuses() == ["canceled"]
    assert not Path("rabbit.mp4").exists()


def test_each_heading_has_an_example_and_its_test():
    tested = re.findall(r'(?:run|start)\("(.+?)"|CODE\["(.+?)"\]', Path(__file__).read_text(encoding="utf-8"))
    assert {one or other for one, other in tested} == CODE.keys() == set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE))
