"""What all tests share, which of them run side by side, and what every run says in its last lines."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.comfyui_process import NONE_FOUND, found, version_of
from tests.support.fake_file_server import FakeFileServer
from tests.support.fake_sequencer import FakeSequencer
from tests.support.processes import ROOT, bare_environment
from tests.support.sandbox_process import SandboxProcess
from tests.support.subject import Subject

INSTALLED = {"source": "ComfyUI", "editor_source": "Editor of ComfyUI"}
"""The fixtures that give a test each ComfyUI there is, and what its tests are called."""

LONG = ("tests/offload/", "tests/test_crashes.py", "tests/typing/", "tests/test_contributing.py")
"""Tests that take many seconds each. They begin first, so that no process is left with one of them at the end."""

SINGLE = ("tests/test_crashes.py", "tests/faults/")
"""Files whose tests share nothing: with several processes, each test goes to the next one that is free."""

# A shell starts its background jobs with Ctrl-C ignored, and whatever they start has it ignored as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> None:
    """No setting of this machine reaches a test, which runs in its own folder with its own home.

    Processes that it starts find the client of this checkout.
    """
    for name in os.environ.keys() - bare_environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XALORA_HOME", str(home))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the client of a test keeps its things. The folder is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def sequencer() -> Iterator[FakeSequencer]:
    """A sequencer that answers what the test says."""
    server = FakeSequencer()
    yield server
    server.close()


@pytest.fixture(params=["blocking", "event loop"])
def subject(request: pytest.FixtureRequest, sequencer: FakeSequencer, home: Path) -> Subject:
    """Each client, with that sequencer."""
    return Subject(request.param, sequencer.url, home)


@pytest.fixture
def files() -> Iterator[FakeFileServer]:
    """A file server that answers what the test says."""
    server = FakeFileServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A sandbox that renders at once, in a process of its own."""
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    yield process
    process.close()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that puts a measurement among the run's last lines."""
    return lambda text: request.node.user_properties.append(("figure", text))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n 3``: all tests of one ComfyUI in one process, which starts it once; of the others, a file each.

    The tests of one editor take the longest, and are two halves. They come in the order of their collection.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            match = re.search(r"tests/(comfyui|editor)/test_(.).*\[([0-9.]+)", nodeid)
            if match is None:
                return nodeid if nodeid.startswith(SINGLE) else nodeid.partition("::")[0]
            folder, letter, version = match.groups()
            return f"{folder} {version}" + (" m-z" if folder == "editor" and letter > "l" else "")

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say of each test what it runs on. What takes the longest comes first, what fills gaps last."""
    ranks = {}
    for item in items:
        parameters = getattr(item, "callspec", None) and item.callspec.params
        ranks[item] = 1 if item.nodeid.startswith(LONG) else 3 if item.nodeid.startswith(SINGLE) else 2
        for fixture, name in INSTALLED.items():
            if source := (parameters or {}).get(fixture):
                item.user_properties.append(("runs on", f"{name} {version_of(source)}"))
                ranks[item] = 0
    items.sort(key=ranks.__getitem__)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many tests ran on what, why others did not, and the figures."""
    ran: Counter[tuple[str, str]] = Counter()
    told: dict[str, None] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = getattr(report, "user_properties", [])
            place = next((value for name, value in properties if name == "runs on"), None)
            said = [value for name, value in properties if name == "figure"]
            if place is not None:
                ran[place, outcome] += 1
                if outcome == "skipped":
                    said.append(f"skipped because {str(report.longrepr[2]).removeprefix('Skipped: ')}")
            told |= dict.fromkeys(f"{place}: {text}" if place else text for text in said)
    for place in sorted({place for place, _ in ran}):
        counts = ", ".join(f"{ran[place, outcome]} {outcome}" for outcome in ("passed", "failed", "error", "skipped"))
        terminalreporter.write_line(f"{place}: {counts}")
    for line in told:
        terminalreporter.write_line(line)
    if not found():
        terminalreporter.write_line(f"ComfyUI: no tests ran there nor in its editor, {NONE_FOUND}")
