"""ComfyUI killed at any moment: after a restart the next Run picks up where it stopped, and nothing is paid twice.

``XALORA_CRASH_KILLS`` sets how many kills each version gets (3 unless set; 40 and more to be thorough).
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.support.comfyui_process import IS_SHORT, ComfyUIProcess, booted, install
from tests.support.comfyui_prompts import save_video, text2video
from tests.support.kills import DOWNLOADED, Home, moments, wait_until
from tests.support.processes import PATIENCE
from tests.support.sandbox_process import SandboxProcess

KILLS = int(os.environ.get("XALORA_CRASH_KILLS") or (2 if IS_SHORT else 3))


@pytest.fixture(scope="module")
def crashing(source, tmp_path_factory):
    base = tmp_path_factory.mktemp("crashing")
    install(base / "custom_nodes" / "xalora-nodes")
    comfy = ComfyUIProcess(source, base, XALORA_API_KEY="consumer#crashing", XALORA_HOME=str(base / "xalora"))
    yield from booted(comfy)


@pytest.fixture(scope="module")
def renderer(tmp_path_factory):
    process = SandboxProcess(tmp_path_factory.mktemp("renderer"), render_seconds=0.3)
    yield process
    process.close()


def test_killed_at_any_moment(crashing: ComfyUIProcess, renderer: SandboxProcess, figure):
    crashing.use(renderer.url)
    mark = renderer.mark()
    table: Counter[tuple[str, str]] = Counter()
    downloads = 0
    for seed in range(KILLS):
        prompt = {"1": text2video(seed=seed, width=848, height=480), "2": save_video(["1", 1], f"crash{seed}")}
        home = Home(crashing.base / "xalora")
        choices = moments(home)
        name, now = choices[seed % len(choices)]
        crashing.queue(prompt)
        wait_until(now, PATIENCE)
        crashing.kill()
        reached = home.phase()
        table[name, reached] += 1
        killed = renderer.mark()
        crashing.boot()
        run = crashing.run(prompt).ok()
        assert [file.stat().st_size > 0 for file in run.files("2")] == [True]
        again = len(killed.requests("media/*"))
        assert again == (0 if reached in DOWNLOADED else 1), reached
        downloads += again
    figure(f"{KILLS} kills, {len(mark.tasks())} tasks for {KILLS} intents, {downloads} downloads after a restart")
    for (name, reached), count in sorted(table.items()):
        figure(f"  killed {name!r}: {count} × {reached}")
    assert len(mark.tasks()) == len(mark.jobs()) == KILLS
    assert set(mark.statuses()) == {"finished"}
