"""``xalora sandbox`` in a process of its own, and a look at what it was asked."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds an answer or an end may take on a machine that is busy with other things."""

T = TypeVar("T")


def poll(condition: Callable[[], T], patience: float = PATIENCE, what: str = "") -> T:
    """Return the condition's first true value; fail when there is none in time."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"still not after {patience:.0f} s: {what or condition}")


def bare_environment(**more: str) -> dict[str, str]:
    """This process's environment without what would steer the pack, and with ``more``."""
    steers = re.compile(r"XALORA_.*|.*_PROXY|PYTHONPATH|PYTHONWARNINGS", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if not steers.fullmatch(name)} | more


class SandboxProcess:
    """``xalora sandbox`` in a process of its own."""

    def __init__(
        self, data: Path, *, render_seconds: float = 0.0, workers: int = 8, video_format: str = "mp4", port: int = 0
    ) -> None:
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        self.log = data / "stderr.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "xalora_client", "sandbox", "--port", str(port), "--data", data / "sandbox",
                    "--render-seconds", str(render_seconds), "--workers", str(workers),
                    "--video-format", video_format,
                ],
                cwd=data, env=bare_environment(PYTHONPATH=str(ROOT), XALORA_HOME=str(data / "home")), text=True,
                stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        line = self.process.stdout.readline() if self.process.stdout else ""
        if "listening on" not in line:
            raise AssertionError(f"the sandbox did not start: {line} {self.log.read_text()}")
        self.url = line.split()[-1]

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read its database while it runs."""
        with closing(sqlite3.connect(self.data / "sandbox" / "sandbox.sqlite3", timeout=10)) as db:
            return db.execute(sql, values).fetchall()

    def mark(self) -> Mark:
        """From here on."""
        (tasks,) = self.rows("SELECT coalesce(max(rowid), 0) FROM tasks")
        (asked,) = self.rows("SELECT coalesce(max(rowid), 0) FROM requests")
        return Mark(self, tasks[0], asked[0])

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.stop()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@dataclass
class Mark:
    """A sandbox's tasks and requests since a moment."""

    sandbox: SandboxProcess
    last_task: int
    last_request: int

    def tasks(self) -> list[tuple[str, str]]:
        """Id and status of each task since, in the order they were made."""
        return self.sandbox.rows("SELECT task_id, status FROM tasks WHERE rowid > ? ORDER BY rowid", self.last_task)

    def statuses(self) -> list[str]:
        return sorted(status for _, status in self.tasks())

    def requests(self, endpoint: str) -> list[tuple[float, str, int]]:
        """Unix time, task id and HTTP status of each request since; ``endpoint`` may be a pattern."""
        return self.sandbox.rows(
            "SELECT time, task_id, status_code FROM requests WHERE rowid > ? AND endpoint GLOB ? ORDER BY rowid",
            self.last_request, endpoint,
        )  # fmt: skip
