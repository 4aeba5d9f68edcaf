"""The editor of each ComfyUI found, in a real browser, with the pack installed and a sandbox as sequencer."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import launched
from tests.support.chromium import path_or_skip as chromium_or_skip
from tests.support.comfyui_process import (
    NO_FRONTEND,
    NONE_FOUND,
    ComfyUIProcess,
    booted,
    found,
    install,
    newest_frontend,
    version_of,
)
from tests.support.processes import ROOT
from tests.support.sandbox_process import SandboxProcess
from tests.support.xalora_panel import XaloraPanel

PATIENCE = 60.0
"""Seconds that the page may take for anything on a machine that is busy with other things."""

SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False}
"""As of someone who has used the editor before: no tour at the start, and nothing over the canvas."""


@pytest.fixture(scope="session", params=found() or [None], ids=lambda source: version_of(source) if source else "none")
def editor_source(request: pytest.FixtureRequest) -> Path:
    """The folder of a ComfyUI; every test that uses it runs once for each."""
    if request.param is None:
        pytest.skip(NONE_FOUND)
    return request.param


@pytest.fixture(scope="session")
def canary() -> str:
    """The secret half of the key."""
    return f"canary{secrets.token_hex(16)}"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser to drive."""
    return chromium_or_skip()


@pytest.fixture(scope="session")
def server(editor_source: Path, chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """A ComfyUI with the pack and the picture that ComfyUI comes with. Its key is in ``.env``, see ``configured``."""
    comfy = _with_pack(editor_source, tmp_path_factory.mktemp("editor"))
    shutil.copyfile(editor_source / "input" / "example.png", comfy.base / "input" / "example.png")
    yield from booted(comfy)


def _with_pack(source: Path, base: Path, *arguments: str, **settings: Any) -> ComfyUIProcess:
    """A ComfyUI with the pack, not started yet; ``settings`` are the editor's."""
    comfy = ComfyUIProcess(source, base, *arguments, XALORA_HOME=str(base / "xalora"))
    install(comfy.base / "custom_nodes" / "xalora-nodes")
    stored = comfy.base / "user" / "default" / "comfy.settings.json"
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps(SETTINGS | settings))
    return comfy


@pytest.fixture(scope="session")
def packed() -> Callable[[Path, Path], ComfyUIProcess]:
    """A function that installs the pack for a ComfyUI, given its source and a base directory, and does not start it."""
    return _with_pack


@pytest.fixture(scope="module", params=["own", "newest", "newest, Nodes 2.0"])
def any_editor(
    request: pytest.FixtureRequest, editor_source: Path, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyUIProcess]:
    """A ComfyUI without a key and with each editor there is: its own, and the newest with either canvas.

    The newest editor runs on the newest ComfyUI.
    """
    arguments, settings = list[str](), dict[str, Any]()
    if request.param != "own":
        page = newest_frontend()
        if page is None:
            pytest.skip(NO_FRONTEND)
        if editor_source != max(found(), key=lambda source: [int(part) for part in version_of(source).split(".")]):
            pytest.skip("the newest editor is tried on the newest ComfyUI")
        arguments = ["--front-end-root", str(page)]
        settings = {"Comfy.VueNodes.Enabled": request.param.endswith("Nodes 2.0")}
    yield from booted(_with_pack(editor_source, tmp_path_factory.mktemp("any"), *arguments, **settings))


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Chromium."""
    yield from launched(chromium)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Renders in 1.5 s: long enough to see a task run."""
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"), render_seconds=1.5, workers=16)
    yield process
    process.close()


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Takes every task up at once and finishes none."""
    process = SandboxProcess(tmp_path_factory.mktemp("endless"), render_seconds=3600, workers=16)
    yield process
    process.close()


@pytest.fixture(scope="session")
def configured(server: ComfyUIProcess, canary: str) -> Callable[[str], None]:
    """A function that points the pack at a sequencer, with the canary as key."""
    return lambda url: server.use(url, XALORA_API_KEY=f"consumer-of-tests#{canary}")


def _opened(server: ComfyUIProcess, browser: Any) -> Iterator[Editor]:
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    editor = Editor(context.new_page(), server)
    editor.open()
    yield editor
    context.close()


@pytest.fixture(scope="module")
def opening(browser: Any) -> Callable[[ComfyUIProcess], Any]:
    """A function that opens the editor of any server, for a with block."""
    return lambda server: contextmanager(_opened)(server, browser)


@pytest.fixture
def editor(
    server: ComfyUIProcess,
    browser: Any,
    sandbox: SandboxProcess,
    configured: Callable[[str], None],
    figure: Callable[[str], None],
) -> Iterator[Editor]:
    """The editor, freshly opened, with an empty graph. At the end nothing may have gone wrong in the browser."""
    configured(sandbox.url)
    for editor in _opened(server, browser):
        figure(f"frontend {editor.js('window.__COMFYUI_FRONTEND_VERSION__')}, Chromium {browser.version}")
        yield editor
        server.check_alive()
        server.settle()
        assert editor.problems == []


@pytest.fixture
def ended(editor: Editor) -> None:
    """No task is left open by earlier tests: they would count."""
    for task in editor.comfy.get("/xalora/tasks?state=open").json()["tasks"]:
        path = f"/xalora/tasks/{task['task_id'] or task['job_id']}/forget"
        editor.comfy.post(path, {}).raise_for_status()


@pytest.fixture(scope="module")
def opened_once(server: ComfyUIProcess, browser: Any) -> Iterator[Editor]:
    """The editor that tests share which leave nothing open in it; opening one takes seconds."""
    yield from _opened(server, browser)


@pytest.fixture
def canvas(opened_once: Editor, sandbox: SandboxProcess, configured: Callable[[str], None]) -> Iterator[Editor]:
    """The shared editor with an empty graph. Nothing may have gone wrong in the browser since it was opened."""
    configured(sandbox.url)
    opened_once.js("() => app.graph.clear()")
    yield opened_once
    opened_once.comfy.check_alive()
    opened_once.comfy.settle()
    assert opened_once.problems == []


class Editor:
    """The editor in a page.

    ``problems`` are what the console says about the pack and exceptions in the page. While the editor opens, only those
    count that come from the pack: some versions throw one of their own then.
    """

    def __init__(self, page: Any, comfy: ComfyUIProcess) -> None:
        self.page = page
        self.comfy = comfy
        self.problems: list[str] = []
        self.is_open = False
        self.xalora = XaloraPanel(page)
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", self._note_exception)
        page.on("console", self._note_message)

    def _note_exception(self, error: Any) -> None:
        told = f"exception: {error.stack}"
        if self.is_open or "xalora" in told.lower():
            self.problems.append(told)

    def _note_message(self, message: Any) -> None:
        told = f"{message.type}: {message.text} ({message.location.get('url')})"
        # Newer editors ask the Registry about a node that failed; a test's ComfyUI keeps them off the network.
        if message.type in ("error", "warning") and "xalora" in told.lower() and "//api.comfy.org/" not in told:
            self.problems.append(told)

    def open(self) -> None:
        """Open the editor, wait until it has shown its first workflow, and clear that away."""
        self.page.goto(self.comfy.url)
        self.page.wait_for_function("window.app?.extensionManager?.workflow?.activeWorkflow && app.graph?.nodes.length")
        self.js("""() => {
            window.seen = {end: null, texts: {}};
            for (const name of ['execution_success', 'execution_error', 'execution_interrupted'])
                app.api.addEventListener(name, event => { seen.end = {name, ...event.detail} });
            setInterval(() => { for (const node of app.graph.nodes) {
                const text = node.widgets?.find(widget => widget.name === '$$node-text-preview')?.value;
                const texts = seen.texts[node.id] ??= [];
                if (text && texts.at(-1) !== text) texts.push(text);
            } }, 40);
            app.graph.clear();
        }""")
        self.is_open = True

    def js(self, script: str, argument: Any = None) -> Any:
        """Evaluate JavaScript in the page."""
        return self.page.evaluate(script, argument)

    def load(self, workflow: Any) -> None:
        """Open a workflow in the editor's format, as dropping its file does, and bring all of it into view."""
        self.js("async workflow => { await app.loadGraphData(workflow) }", workflow)
        self.js("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(500)

    def add(self, node_type: str, **values: Any) -> int:
        """Add a node with these widget values; returns its id."""
        return self.js(
            """([type, values]) => {
                const node = LiteGraph.createNode(type);
                app.graph.add(node);
                node.pos = [500, 200];
                for (const [name, value] of Object.entries(values))
                    node.widgets.find(widget => widget.name === name).value = value;
                return node.id;
            }""",
            [node_type, values],
        )

    def widgets(self, node: int) -> dict[str, Any]:
        """Names and values of a node's widgets, in their order."""
        return dict(self.js("id => app.graph.getNodeById(id).widgets.map(({name, value}) => [name, value])", node))

    def nodes(self) -> dict[int, str]:
        """Ids and types of all nodes."""
        return {
            int(each["id"]): each["type"] for each in self.js("() => app.graph.nodes.map(({id, type}) => ({id, type}))")
        }

    def export(self) -> dict[str, Any]:
        """The graph as the editor saves it (``workflow``) and as it sends it (``output``)."""
        return json.loads(self.js("async () => JSON.stringify(await app.graphToPrompt())"))

    def queue(self) -> None:
        """Press Run."""
        self.js("() => { seen.end = null; seen.texts = {} }")
        self.page.get_by_role("button", name="Run", exact=True).first.click()

    def end(self) -> dict[str, Any]:
        """Wait until the prompt has ended; ``name`` says how."""
        deadline = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < deadline:
            self.comfy.check_alive()
            if end := self.js("() => seen.end"):
                return end
            self.page.wait_for_timeout(100)
        raise AssertionError(f"the prompt did not end; the nodes said {self.js('() => seen.texts')}")

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until the condition holds, while the page goes on."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"still not: {what}"
            self.page.wait_for_timeout(50)

    def texts(self, node: int) -> list[str]:
        """The progress texts that a node showed since Run was pressed."""
        return self.js("id => seen.texts[id] ?? []", node)

    def preview(self, node: int) -> list[dict[str, Any]]:
        """What a node shows of its result, once that is loaded: kind, width, height. A live preview does not count."""
        self.page.wait_for_function(f"({_PREVIEW})({node}).some(each => each.width > 0)")
        return self.js(_PREVIEW, node)

    def preview_played(self, node: int) -> bool:
        """Wait until a video of the node's result is in view and plays on; in Nodes 2.0 it is part of the page."""
        self.page.wait_for_function(_ANY_VIDEO, arg=node)
        return self.js(
            f"""async id => {{
                const video = ({_ANY_VIDEO})(id);
                video.muted = true;
                video.loop = true;
                await video.play();
                const seen = new Set();
                for (let look = 0; look < 100 && seen.size < 2; look++) {{
                    seen.add(video.currentTime);
                    await new Promise(resume => setTimeout(resume, 30));
                }}
                return seen.size > 1;
            }}""",
            node,
        )

    def close_error(self) -> None:
        """Close the error dialog, which older editors open, and which hears a key only once it has been drawn."""
        dialog = self.page.get_by_text("Show Report")
        for _ in range(60):
            if not dialog.count():
                return
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(500)
        raise AssertionError("the error dialog stays open")

    def visible_text(self) -> str:
        """All text that can be read in the page."""
        return self.js("() => document.body.innerText")

    def error_shown(self) -> str:
        """The text in view once the error report is, which newer editors open on demand."""
        details = self.page.get_by_text("View details")
        dialog = self.page.get_by_text("Show Report")
        details.or_(dialog).first.wait_for()
        (details if details.count() else dialog).first.click()
        self.page.get_by_text("ComfyUI Error Report").first.wait_for()
        return self.visible_text()


_PREVIEW = """id => {
    const node = app.graph.getNodeById(id);
    const videos = [...(node.videoContainer?.querySelectorAll('video') ?? [])];
    return [
        ...videos.map(each => ({kind: 'video', width: each.videoWidth, height: each.videoHeight})),
        ...(node.imgs ?? [])
            .filter(each => each.tagName === 'IMG' && each.naturalWidth && !each.src.startsWith('blob:'))
            .map(each => ({kind: 'image', width: each.naturalWidth, height: each.naturalHeight})),
    ];
}"""


_ANY_VIDEO = """id => [
    ...app.graph.getNodeById(id).videoContainer?.querySelectorAll('video') ?? [],
    ...document.querySelectorAll(`[data-node-id="${id}"] video`),
].find(video => video.videoWidth > 0)"""


def _examples() -> list[Path]:
    return sorted((ROOT / "example_workflows").glob("*.json"))


@pytest.fixture(params=_examples(), ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest) -> Path:
    """Each example workflow."""
    return request.param
