"""``xalora sandbox`` in a process of its own, and a look at what it was asked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import Command


class SandboxProcess(Command):
    """``xalora sandbox`` in a process of its own: ``ready`` is what it says first, ``url`` where it listens."""

    def __init__(
        self,
        folder: Path,
        *arguments: object,
        render_seconds: float = 0.0,
        workers: int = 8,
        video_format: str = "mp4",
        port: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "sandbox"
        super().__init__(
            "sandbox", "--port", port, "--data", self.data, "--render-seconds", render_seconds, "--workers", workers,
            "--video-format", video_format, *arguments, cwd=folder, home=folder / "home",
        )  # fmt: skip
        self.ready = self.first_line()
        self.url = self.ready.removeprefix("Xalora sandbox listening on ")

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read its database while it runs."""
        with closing(sqlite3.connect(self.data / "sandbox.sqlite3", timeout=10)) as db:
            return db.execute(sql, values).fetchall()

    def mark(self) -> Mark:
        """From here on."""
        (tasks,) = self.rows("SELECT coalesce(max(rowid), 0) FROM tasks")
        (asked,) = self.rows("SELECT coalesce(max(rowid), 0) FROM requests")
        return Mark(self, tasks[0], asked[0])

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.close()


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
