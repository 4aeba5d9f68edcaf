"""ComfyUI killed at any moment: after a restart the next Run picks up where it stopped, and nothing is paid twice.

``XALORA_CRASH_KILLS`` sets how many kills each version gets (3 unless set; 40 and more to be thorough).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from comfyui_prompts import save_video, text2video
from comfyui_server import ComfyUI, booted, install
from processes import PATIENCE
from sandbox_process import SandboxProcess

KILLS = int(os.environ.get("XALORA_CRASH_KILLS", "3"))


class Home:
    """The pack's home, looked at from outside while it is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: set[Path] = set()

    def begin(self) -> None:
        """Take no notice of what earlier kills left."""
        self.known |= self.media()

    def entry(self, seed: int) -> tuple[str, str | None] | None:
        """State and media hash of the task with this seed."""
        ledger = self.folder / "ledger.sqlite3"
        if not ledger.exists():
            return None
        with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            query = "SELECT state, sha256 FROM tasks WHERE json_extract(parameters, '$.seed') = ? ORDER BY number DESC"
            return db.execute(query, (seed,)).fetchone()

    def phase(self, seed: int) -> str:
        """How far the task is."""
        entry = self.entry(seed)
        if entry is None:
            return "before the create"
        state, sha256 = entry
        if state in ("creating", "doubtful"):
            return "create in flight"
        if state in ("waiting", "running"):
            return "waiting"
        if sha256 is not None:
            return "stored"
        if self.complete():
            return "downloaded, not yet stored"
        return "downloading" if self.incoming() else "finished, not yet downloaded"

    def media(self) -> set[Path]:
        return {path for path in (self.folder / "media").glob("*/*") if path.parent.name != "in-use"} - self.known

    def incoming(self) -> bool:
        with suppress(FileNotFoundError):  # It is complete now, or gone.
            return any(path.suffix == ".part" and path.stat().st_size for path in self.media())
        return False

    def complete(self) -> bool:
        return any(path.suffix != ".part" for path in self.media())


def moments(home: Home, seed: int) -> list[tuple[str, Callable[[], bool]]]:
    """When to kill, by name."""
    began = time.monotonic()

    def after(seconds: float) -> Callable[[], bool]:
        return lambda: time.monotonic() - began >= seconds

    return [
        ("at once", after(0.0)),
        ("ledger written", lambda: home.entry(seed) is not None),
        ("task known", lambda: home.phase(seed) == "waiting"),
        ("0.7 s later", lambda: home.phase(seed) == "waiting" and after(0.7)()),
        ("bytes coming in", lambda: home.incoming() or home.complete()),
        ("all bytes there", home.complete),
        ("result heard", lambda: (home.entry(seed) or ("",))[0] == "finished"),
        ("result written down", lambda: home.phase(seed) == "stored"),
    ]


@pytest.fixture(scope="module")
def crashing(source, tmp_path_factory):
    base = tmp_path_factory.mktemp("crashing")
    install(base / "custom_nodes" / "xalora-nodes")
    comfy = ComfyUI(source, base, XALORA_API_KEY="consumer#crashing", XALORA_HOME=str(base / "xalora"))
    yield from booted(comfy)


@pytest.fixture(scope="module")
def renderer(tmp_path_factory):
    process = SandboxProcess(tmp_path_factory.mktemp("renderer"), render_seconds=0.3)
    yield process
    process.close()


def test_killed_at_any_moment(crashing: ComfyUI, renderer: SandboxProcess, figure):
    crashing.use(renderer.url)
    home = Home(crashing.base / "xalora")
    mark = renderer.mark()
    table: Counter[tuple[str, str]] = Counter()
    downloads = 0
    for seed in range(KILLS):
        prompt = {"1": text2video(seed=seed, width=848, height=480), "2": save_video(["1", 1], f"crash{seed}")}
        home.begin()
        choices = moments(home, seed)
        name, now = choices[seed % len(choices)]
        crashing.queue(prompt)
        deadline = time.monotonic() + PATIENCE
        while not now() and time.monotonic() < deadline:
            time.sleep(0.001)
        crashing.kill()
        reached = home.phase(seed)
        table[name, reached] += 1
        killed = renderer.mark()
        crashing.boot()
        run = crashing.run(prompt).ok()
        assert [file.stat().st_size > 0 for file in run.files("2")] == [True]
        again = len(killed.requests("media/*"))
        assert again == (0 if reached in ("downloaded, not yet stored", "stored") else 1), reached
        downloads += again
    query = "SELECT DISTINCT job_id FROM requests WHERE endpoint = 'task_create' AND rowid > ?"
    jobs = renderer.rows(query, mark.last_request)
    figure(f"{KILLS} kills, {len(mark.tasks())} tasks for {KILLS} intents, {downloads} downloads after a restart")
    for (name, reached), count in sorted(table.items()):
        figure(f"  killed {name!r}: {count} × {reached}")
    assert len(mark.tasks()) == len(jobs) == KILLS
    assert set(mark.statuses()) == {"finished"}
