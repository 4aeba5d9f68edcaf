"""A page of another origin, in a real browser, can neither read nor change anything through our routes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess

if TYPE_CHECKING:
    from conftest import Editor


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """The port of another site."""
    site = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield site.server_port
    site.shutdown()
    site.server_close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


ATTEMPTS = """async ({url, task}) => {
    const tried = {};
    const attempt = async (name, work) => {
        try { tried[name] = await work() } catch (error) { tried[name] = null }
    };
    const read = async (path, options = {}) => {
        const answer = await fetch(url + path, options);
        return answer.type === 'opaque' ? null : [answer.status, await answer.text()];
    };
    const body = JSON.stringify({api_key: 'evil#key-of-the-other-site', workflow_url: 'http://evil.example'});
    const json = {method: 'POST', headers: {'Content-Type': 'application/json'}, body};
    for (const prefix of ['', '/api']) {
        for (const path of ['/xalora/tasks', '/xalora/config', `/xalora/tasks/${task}`]) {
            await attempt(`GET ${prefix}${path}`, () => read(prefix + path));
            await attempt(`GET no-cors ${prefix}${path}`, () => read(prefix + path, {mode: 'no-cors'}));
            await attempt(`GET with cookies ${prefix}${path}`, () => read(prefix + path, {credentials: 'include'}));
        }
        for (const path of ['/xalora/config', '/xalora/test', `/xalora/tasks/${task}/forget`]) {
            await attempt(`POST ${prefix}${path}`, () => read(prefix + path, json));
            await attempt(`POST text ${prefix}${path}`, () => read(prefix + path, {method: 'POST', body}));
            await attempt(`POST no-cors ${prefix}${path}`,
                () => read(prefix + path, {method: 'POST', mode: 'no-cors', body}));
        }
    }
    await attempt('script', () => new Promise((resolve, reject) => {
        const script = Object.assign(document.createElement('script'), {src: url + '/xalora/tasks'});
        script.onload = () => resolve('loaded');
        script.onerror = reject;
        document.head.append(script);
    }));
    await attempt('picture', () => new Promise((resolve, reject) => {
        const picture = Object.assign(new Image(), {src: `${url}/xalora/tasks/${task}/thumbnail`});
        picture.onload = () => resolve('loaded');
        picture.onerror = reject;
    }));
    await attempt('frame', () => new Promise(resolve => {
        const frame = Object.assign(document.createElement('iframe'), {src: url + '/xalora/config'});
        frame.onload = () => resolve(frame.contentDocument?.body?.innerText ?? null);
        document.body.append(frame);
    }));
    return tried;
}"""


def run(editor: Editor, prompt: str) -> None:
    node = editor.add("XaloraFluxLora", prompt=prompt, lora_name="x", width=64, height=64)
    editor.add("PreviewImage")
    editor.js("() => { const [from, to] = app.graph.nodes; from.connect(0, to, 0) }")
    editor.queue()
    assert editor.end()["name"] == "execution_success", node


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.localhost"])
def test_another_site_gets_nothing_and_changes_nothing(
    editor: Editor, server: ComfyUIProcess, page: Any, elsewhere: int, host: str
) -> None:
    run(editor, "private")
    (task, *_) = server.get("/xalora/tasks?text=private").json()["tasks"]
    before = [server.get("/xalora/config").json(), server.get("/xalora/tasks").json()["tasks"]]

    page.goto(f"http://{host}:{elsewhere}/")
    tried = page.evaluate(ATTEMPTS, {"url": server.url, "task": task["task_id"]})

    assert len(tried) == 39
    # An answer that could be read must be a refusal, and may say no more than that.
    told = {name: answer for name, answer in tried.items() if answer and answer[0] != 403}
    assert told == {}
    assert [answer for answer in tried.values() if answer and "private" in answer[1]] == []
    after = [server.get("/xalora/config").json(), server.get("/xalora/tasks").json()["tasks"]]
    assert after == before


LISTEN = """url => new Promise((resolve, reject) => {
    window.heard = [];
    const socket = new WebSocket(url + '/ws');
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({data}) => heard.push(typeof data === 'string' ? data : new TextDecoder().decode(data));
    socket.onopen = () => resolve();
    socket.onerror = reject;
})"""


def test_another_site_that_listens_hears_nothing_of_the_tasks(
    editor: Editor, server: ComfyUIProcess, page: Any, elsewhere: int
) -> None:
    """ComfyUI looks at the origin of a websocket only under a name of this machine itself, and this is another."""
    page.goto(f"http://evil.example:{elsewhere}/")
    page.evaluate(LISTEN, server.url.replace("http://127.0.0.1", "ws://comfyui.example"))
    run(editor, "private as well")
    page.wait_for_function("heard.some(text => text.includes('xalora.tasks'))")

    (task, *_) = server.get("/xalora/tasks?text=private as well").json()["tasks"]
    heard = page.evaluate("heard")
    secrets = ("private", task["task_id"], task["job_id"], task["server"])
    assert [text for text in heard if any(secret in text for secret in secrets)] == []
