"""What a page of another site can do from somebody's browser: nothing. The own pages work.

A real Chromium, against a sequencer and a sandbox without keys, and against our routes in a real ComfyUI.
"""

from __future__ import annotations

import socket
import sqlite3
import ssl
import threading
import time
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.faults import certificates
from tests.hostile.world import ALICE, World
from tests.support import chromium
from tests.support.comfyui_process import NONE_FOUND, ComfyUIProcess, booted, found, install, version_of
from tests.support.comfyui_prompts import flux_lora
from tests.support.kills import wait_until
from tests.support.loopback import HandlerBase, LoopbackServer
from tests.support.sandbox_process import SandboxProcess

ATTEMPTS = """async ({url, posts, gets}) => {
    const tried = {}, waits = [];
    const attempt = (name, work) => waits.push(Promise.race([
        new Promise(resume => setTimeout(resume, 4000)),
        Promise.resolve().then(work).then(read => { tried[name] = read ?? null }, () => { tried[name] = null }),
    ]));
    const read = async (path, options) => {
        const answer = await fetch(url + path, options);
        return answer.type === 'opaque' ? null : [answer.status, await answer.text()];
    };
    // A frame does not tell its status; a refusal is an object with one field.
    const frameRead = frame => {
        const text = frame.contentDocument?.body?.innerText ?? null;
        return text && [/^{"(message|error)"/.test(text) ? 403 : 200, text];
    };
    const element = (tag, attributes) => new Promise((resolve, reject) => {
        const made = Object.assign(document.createElement(tag), attributes);
        made.onload = () => resolve(tag === 'iframe' ? frameRead(made) : [200, 'loaded']);
        made.onerror = reject;
        document.body.append(made);
    });
    const form = (path, body, enctype, number) => new Promise(resolve => {
        const name = `form${enctype}${path}${number}`.replace(/[^a-z0-9]/g, '');
        const frame = Object.assign(document.createElement('iframe'), {name});
        document.body.append(frame);
        const made = Object.assign(document.createElement('form'),
            {action: url + path, method: 'POST', enctype, target: name});
        // As text/plain this becomes JSON: the equals sign is in a text.
        const [begin, end] = [body.slice(0, -1) + ', "x": "', '"}'];
        made.append(Object.assign(document.createElement('input'), {name: begin, value: end}));
        document.body.append(made);
        frame.onload = () => resolve(null);
        made.submit();
    });
    for (const [number, [path, fields]] of posts.entries()) {
        const body = JSON.stringify(fields);
        const blob = new Blob([body], {type: 'application/json'});
        const json = {'Content-Type': 'application/json'};
        const kinds = {
            text: {body}, blob: {body: blob}, json: {body, headers: json},
            'no-cors text': {body, mode: 'no-cors'}, 'no-cors blob': {body: blob, mode: 'no-cors'},
            'no-cors json': {body, headers: json, mode: 'no-cors'}, keepalive: {body, keepalive: true, mode: 'no-cors'},
            'no body': {mode: 'no-cors'}, cookies: {body, credentials: 'include', headers: json},
            urlencoded: {body: new URLSearchParams({[body]: ''}), mode: 'no-cors'},
        };
        for (const [name, options] of Object.entries(kinds))
            attempt(`${name} ${path}`, () => read(path, {method: 'POST', ...options}));
        for (const method of ['PUT', 'DELETE', 'PATCH'])
            attempt(`${method} ${path}`, () => read(path, {method, body}));
        attempt(`beacon text ${path}`, () => { navigator.sendBeacon(url + path, body) });
        attempt(`beacon blob ${path}`, () => { navigator.sendBeacon(url + path, blob) });
        for (const enctype of ['text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded'])
            attempt(`form ${enctype} ${path}`, () => form(path, body, enctype, number));
    }
    for (const path of gets) {
        attempt(`GET ${path}`, () => read(path, {}));
        attempt(`GET no-cors ${path}`, () => read(path, {mode: 'no-cors'}));
        attempt(`GET html ${path}`, () => read(path, {headers: {Accept: 'text/html'}}));
        attempt(`picture ${path}`, () => element('img', {src: url + path}));
        attempt(`script ${path}`, () => element('script', {src: url + path}));
        attempt(`style ${path}`, () => element('link', {rel: 'stylesheet', href: url + path}));
        attempt(`frame ${path}`, () => element('iframe', {src: url + path}));
        attempt(`events ${path}`, () => new Promise((resolve, reject) => {
            const events = new EventSource(url + path);
            events.onmessage = ({data}) => resolve([200, data]);
            events.onerror = error => { events.close(); reject(error) };
        }));
        attempt(`socket ${path}`, () => new Promise((resolve, reject) => {
            const socket = new WebSocket(url.replace('http', 'ws') + path);
            socket.onopen = () => resolve([101, 'open']);
            socket.onerror = reject;
        }));
    }
    await Promise.all(waits);
    return tried;
}"""

PAGE = b"<!doctype html><title>another site</title><body></body>"


class Site(LoopbackServer):
    """Another site, which takes everything: ``taken`` has the method, path and type of each request."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, str]] = []
        super().__init__(_Handler)


class _Handler(HandlerBase, BaseHTTPRequestHandler):
    owner: Site

    def do_GET(self):
        self.owner.taken.append((self.command, self.path, self.headers.get("Content-Type", "")))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        for name in ("Origin", "Headers", "Methods"):
            self.send_header(f"Access-Control-Allow-{name}", "*" if name != "Headers" else "content-type")
        self.end_headers()
        self.wfile.write(PAGE)

    do_POST = do_OPTIONS = do_PUT = do_DELETE = do_PATCH = do_GET  # noqa: N815 - names of http.server


@pytest.fixture(scope="module")
def browser():
    yield from chromium.launched(chromium.path_or_skip())


@pytest.fixture(scope="module")
def site():
    site = Site()
    yield site
    site.close()


ORIGINS = ["127.0.0.1", "localhost", "evil.localhost", "evil.example", "file", "data", "sandboxed frame"]


@pytest.fixture
def visit(browser, site, tmp_path):
    """A function that opens a page of an origin; with ``at``, one that the attacked server itself answers."""
    contexts = []

    def opened(origin, at=None):
        contexts.append(browser.new_context(ignore_https_errors=True))
        page = contexts[-1].new_page()
        if at is not None:
            page.goto(at)
        elif origin == "file":
            (tmp_path / "page.html").write_bytes(PAGE)
            page.goto((tmp_path / "page.html").as_uri())
        elif origin == "data":
            page.goto(f"data:text/html,{PAGE.decode()}")
        elif origin == "sandboxed frame":
            page.goto(site.url)
            page.evaluate("""html => new Promise(resolve => {
                const frame = document.createElement('iframe');
                frame.sandbox = 'allow-scripts allow-forms';
                frame.srcdoc = html;
                frame.onload = resolve;
                document.body.append(frame);
            })""", PAGE.decode())  # fmt: skip
            return page.frames[1]
        else:
            page.goto(f"http://{origin}:{site.port}/")
        return page

    yield opened
    for context in contexts:
        context.close()


def readable(tried):
    """What was read that is no refusal."""
    return {name: told for name, told in tried.items() if told and told[0] not in (403, 405, 415)}


@pytest.mark.parametrize("origin", ["127.0.0.1", "sandboxed frame"])
def test_what_the_page_sends_arrives_where_it_is_taken(visit, site, origin):
    """Else the tests below would show nothing."""
    page = visit(origin)
    site.taken.clear()
    tried = page.evaluate(ATTEMPTS, {"url": site.url, "posts": [["/post", {"a": 1}]], "gets": ["/get"]})
    assert len(tried) >= 20
    kinds = {kind.partition(";")[0] for method, path, kind in site.taken if (method, path) == ("POST", "/post")}
    assert kinds >= {"text/plain", "application/json", "application/x-www-form-urlencoded", "multipart/form-data"}
    posts = lambda: sum(method == "POST" for method, _, _ in site.taken)  # noqa: E731 - asked again and again
    wait_until(lambda: posts() >= 13, patience=30)
    assert posts() >= 13
    assert sum((method, path) == ("GET", "/get") for method, path, _ in site.taken) >= 7


class Target:
    """A server without keys: its address, what is tried there, and its database."""

    def __init__(self, url, database, posts, gets, renew=lambda: None):
        self.url, self.posts, self.gets = url, posts, gets
        self._database, self._renew = database, renew

    def state(self):
        """All of its tasks, offers and images. The running one's lease is renewed."""
        self._renew()
        with closing(sqlite3.connect(self._database)) as db:
            tasks = db.execute("SELECT task_id, status, attempts, miner FROM tasks ORDER BY 1").fetchall()
            return tasks, [
                db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in ("offers", "images")
            ]


DETAILS = {"parameters": {"prompt": "from a page"}}
CREATE = ["/task_create", {
    "consumer_id": "eve", "api_key": "any", "job_id": "from-a-page", "task_type": "txt2vid", "workflow_id": "1",
    "task_details": DETAILS,
}]  # fmt: skip
IMAGE = {"consumer_id": "eve", "api_key": "any", "sha256": "0" * 64, "size": 9, "content_type": "image/png"}


@pytest.fixture(scope="module")
def sequencer_target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    world = World(folder, is_open=True)
    waiting = world.create()
    alice = {"api_key": ALICE[1]}
    posts = [
        CREATE,
        ["/task_cancel", alice | {"task_id": waiting}],
        ["/task_result_query", alice | {"task_id": waiting}],
        ["/image_upload", IMAGE],
        ["/miner_register", {"erc20_address": "eve", "instance": "0e", "workflows": []}],
        ["/miner_request", {"erc20_address": "public-eve", "workflow_ids": ["1"]}],
        ["/miner_submit", {"miner_id": world.miner.name, "task_id": world.task_id, "lease": world.task["lease"]}],
    ]
    yield Target(
        world.url, folder / "data" / "sequencer.sqlite3", posts, ["/", "/metrics"], lambda: world.miner.beat(world.task)
    )
    world.close()


@pytest.fixture(scope="module")
def sandbox_target(tmp_path_factory):
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"), render_seconds=3600)
    create = dict(CREATE[1]) | {"consumer_id": "alice", "job_id": "of-alice"}
    task_id = requests.post(f"{process.url}/task_create", json=create, timeout=30).json()["task_id"]
    posts = [CREATE, ["/task_cancel", {"api_key": "any", "task_id": task_id}], ["/image_upload", IMAGE]]
    deadline = time.monotonic() + 30
    while process.rows("SELECT status FROM tasks") != [("running",)]:
        assert time.monotonic() < deadline
    yield Target(process.url, process.data / "sandbox.sqlite3", posts, ["/"])
    process.close()


@pytest.fixture(params=["sequencer", "sandbox"])
def target(request):
    return request.getfixturevalue(f"{request.param}_target")


def attack(page, target, url):
    """Try everything, and wait a little: beacons say nothing when they have arrived."""
    before = target.state()
    tried = page.evaluate(ATTEMPTS, {"url": url, "posts": target.posts, "gets": target.gets})
    page.evaluate("() => new Promise(resume => setTimeout(resume, 200))")
    assert len(tried) >= 15 * len(target.posts)
    assert readable(tried) == {}
    assert target.state() == before


@pytest.mark.parametrize("origin", ORIGINS)
def test_another_site_changes_and_reads_nothing(visit, target, origin):
    attack(visit(origin), target, target.url)
    attack(visit(origin), target, target.url.replace("127.0.0.1", "localhost"))


def test_nor_does_one_whose_name_is_led_here(visit, target):
    """DNS rebinding: the page and what it asks have the same origin."""
    url = target.url.replace("127.0.0.1", "rebound.example")
    attack(visit("", at=f"{url}/none"), target, url)


def test_the_sequencers_own_page_works(visit, sequencer_target):
    for name in ("127.0.0.1", "localhost"):
        page = visit("", at=sequencer_target.url.replace("127.0.0.1", name))
        assert "tasks waiting" in page.inner_text("body")
        page.reload()
        assert "Xalora sequencer" in page.inner_text("body")


class Tls:
    """A proxy that speaks https, and passes the bytes on. ``host``: what it writes in place of the Host header."""

    def __init__(self, port, host=None):
        self._to, self._host = port, host
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with suppress(OSError):
            while True:
                threading.Thread(target=self._pass_on, args=(self._listening.accept()[0],), daemon=True).start()

    def _pass_on(self, raw):
        with (
            suppress(OSError),
            certificates.context().wrap_socket(raw, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self._to)) as server,
        ):
            threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
            while piece := client.recv(65536):
                if self._host is not None:
                    piece = piece.replace(f"Host: comfy.example:{self.port}".encode(), f"Host: {self._host}".encode())
                server.sendall(piece)

    @staticmethod
    def _pump(server, client):
        with suppress(OSError, ssl.SSLError, ValueError):
            while piece := server.recv(65536):
                client.sendall(piece)
            client.close()

    def close(self):
        self._listening.close()


def lan_address():
    """The address of this machine in its network; None where it has none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        address = probe.getsockname()[0]
        return None if address.startswith("127.") else address


class ComfyUITarget:
    """A ComfyUI that lets every site in, as far as its own checks go. ``state`` is what our routes tell a program."""

    def __init__(self, comfy: ComfyUIProcess) -> None:
        self.comfy, self.url = comfy, comfy.url
        (task, *_) = comfy.get("/xalora/tasks").json()["tasks"]
        own = f"/xalora/tasks/{task['task_id']}"
        changed = {"api_key": "evil#key", "workflow_url": "http://evil.example"}
        self.posts = [["/xalora/config", changed], ["/api/xalora/config", changed]]
        self.posts += [[f"{own}/{action}", {}] for action in ("cancel", "collect", "forget")]
        self.posts += [["/xalora/refresh", {}], ["/xalora/test", {}]]
        self.gets = ["/xalora/tasks", "/api/xalora/config", own, f"{own}/thumbnail"]

    def state(self):
        return [self.comfy.get("/xalora/config").json(), self.comfy.get("/xalora/tasks").json()["tasks"]]


@pytest.fixture(scope="module", params=found() or [None], ids=lambda source: version_of(source) if source else "none")
def comfyui(request, browser, sandbox, tmp_path_factory):
    if request.param is None:
        pytest.skip(NONE_FOUND)
    base: Path = tmp_path_factory.mktemp("comfyui")
    arguments = ["--listen", "0.0.0.0", "--enable-cors-header"]
    comfy = ComfyUIProcess(
        request.param, base, *arguments, XALORA_HOME=str(base / "xalora"), XALORA_API_KEY="me#own-key"
    )
    install(base / "custom_nodes" / "xalora-nodes")
    for running in booted(comfy):
        running.use(sandbox.url)
        running.run({"make": flux_lora("private"), "save": {
            "class_type": "PreviewImage", "inputs": {"images": ["make", 0]}, "_meta": {"title": "x"},
        }}).ok()  # fmt: skip
        yield ComfyUITarget(running)


@pytest.mark.parametrize("origin", ORIGINS)
def test_another_site_gets_nothing_from_comfyui(visit, comfyui, origin):
    attack(visit(origin), comfyui, comfyui.url)
    if (address := lan_address()) is not None:
        attack(visit(origin), comfyui, comfyui.url.replace("127.0.0.1", address))


def test_nor_does_a_name_that_is_led_to_comfyui(visit, comfyui):
    url = comfyui.url.replace("127.0.0.1", "rebound.example")
    attack(visit("", at=f"{url}/queue"), comfyui, url)


@pytest.mark.parametrize("way", ["127.0.0.1", "localhost", "network", "https", "https, another Host"])
def test_the_own_editor_is_served(visit, comfyui, way):
    port, proxy = urlsplit(comfyui.url).port, None
    if way == "network" and lan_address() is None:
        pytest.skip("this machine is in no network")
    if way.startswith("https"):
        if not certificates.available():
            pytest.skip("no openssl to make a certificate with")
        proxy = Tls(port, None if way == "https" else f"127.0.0.1:{port}")
    host = lan_address() if way == "network" else way
    url = f"http://{host}:{port}" if proxy is None else f"https://comfy.example:{proxy.port}"
    page = visit("", at=f"{url}/queue")
    answers = page.evaluate("""async () => {
        const options = {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'};
        const asked = [fetch('/xalora/tasks'), fetch('/xalora/refresh', options), fetch('/api/xalora/config', options)];
        return (await Promise.all(asked)).map(answer => answer.status);
    }""")
    assert answers == [200, 200, 200]
    if proxy is not None:
        proxy.close()
