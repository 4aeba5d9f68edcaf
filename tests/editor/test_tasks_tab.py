"""The sidebar tab: the tasks of the ledger, live, and what can be done with them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_sequencer import status
from tests.support.fake_xalora import FakeXalora
from tests.support.ledger_steps import claim, identity, run_to
from tests.support.pictures import png
from tests.support.sandbox_process import SandboxProcess
from xalora_client.ledger import Ledger

if TYPE_CHECKING:
    from conftest import Editor

SMALL = {"width": 64, "height": 48, "length": 5}


@pytest.fixture
def prompt() -> str:
    """A prompt that no other test has."""
    return f"a rabbit {secrets.token_hex(3)}"


def forgive(editor: Editor, problem: str) -> None:
    """Chromium itself reports the requests that this test has had fail."""
    editor.problems[:] = [each for each in editor.problems if problem not in each]


def run(editor: Editor, prompt: str, **values: Any) -> int:
    """Run a node with a saved video; returns its id at once."""
    node = editor.add("XaloraText2Video", prompt=prompt, **SMALL, **values)
    editor.add("SaveVideo")
    editor.js("""() => {
        const [from, to] = app.graph.nodes.slice(-2);
        to.pos = [1000, 200];
        from.connect(from.findOutputSlot('video'), to, to.findInputSlot('video'));
    }""")
    editor.queue()
    return node


def test_a_task_is_followed_from_its_start_to_its_result(editor: Editor, ended: None, prompt: str) -> None:
    xalora = editor.xalora
    xalora.open_tab()
    run(editor, prompt)
    row = xalora.task(prompt)
    row.filter(has_text=re.compile(r"(queued|running) 0:0\d")).wait_for()
    editor.until(lambda: xalora.badge() == "1", "the badge counts it")
    assert editor.end()["name"] == "execution_success"
    row.filter(has_text="finished").wait_for()
    row.locator("img:visible").wait_for()
    editor.page.wait_for_function("document.querySelector('.xalora-row img').naturalWidth > 0")
    editor.until(lambda: xalora.badge() == "", "the badge is gone")

    xalora.act(prompt, "Show")
    shown = xalora.dialog("Result of the task")
    shown.locator("video").wait_for()
    editor.page.wait_for_function("document.querySelector('dialog video').videoWidth === 64")
    editor.page.keyboard.press("Escape")
    shown.wait_for(state="detached")


def test_cancel_from_the_tab_reaches_the_sequencer_and_the_node(
    editor: Editor, ended: None, prompt: str, endless: SandboxProcess, configured: Callable[[str], None]
) -> None:
    configured(endless.url)
    mark = endless.mark()
    run(editor, prompt)
    editor.xalora.task(prompt).filter(has_text="running 0:0").wait_for()
    editor.xalora.act(prompt, "Cancel task")
    editor.xalora.task(prompt).filter(has_text="canceled").wait_for()
    assert mark.statuses() == ["canceled"]
    # The node asks the sequencer, and ends as well.
    assert editor.end()["name"] == "execution_interrupted"


def test_cancel_in_the_queue_shows_in_the_tab(
    editor: Editor, ended: None, prompt: str, endless: SandboxProcess, configured: Callable[[str], None]
) -> None:
    configured(endless.url)
    mark = endless.mark()
    run(editor, prompt)
    row = editor.xalora.task(prompt)
    row.filter(has_text="running 0:0").wait_for()
    editor.page.get_by_role("button", name="Cancel current run").first.click()
    assert editor.end()["name"] == "execution_interrupted"
    row.filter(has_text="canceled").wait_for()
    assert mark.statuses() == ["canceled"]


def test_what_an_earlier_program_left_is_collected(editor: Editor, ended: None, prompt: str) -> None:
    """Without a node that waits: the tab asks about it, and downloads it."""
    run(editor, prompt, wait=False)
    assert editor.end()["name"] == "execution_success"
    editor.xalora.task(prompt).filter(has_text="finished").wait_for()
    editor.xalora.act(prompt, "Collect")
    editor.xalora.dialog("Result of the task").locator("video").wait_for()
    editor.page.keyboard.press("Escape")
    editor.xalora.act(prompt, "Show")


def test_all_pictures_of_a_task_are_shown(
    editor: Editor, ended: None, prompt: str, configured: Callable[[str], None]
) -> None:
    server = FakeXalora()
    urls = [server._serve(number, png(16, 16 + number)) for number in range(3)]
    answer = status("finished", result=urls[0], results=urls, revision=1, long_poll_seconds=25)
    server.ends = lambda number, parameters: answer
    configured(server.url)
    editor.add("XaloraFluxLora", prompt=prompt, lora_name="gecko.safetensors")
    editor.queue()
    assert editor.end()["name"] == "execution_success"
    editor.xalora.act(prompt, "Show")
    editor.xalora.dialog("Result of the task").locator("img").nth(2).wait_for()
    heights = "[...document.querySelectorAll('dialog img')].map(each => each.naturalHeight).join()"
    editor.page.wait_for_function(f"{heights} === '16,17,18'")
    server.close()


def test_a_result_that_cannot_be_shown_is_said_to_be_there(editor: Editor, ended: None, prompt: str) -> None:
    run(editor, prompt, wait=False)
    assert editor.end()["name"] == "execution_success"
    editor.xalora.task(prompt).filter(has_text="finished").wait_for()
    temp = editor.comfy.base / "temp"
    temp.rename(editor.comfy.base / "kept")
    temp.write_text("a file where the folder was")
    try:
        editor.xalora.act(prompt, "Collect")
        editor.xalora.message("its result is stored")
    finally:
        temp.unlink()
        (editor.comfy.base / "kept").rename(temp)


def test_nodes_in_subgraphs_are_found_and_a_new_one_goes_where_the_user_looks(editor: Editor, prompt: str) -> None:
    editor.add("XaloraText2Video", prompt=prompt, **SMALL)
    editor.js("() => { app.canvas.graph.convertToSubgraph(new Set(app.graph.nodes)) }")
    editor.queue()
    assert editor.end()["name"] == "execution_success"
    assert editor.js("() => app.canvas.graph === app.graph")
    editor.xalora.act(prompt, "Go to node")
    inner = "() => app.canvas.graph !== app.graph && app.canvas.graph.nodes.map(each => each.type)"
    editor.page.wait_for_function(inner)
    assert "XaloraText2Video" in editor.js(inner)
    editor.xalora.act(prompt, "Insert status node")
    assert "XaloraTaskStatus" in editor.js(inner)
    assert "XaloraTaskStatus" not in editor.nodes().values()


def test_the_id_goes_into_a_status_node_and_to_the_clipboard(editor: Editor, prompt: str) -> None:
    editor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    run(editor, prompt)
    assert editor.end()["name"] == "execution_success"
    editor.xalora.act(prompt, "Insert status node")
    (node,) = [node for node, kind in editor.nodes().items() if kind == "XaloraTaskStatus"]
    task_id = editor.widgets(node)["task_id"]
    assert task_id
    editor.xalora.act(prompt, "Copy id")
    editor.xalora.message("Copied")
    assert editor.js("() => navigator.clipboard.readText()") == task_id
    editor.xalora.open_tab().get_by_label("Find by prompt").fill(task_id)
    assert prompt in editor.xalora.task(prompt).inner_text()


def test_an_id_is_copied_where_there_is_no_clipboard(editor: Editor, prompt: str) -> None:
    """As over plain http from another computer."""
    editor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    editor.js("""() => {
        window.clipboard = navigator.clipboard;
        Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true});
    }""")
    run(editor, prompt)
    assert editor.end()["name"] == "execution_success"
    editor.xalora.act(prompt, "Copy id")
    editor.xalora.message("Copied")
    (task,) = editor.comfy.get(f"/xalora/tasks?text={prompt}").json()["tasks"]
    assert editor.js("() => window.clipboard.readText()") == task["task_id"]
    assert editor.js("() => document.activeElement.dataset.action") == "menu"
    editor.js("() => { document.execCommand = () => false }")
    editor.xalora.act(prompt, "Copy id")
    editor.xalora.message(f"The id is {task['task_id']}")


def test_inside_a_subgraph_nodes_are_those_of_the_subgraph(editor: Editor, prompt: str) -> None:
    node = run(editor, prompt)
    assert editor.end()["name"] == "execution_success"
    outer = editor.js(
        """id => {
            const other = app.graph.add(LiteGraph.createNode('PreviewImage')) ?? app.graph.nodes.at(-1);
            const {node} = app.graph.convertToSubgraph(new Set([other]));
            app.canvas.setGraph(node.subgraph);
            return node.id;
        }""",
        node,
    )
    editor.xalora.act(prompt, "Insert status node")
    kinds = "id => (id ? app.graph.getNodeById(id).subgraph : app.graph).nodes.map(({type}) => type)"
    assert "XaloraTaskStatus" in editor.js(kinds, outer)
    assert "XaloraTaskStatus" not in editor.js(kinds, None)
    editor.xalora.act(prompt, "Go to node")
    editor.page.wait_for_function("app.canvas.graph === app.graph")
    editor.page.wait_for_function("id => app.canvas.selected_nodes?.[id] || app.canvas.selectedItems.size", arg=node)


def test_the_tab_leads_to_the_node_that_asked(editor: Editor, prompt: str) -> None:
    node = run(editor, prompt)
    assert editor.end()["name"] == "execution_success"
    editor.js("() => { app.canvas.ds.offset = [9000, 9000] }")
    editor.xalora.act(prompt, "Go to node")
    editor.page.wait_for_function("id => app.canvas.selected_nodes?.[id] || app.canvas.selectedItems.size", arg=node)
    assert f"from node {node}: Text to Video (Xalora Text2Video)" in editor.xalora.open_tab().inner_text()


def test_the_settings_of_a_run_are_shown(editor: Editor, prompt: str) -> None:
    run(editor, prompt, seed=4711)
    assert editor.end()["name"] == "execution_success"
    editor.xalora.act(prompt, "Settings of the run")
    shown = editor.xalora.dialog("Settings of the run").inner_text()
    assert re.search(r"noise_seed\s+4711|seed\s+4711", shown), shown
    assert prompt in shown


def test_forgetting_warns_first(editor: Editor, prompt: str) -> None:
    run(editor, prompt)
    assert editor.end()["name"] == "execution_success"
    row = editor.xalora.task(prompt)
    # A picture of a forgotten task could not be loaded.
    editor.page.wait_for_function("document.querySelector('.xalora-row img').naturalWidth > 0")
    editor.xalora.act(prompt, "Forget")
    dialog = editor.xalora.dialog("Forget this task?")
    assert "paid for again" in dialog.inner_text()
    dialog.get_by_role("button", name="Cancel").click()
    assert row.count()
    editor.xalora.act(prompt, "Forget")
    dialog.get_by_role("button", name="Forget").click()
    row.wait_for(state="detached")
    # Not on the page as a whole, although the button that had it is gone.
    editor.page.wait_for_function("document.activeElement.closest('.xalora-panel') !== null")
    assert prompt not in editor.comfy.get("/xalora/tasks").text


def test_the_list_is_used_with_the_keyboard_alone(editor: Editor, prompt: str) -> None:
    for number in range(2):
        run(editor, f"{prompt} number {number}", seed=number)
        assert editor.end()["name"] == "execution_success"
    tab = editor.xalora.open_tab()
    tab.get_by_label("Find by prompt").fill(prompt)
    tab.get_by_text("2 of ").wait_for()
    before = editor.nodes()
    editor.page.keyboard.press("Tab")
    editor.page.keyboard.press("Tab")
    assert editor.js("() => document.activeElement.getAttribute('role')") == "listbox"
    editor.page.keyboard.press("ArrowDown")
    editor.page.keyboard.press("ArrowDown")
    chosen = "() => document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).innerText"
    assert "number 0" in editor.js(chosen)
    editor.page.keyboard.press("Delete")
    assert editor.nodes() == before
    editor.page.keyboard.press("Enter")
    editor.xalora.dialog("Result of the task")
    editor.page.keyboard.press("Escape")
    assert editor.js("() => document.activeElement.getAttribute('role')") == "listbox"


def test_an_empty_list_and_a_server_that_is_away_say_what_to_do(editor: Editor) -> None:
    empty = {"tasks": [], "total": 0, "all": 0, "running": 0, "next": None, "now": 0}
    editor.page.route("**/xalora/tasks?*", lambda route: route.fulfill(json=empty))
    tab = editor.xalora.open_tab()
    tab.get_by_text("Add a node").wait_for()
    editor.page.unroute("**/xalora/tasks?*")
    # Or the list comes back by itself before the button is pressed.
    editor.page.route("**/xalora/refresh", lambda route: route.abort())
    editor.page.route("**/xalora/tasks?*", lambda route: route.abort())
    editor.xalora.tab_button().click()
    editor.xalora.tab_button().click()
    tab.get_by_text("ComfyUI does not answer").wait_for()
    editor.page.unroute("**/xalora/tasks?*")
    tab.get_by_role("button", name="Try again").click()
    tab.get_by_text("ComfyUI does not answer").wait_for(state="detached")
    forgive(editor, "net::ERR_FAILED")


def test_a_server_that_dies_is_noticed_by_an_open_list(
    editor: Editor, ended: None, prompt: str, endless: SandboxProcess, configured: Callable[[str], None]
) -> None:
    configured(endless.url)
    run(editor, prompt)
    row = editor.xalora.task(prompt)
    row.filter(has_text="running 0:0").wait_for()
    editor.page.route("**/xalora/**", lambda route: route.abort())
    tab = editor.xalora.open_tab()
    tab.get_by_text("ComfyUI does not answer").wait_for()
    # It does not go on counting.
    still = row.inner_text()
    editor.page.wait_for_timeout(2500)
    assert row.inner_text() == still
    editor.page.unroute("**/xalora/**")
    tab.get_by_text("ComfyUI does not answer").wait_for(state="detached")
    forgive(editor, "net::ERR_FAILED")


def test_only_what_can_be_known_to_run_counts_as_running(editor: Editor, ended: None, sandbox: SandboxProcess) -> None:
    home = editor.comfy.base / "xalora"
    for server, task_id in (("https://elsewhere.example", "there"), (sandbox.url, "forgotten"), (sandbox.url, "")):
        with Ledger(home, server, clock=lambda: time.time() - 48 * 3600) as ledger:
            name = f"a rabbit {task_id or 'unsent'}"
            task = replace(identity(name), server=server, parameters={"prompt": name})
            if task_id:
                run_to(ledger, "running", task_id, task)
            else:
                claim(ledger, task).release()
    xalora = editor.xalora
    xalora.task("a rabbit there").filter(has_text="at another server, not asked").wait_for()
    # The list asks at once when it is opened.
    xalora.tab_button().click()
    xalora.task("a rabbit forgotten").filter(has_text="no longer knows it").wait_for()
    xalora.task("a rabbit unsent").filter(has_text="not certain").wait_for()
    tab = xalora.open_tab()
    assert not re.search(r"\d:\d\d:\d\d|could not be asked", tab.locator(".xalora-list").inner_text())
    assert "could not be asked" not in tab.inner_text()
    assert xalora.badge() == ""
    xalora.act("a rabbit forgotten", "Copy id")
    assert "no longer knows it" in tab.locator(".xalora-details").inner_text()


def test_a_picture_that_was_missing_is_shown_once_it_is_there(editor: Editor, prompt: str) -> None:
    editor.page.route("**/thumbnail?*", lambda route: route.fulfill(status=404))
    run(editor, prompt)
    assert editor.end()["name"] == "execution_success"
    row = editor.xalora.task(prompt)
    row.filter(has_text="finished").wait_for()
    editor.until(lambda: any("404" in each for each in editor.problems), "the picture was asked for")
    assert not row.locator("img:visible").count()
    editor.page.unroute("**/thumbnail?*")
    editor.xalora.act(prompt, "Show")
    editor.xalora.dialog("Result of the task")
    editor.page.keyboard.press("Escape")
    row.locator("img:visible").wait_for()
    forgive(editor, "404")


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_texts_can_be_read_in_each_theme(editor: Editor, prompt: str, palette: str) -> None:
    """By WCAG's contrast of at least 4.5 between a text and what is behind it."""
    run(editor, prompt)
    assert editor.end()["name"] == "execution_success"
    editor.js("palette => app.extensionManager.setting.set('Comfy.ColorPalette', palette)", palette)
    try:
        editor.xalora.task(prompt).click()
        editor.page.wait_for_timeout(500)
        poor = editor.js(_POOR_CONTRAST)
    finally:
        editor.js("() => app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")
    assert poor == []


_POOR_CONTRAST = """() => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d');
    const rgba = color => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const behind = element => {
        for (; element; element = element.parentElement) {
            const color = rgba(getComputedStyle(element).backgroundColor);
            if (color[3] > 250) return color;
        }
        return [255, 255, 255, 255];
    };
    const light = ([r, g, b]) => {
        const [R, G, B] = [r, g, b].map(c => c / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
        return .2126 * R + .7152 * G + .0722 * B;
    };
    const poor = [];
    for (const element of document.querySelectorAll('.xalora-panel *')) {
        const own = [...element.childNodes].some(each => each.nodeType === 3 && each.textContent.trim());
        if (!own || !element.checkVisibility()) continue;
        const [one, two] = [rgba(getComputedStyle(element).color), behind(element)].map(light).sort((a, b) => b - a);
        const contrast = (one + .05) / (two + .05);
        if (contrast < 4.5) poor.push([element.className, element.textContent.slice(0, 30), contrast.toFixed(2)]);
    }
    return poor;
}"""
