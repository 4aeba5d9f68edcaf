"""``xalora sandbox`` in a process of its own, and a look at what it was asked."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.support.processes import Command


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
        self.notes = folder / "requests"
        super().__init__(
            "sandbox", "--port", port, "--data", self.data, "--render-seconds", render_seconds, "--workers", workers,
            "--video-format", video_format, *arguments, cwd=folder, home=folder / "home",
            program=(Path(__file__).with_name("noted_sandbox.py"), self.notes),
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
        return Mark(self, tasks[0], len(self.asked()))

    def asked(self) -> list[tuple[float, str, str | None, str | None, int]]:
        """Each POST and download so far: Unix time, endpoint, job id, task id, HTTP status."""
        lines = self.notes.read_text().splitlines(keepends=True) if self.notes.exists() else []
        return [tuple(json.loads(line)) for line in lines if line.endswith("\n")]

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.close()


@dataclass
class Mark:
    """A sandbox's tasks and requests since a moment."""

    sandbox: SandboxProcess
    last_task: int
    requests_before: int

    def tasks(self) -> list[tuple[str, str]]:
        """Id and status of each task since, in the order they were made."""
        return self.sandbox.rows("SELECT task_id, status FROM tasks WHERE rowid > ? ORDER BY rowid", self.last_task)

    def statuses(self) -> list[str]:
        return sorted(status for _, status in self.tasks())

    def requests(self, endpoint: str) -> list[tuple[float, str | None, int]]:
        """Unix time, task id and HTTP status of each request since; ``endpoint`` may be a pattern."""
        return [(time, task_id, status) for time, _, task_id, status in self._asked(endpoint)]

    def jobs(self) -> set[str | None]:
        """The job ids of all creates since."""
        return {job_id for _, job_id, _, _ in self._asked("task_create")}

    def _asked(self, endpoint: str) -> list[tuple[float, str | None, str | None, int]]:
        since = self.sandbox.asked()[self.requests_before :]
        return [(time, *rest) for time, asked, *rest in since if fnmatchcase(asked, endpoint)]
