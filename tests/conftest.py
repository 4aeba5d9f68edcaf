"""Which tests run side by side, and what every run says in its last lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from comfyui_server import NONE_FOUND, found, version_of

INSTALLED = {"source": "ComfyUI", "editor_source": "Editor of ComfyUI"}
"""The fixtures that give a test each ComfyUI there is, and what its tests are called."""


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that puts a measurement among the run's last lines."""
    return lambda text: request.node.user_properties.append(("figure", text))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n 2``: all tests of one ComfyUI in one process, which starts it once; of the others, a file each."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            version = re.search(r"tests/(?:comfyui|editor)/.*\[([0-9.]+)", nodeid)
            return version[1] if version else nodeid.partition("::")[0]

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say of each test what it runs on."""
    for item in items:
        parameters = getattr(item, "callspec", None) and item.callspec.params
        for fixture, name in INSTALLED.items():
            if source := (parameters or {}).get(fixture):
                item.user_properties.append(("runs on", f"{name} {version_of(source)}"))


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
