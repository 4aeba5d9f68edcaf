"""What every run says in its last lines: which tests ran on which ComfyUI, and what was measured."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from comfyui_server import NONE_FOUND, figures, found, version_of

INSTALLED = {"source": "ComfyUI", "editor_source": "Editor of ComfyUI"}
"""The fixtures that give a test each ComfyUI there is, and what its tests are called."""


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
    reasons: set[str] = set()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for _, place in (each for each in getattr(report, "user_properties", []) if each[0] == "runs on"):
                ran[place, outcome] += 1
                if outcome == "skipped":
                    reasons.add(f"{place}: skipped because {str(report.longrepr[2]).removeprefix('Skipped: ')}")
    for place in sorted({place for place, _ in ran}):
        counts = ", ".join(f"{ran[place, outcome]} {outcome}" for outcome in ("passed", "failed", "error", "skipped"))
        terminalreporter.write_line(f"{place}: {counts}")
    for line in [*sorted(reasons), *figures]:
        terminalreporter.write_line(line)
    if not found():
        terminalreporter.write_line(f"ComfyUI: no tests ran there nor in its editor, {NONE_FOUND}")
