"""5,000 tasks in the ledger: the tab opens at once, scrolls smoothly, and is filtered while one types."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from comfyui_server import ComfyUI

from xalora_client.ledger import Ledger

if TYPE_CHECKING:
    from conftest import Editor

COUNT = 5000
OPENS_IN_MS = 500
FRAMES_A_SECOND = 30
FILTERS_IN_MS = 100
FINDS_IN_MS = 500
TRIES = 3
"""The best of so many counts: the machine is busy with other things as well."""


@pytest.fixture
def many(server: ComfyUI) -> Iterator[None]:
    """5,000 finished tasks in the server's ledger, gone again at the end."""
    with Ledger(server.base / "xalora") as ledger:
        ledger.entries(1)  # Makes the file, if there is none.
    now = time.time()
    rows = [
        {
            "server": "bulk",
            "task_type": "bulk",
            "parameters": f'{{"prompt": "a fox in the forest, picture {number}"}}',
            "source": "cli",
            "state": "finished",
            "tries": 1,
            "result": "null",
            "job_id": f"bulk-{number}",
            "fingerprint": f"bulk-{number}",
            "task_id": f"bulk-task-{number}",
            "created": now - number,
            "submitted": now - number,
            "finished": now - number + 42,
        }
        for number in range(COUNT)
    ]
    names = ", ".join(rows[0])
    places = ", ".join(f":{name}" for name in rows[0])
    with closing(sqlite3.connect(server.base / "xalora" / "ledger.sqlite3", timeout=30)) as db, db:
        db.executemany(f"INSERT INTO tasks ({names}) VALUES ({places})", rows)
    yield
    with closing(sqlite3.connect(server.base / "xalora" / "ledger.sqlite3", timeout=30)) as db, db:
        db.execute("DELETE FROM tasks WHERE task_type = 'bulk'")


def test_the_tab_stays_quick(many: None, editor: Editor, figure: Callable[[str], None]) -> None:
    editor.xalora.open_tab()
    editor.page.wait_for_function(f"document.querySelectorAll('.xalora-row').length && {_TOTAL} >= {COUNT}")

    opening = min(editor.js(_OPEN) for _ in range(TRIES))
    figure(f"{COUNT} tasks: the tab opens in {opening:.0f} ms")
    assert editor.js(_ROWS) < 60
    frames, longest = max(editor.js(_SCROLL) for _ in range(TRIES))
    figure(f"{COUNT} tasks: {frames:.0f} frames a second while scrolling, the longest took {longest:.0f} ms")
    typing, finding = (min(each) for each in zip(*(editor.js(_TYPE) for _ in range(TRIES)), strict=True))
    figure(f"{COUNT} tasks: a key in the filter takes {typing:.0f} ms, and {finding:.0f} ms until the tasks are there")
    assert editor.js(_ROWS) < 60
    assert (opening < OPENS_IN_MS, frames > FRAMES_A_SECOND, typing < FILTERS_IN_MS) == (True, True, True)
    assert finding < FINDS_IN_MS


_ROWS = "() => document.querySelectorAll('.xalora-row').length"
_TOTAL = "+(document.querySelector('.xalora-panel > [role=status]')?.textContent.match(/of (\\d+)/)?.[1] ?? 0)"

_OPEN = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const toggle = () => app.extensionManager.command.execute('Workspace.ToggleSidebarTab.xalora');
    await toggle();
    while (document.querySelector('.xalora-panel')) await frame();
    const began = performance.now();
    toggle();
    while (!document.querySelector('.xalora-row')) await frame();
    await frame();
    return performance.now() - began;
}"""

_SCROLL = """async () => {
    const list = document.querySelector('.xalora-list');
    list.scrollTop = 0;
    const frame = () => new Promise(requestAnimationFrame);
    await frame();
    const began = performance.now();
    let [frames, longest, last] = [0, 0, began];
    while (last - began < 2000) {
        list.scrollTop += 100;
        const now = await frame();
        longest = Math.max(longest, now - last);
        last = now;
        frames++;
    }
    return [frames / (last - began) * 1000, longest];
}"""

_TYPE = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const field = document.querySelector('.xalora-panel input[type=search]');
    const shown = () => document.querySelector('.xalora-panel > [role=status]').textContent;
    let [worst, slowest] = [0, 0];
    for (const text of ['fox picture 499', 'f', 'picture 7', 'fox', 'nothing of it', '']) {
        const [began, before] = [performance.now(), shown()];
        field.value = text;
        field.dispatchEvent(new Event('input'));
        await frame();
        worst = Math.max(worst, performance.now() - began);
        while (shown() === before) await frame();
        slowest = Math.max(slowest, performance.now() - began);
    }
    return [worst, slowest];
}"""
