"""5,000 tasks in the ledger: the tab opens at once, scrolls smoothly, finds what one types, and stays up to date."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.ledger_steps import answer, identity, run_to
from tests.support.sandbox_process import SandboxProcess
from xalora_client.ledger import Ledger

if TYPE_CHECKING:
    from conftest import Editor

COUNT = 5000
OPENS_IN_MS = 500
FRAMES_A_SECOND = 30
FILTERS_IN_MS = 100
FINDS_IN_MS = 1000
TRIES = 3
"""The best of so many counts: the machine is busy with other things as well."""


@pytest.fixture
def many(server: ComfyUIProcess) -> Iterator[None]:
    """5,000 finished tasks in the server's ledger, gone again at the end."""
    with Ledger(server.base / "xalora") as ledger:
        ledger.find("")  # Makes the file, if there is none.
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


def test_older_tasks_come_by_scrolling_and_stay_in_place(many: None, editor: Editor, ledger: Ledger) -> None:
    asked = list[dict[str, list[str]]]()
    editor.page.on("request", lambda request: "/xalora/tasks?" in request.url and asked.append(query_of(request.url)))
    tab = editor.xalora.open_tab()
    newest = tab.locator(".xalora-row").first.inner_text()
    editor.js(_SCROLL_TO, 120)
    editor.page.wait_for_function("document.querySelectorAll('.xalora-row').length > 140")
    editor.page.wait_for_function(f"({_IN_VIEW})()")
    place = editor.js(_IN_VIEW)
    total = editor.page.evaluate(_TOTAL)

    # Of a change, only what is in view is fetched again, and nothing moves.
    asked.clear()
    run_to(ledger, "finished", "made-meanwhile", asked_of(ledger, "made meanwhile"))
    editor.page.wait_for_function(f"{_TOTAL} === {total + 1}")
    assert editor.js(_IN_VIEW) == place
    editor.until(lambda: asked, "what is in view is fetched again")
    assert [each for each in asked if int(each["limit"][0]) > 60 or "before" not in each] == []

    number = int(editor.js(_NUMBER_IN_VIEW))
    (gone,) = editor.comfy.get(f"/xalora/tasks?limit=1&before={number + 1}").json()["tasks"]
    ledger.forget(gone["task_id"])
    editor.page.wait_for_function(f"{_TOTAL} === {total}")
    editor.until(lambda: editor.js(_NUMBER_IN_VIEW) == str(number - 1), "the next one moves up")

    editor.js(_SCROLL_TO, 0)
    editor.page.wait_for_function("document.querySelector('.xalora-row').innerText.includes('made meanwhile')")
    assert tab.locator(".xalora-row").nth(1).inner_text() == newest


def test_a_task_is_shown_where_it_belongs_and_counted_everywhere(
    many: None, editor: Editor, ended: None, ledger: Ledger
) -> None:
    xalora = editor.xalora
    tab = xalora.open_tab()
    tab.get_by_label("Show", exact=True).select_option(label="Running")
    tab.get_by_text("No task matches.").wait_for()
    run_to(ledger, "running", "one", asked_of(ledger, "the first of them"))
    xalora.task("the first of them").filter(has_text="running 0:0").wait_for()
    tab.get_by_text(re.compile("^1 of ")).wait_for()

    # What has the focus keeps it while the list changes.
    xalora.task("the first of them").click()
    tab.get_by_role("button", name="Cancel task").focus()
    run_to(ledger, "running", "two", asked_of(ledger, "the second of them"))
    tab.get_by_text(re.compile("^2 of ")).wait_for()
    assert editor.js("() => document.activeElement.dataset.action") == "cancel"

    tab.get_by_label("Show", exact=True).select_option(label="Finished")
    tab.get_by_text(re.compile(r"^\d{4,} of ")).wait_for()
    tab.get_by_label("Find by prompt").fill("THEM first")
    tab.get_by_text(re.compile("^0 of ")).wait_for()
    editor.until(lambda: xalora.badge() == "2", "the badge counts both")
    ledger.observed("one", answer("finished", "one"))
    tab.get_by_text(re.compile("^1 of ")).wait_for()
    editor.until(lambda: xalora.badge() == "1", "the badge counts one less")
    ledger.observed("two", answer("failed", "two"))
    editor.until(lambda: xalora.badge() == "", "the badge is gone")
    tab.get_by_label("Find by prompt").fill("them")
    tab.get_by_label("Show", exact=True).select_option(label="Failed or canceled")
    xalora.task("the second of them").wait_for()


@pytest.fixture
def ledger(editor: Editor, sandbox: SandboxProcess) -> Iterator[Ledger]:
    """What the editor shows, as another program writes it."""
    with Ledger(editor.comfy.base / "xalora", sandbox.url) as ledger:
        yield ledger
        for task_id in ("made-meanwhile", "one", "two"):
            ledger.forget(task_id)


def asked_of(ledger: Ledger, prompt: str) -> Any:
    return replace(identity(prompt), server=ledger.server, parameters={"prompt": prompt})


def query_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


_SCROLL_TO = """async place => {
    const list = document.querySelector('.xalora-list');
    while (list.scrollTop !== place * 80) {
        list.scrollTop = place * 80;
        await new Promise(requestAnimationFrame);
    }
}"""

_IN_VIEW = """() => {
    const {x, y} = document.querySelector('.xalora-list').getBoundingClientRect();
    return document.elementFromPoint(x + 80, y + 80).closest('.xalora-row').innerText;
}"""

_NUMBER_IN_VIEW = _IN_VIEW.replace("innerText", "id.match(/\\d+/)[0]")

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
