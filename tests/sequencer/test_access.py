"""Keys, and what they keep apart; addresses that are not asked; and what a sequencer tells of itself."""

from __future__ import annotations

import asyncio
import base64
import builtins
import hashlib
import socket
from html.parser import HTMLParser

import pytest
import requests

from tests.support.fake_miner import IMAGE, in_thread, workflow
from tests.support.pictures import png
from xalora_client.errors import ConfigurationError
from xalora_client.miner.sequencer_api import SequencerAPI
from xalora_client.sequencer import SequencerOptions
from xalora_client.sequencer.app import serve

KEYS = ("alice#key-of-alice", "bob#key-of-bob")
MINER_KEY = "a-secret-of-miners"
JSON = {"Content-Type": "application/json"}
TOKEN = {"token": SequencerOptions(api_keys=KEYS).page_token}
PREVIEW = "data:image/jpeg;base64,AAAA"


@pytest.fixture
def guarded(sequencer):
    """A sequencer that others can reach, and Alice's key in use."""
    server = sequencer(host="0.0.0.0", api_keys=KEYS, miner_keys=(MINER_KEY,))
    server.consumer_id, server.api_key = "alice", "key-of-alice"
    return server


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
@pytest.mark.parametrize("options", [{}, {"api_keys": KEYS}, {"miner_keys": (MINER_KEY,)}], ids=str)
def test_others_cannot_reach_it_without_keys(tmp_path, host, options):
    with pytest.raises(ConfigurationError, match="needs keys"):
        asyncio.run(serve(host, 0, tmp_path / "data", SequencerOptions(**options)))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("options", [{}, {"api_keys": KEYS}, {"miner_keys": (MINER_KEY,)}], ids=str)
def test_nor_through_a_proxy(tmp_path, options):
    chosen = SequencerOptions(public_url="https://gpu.example.com", **options)
    with pytest.raises(ConfigurationError, match="needs keys"):
        asyncio.run(serve("127.0.0.1", 0, tmp_path / "data", chosen))


@pytest.mark.parametrize(
    "options",
    [
        {"api_keys": ("me#\udcff",)},
        {"miner_keys": ("\udcff",)},
        {"api_keys": ("nokey",)},
        {"api_keys": ("alice#same", "bob-same")},
        {"miner_keys": (" ",)},
        {"miner_keys": ("box= ",)},
        {"trusted_proxies": ("proxy.example",)},
        {"trusted_proxies": ("10.0.0.0/64",)},
    ],
    ids=str,
)
def test_keys_that_are_none(options):
    with pytest.raises(ConfigurationError):
        SequencerOptions(**options)


def test_consumers_do_not_see_each_others_tasks(guarded):
    guarded.miner(key=MINER_KEY)
    task_id = guarded.make()
    for endpoint in ("task_result_query", "task_cancel"):
        assert guarded.post(endpoint, task_id=task_id, api_key="key-of-bob").status_code == 404
        assert guarded.post(endpoint, task_id=task_id, api_key="key-of-eve").status_code == 401
    assert guarded.query(task_id)["status"] == "waiting"
    more = {"workflow_id": "1", "job_id": "sdk-workflow-1"}
    bobs = {**more, "consumer_id": "bob", "api_key": "key-of-bob"}
    ids = {guarded.try_create("txt2vid", {"prompt": "x"}, **each).json()["task_id"] for each in (more, bobs)}
    assert len(ids) == 2


@pytest.mark.parametrize(
    "wrong", [{"consumer_id": "bob"}, {"api_key": "key-of-bob"}, {"api_key": "ключ"}, {"consumer_id": "eve"}], ids=str
)
def test_a_consumer_and_its_key_belong_together(guarded, wrong):
    answer = guarded.try_create("txt2vid", {"prompt": "x"}, **wrong)
    assert answer.status_code == 401
    assert "not known here" in answer.json()["message"]


@pytest.mark.parametrize("key", [None, "wrong", "\ud800", 7])
def test_a_miner_without_the_key_is_not_let_in(guarded, key):
    miner = guarded.miner(register=False)
    about = {"erc20_address": miner.name, "miner_id": miner.name, "instance": "0a", "workflows": [], "miner_key": key}
    for endpoint in ("register", "workflows", "request", "heartbeat", "submit"):
        answer = miner.post(f"miner_{endpoint}", about | {"task_id": "t", "lease": "l", "success": True})
        assert answer.status_code == 401
        assert "XALORA_MINER_KEY" in answer.json()["message"]


def test_a_miner_may_have_a_key_of_its_own(sequencer):
    server = sequencer(miner_keys=("box=key-of-box", "base64-of-all=="))
    server.miner(name="box", key="key-of-box")
    server.miner(name="other", key="base64-of-all==")
    for name, key in [("other", "key-of-box"), ("box", "box=key-of-box"), ("box", None), ("", "key-of-box")]:
        assert server.miner(name=name, key=key, register=False).register().status_code == 401


@pytest.mark.parametrize("path", ["", "metrics"])
def test_the_page_and_the_metrics_need_a_token_where_there_are_keys(guarded, path):
    asked = {"Accept": "text/html"}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": MINER_KEY}):
        answer = requests.get(f"{guarded.url}/{path}", headers=asked | headers, params={"token": "wrong"}, timeout=30)
        assert answer.status_code == 401
        assert "prints at its start" in answer.json()["message"]
    good = {"Authorization": f"Bearer {TOKEN['token']}"}
    assert requests.get(f"{guarded.url}/{path}", headers=asked | good, timeout=30).status_code in (200, 501)


def test_metrics_may_be_open(sequencer):
    server = sequencer(api_keys=KEYS, miner_keys=(MINER_KEY,), metrics_open=True)
    assert requests.get(f"{server.url}/metrics", timeout=30).status_code in (200, 501)
    assert requests.get(server.url, headers={"Accept": "text/html"}, timeout=30).status_code == 401


def test_wrong_keys_are_held_back_by_the_address_that_a_trusted_proxy_names(sequencer, monkeypatch):
    held = []

    async def note(self, address):
        held.append(address)

    monkeypatch.setattr("xalora_client.sequencer.api.keys.WrongKeys.slow", note)
    for trusted, address in [
        (("127.0.0.0/8",), "203.0.113.9"),
        ((), "127.0.0.1"),
        (("127.0.0.1", "203.0.113.9"), "6.6.6.6"),
    ]:
        server = sequencer(api_keys=KEYS, miner_keys=(MINER_KEY,), trusted_proxies=trusted)
        headers = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
        body = {"api_key": "guessed", "task_id": "t"}
        requests.post(f"{server.url}/task_result_query", json=body, headers=headers, timeout=30)
        assert held.pop() == address
        server.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "[::ffff:127.0.0.1]", "printer.lan"])
def test_images_in_private_networks_are_refused(guarded, host):
    guarded.miner(workflow("upscaler", IMAGE), key=MINER_KEY)
    answer = guarded.try_create("upscaler", {"image": f"http://{host}:8188/view"})
    assert answer.status_code == 400
    assert "--allow-private-images" in answer.json()["message"]
    assert guarded.rows("SELECT count(*) FROM tasks") == [(0,)]


def test_behind_a_proxy_addresses_are_those_of_the_proxy(sequencer):
    server = sequencer(public_url="https://gpu.example.com/", api_keys=KEYS, miner_keys=(MINER_KEY,))
    server.consumer_id, server.api_key = "alice", "key-of-alice"
    miner = server.miner(workflow("upscaler", IMAGE), key=MINER_KEY)
    said = {"sha256": "0" * 64, "size": 9, "content_type": "image/png"}
    announced = server.post("image_upload", consumer_id=server.consumer_id, **said).json()
    task_id = server.make("upscaler", image="data:image/png;base64," + base64.b64encode(png()).decode())
    task = miner.waits().result(20)
    task["credential"]["upload_url"] = task["credential"]["upload_url"].replace("https://gpu.example.com", server.url)
    miner.finish(task)
    named = [*announced.values(), task["inputs"]["image"]["url"], server.query(task_id)["result"]]
    assert all(each.startswith("https://gpu.example.com/") for each in named)
    assert requests.get(named[-1].replace("https://gpu.example.com", server.url), timeout=30).content == png()


PUBLIC = {"Proto": "https", "Host": "gpu.example.com"}


@pytest.mark.parametrize(
    ("trusted", "said", "base"),
    [
        ("127.0.0.0/8", PUBLIC, "https://gpu.example.com/"),
        ("127.0.0.1", PUBLIC | {"Prefix": "/xalora/"}, "https://gpu.example.com/xalora/"),
        ("127.0.0.1", PUBLIC | {"Host": "gpu.example.com:8443, inner"}, "https://gpu.example.com:8443/"),
        ("127.0.0.1", {"Prefix": "/xalora"}, "{url}/xalora/"),
        ("127.0.0.1", PUBLIC | {"Host": "no host"}, "{url}/"),
        ("127.0.0.1", PUBLIC | {"Proto": "javascript"}, "{url}/"),
        ("10.0.0.0/8", PUBLIC, "{url}/"),
    ],
)
def test_a_trusted_proxy_says_what_the_addresses_are(sequencer, trusted, said, base):
    server = sequencer(api_keys=KEYS, miner_keys=(MINER_KEY,), trusted_proxies=(trusted,))
    body = {
        "consumer_id": "alice",
        "api_key": "key-of-alice",
        "sha256": "0" * 64,
        "size": 9,
        "content_type": "image/png",
    }
    headers = {f"X-Forwarded-{name}": value for name, value in said.items()}
    announced = requests.post(f"{server.url}/image_upload", json=body, headers=headers, timeout=30).json()
    assert all(each.startswith(base.format(url=server.url)) for each in announced.values())


def test_under_a_path_results_are_known_again_and_miners_are_not_misled(sequencer):
    server = sequencer(public_url="https://gpu.example.com/a/b/", api_keys=KEYS, miner_keys=(MINER_KEY,))
    server.consumer_id, server.api_key = "alice", "key-of-alice"
    miner = server.miner("txt2vid.1", workflow("upscaler", IMAGE), key=MINER_KEY)
    task_id, task = server.make(), miner.take()
    url = task["credential"]["upload_url"]
    assert url.startswith("https://gpu.example.com/a/b/miner_upload/")
    assert SequencerAPI(server.url, "box", MINER_KEY)._own(url).startswith(f"{server.url}/miner_upload/")
    task["credential"]["upload_url"] = url.replace("https://gpu.example.com/a/b", server.url)
    miner.finish(task)
    address = server.query(task_id)["result"]
    assert address.startswith("https://gpu.example.com/a/b/media/")
    again = server.make("upscaler", image=address)  # Nothing is fetched from gpu.example.com.
    assert miner.waits().result(20)["task_id"] == again


def test_a_result_is_an_image_for_its_owner_only(guarded):
    """Its address is private, but the sequencer has the bytes."""
    miner = guarded.miner("txt2vid.1", workflow("upscaler", IMAGE), key=MINER_KEY)
    task_id = guarded.make()
    miner.finish(miner.take(), png(7, 7))
    result = guarded.query(task_id)["result"]
    answer = guarded.try_create("upscaler", {"image": result}, consumer_id="bob", api_key="key-of-bob")
    assert (answer.status_code, "private network" in answer.json()["message"]) == (400, True)
    guarded.make("upscaler", image=result)
    task = miner.waits().result(20)
    assert requests.get(task["inputs"]["image"]["url"], timeout=30).content == png(7, 7)


def test_also_a_sequencer_on_loopback_must_be_told_to_fetch_from_there(sequencer, website):
    """A proxy on the same machine may let others in."""
    server = sequencer()
    server.miner(workflow("upscaler", IMAGE))
    answer = server.try_create("upscaler", {"image": f"{website.url}/cat.png"})
    assert answer.status_code == 400
    assert "--allow-private-images" in answer.json()["message"]


@pytest.fixture
def private_name(monkeypatch):
    """images.example, a name that leads to this machine."""
    real = socket.getaddrinfo

    def look_up(host, *more, **named):
        return real("127.0.0.1" if host == "images.example" else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return "images.example"


@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"], ids=["direct", "proxy"])
def test_a_name_that_leads_into_a_private_network_is_refused(guarded, website, private_name, proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "127.0.0.1")  # for the test's own requests
    guarded.miner(workflow("upscaler", IMAGE), key=MINER_KEY)
    website.pages["/cat.png"] = png()
    port = website.url.rpartition(":")[2]
    state = guarded.wait(guarded.make("upscaler", image=f"http://{private_name}:{port}/cat.png"))
    assert state["status"] == "failed"
    assert f"private network ({private_name} is 127.0.0.1)" in state["msg"]


def test_images_in_private_networks_are_fetched_when_that_is_allowed(sequencer, website):
    server = sequencer(host="0.0.0.0", api_keys=KEYS, miner_keys=(MINER_KEY,), allow_private_images=True)
    server.consumer_id, server.api_key = "alice", "key-of-alice"
    website.pages["/cat.png"] = png()
    miner = server.miner(workflow("upscaler", IMAGE), key=MINER_KEY)
    task_id = server.make("upscaler", image=f"{website.url}/cat.png")
    assert miner.waits().result(20)["task_id"] == task_id
    answer = server.try_create("upscaler", {"image": "http://169.254.169.254/latest/meta-data"})
    assert answer.status_code == 400  # the secrets of a cloud machine are not for anybody


class Words(HTMLParser):
    """The texts and tags of a page."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.tags, self.addresses = [], set(), []
        self.feed(html)

    def handle_data(self, data):
        self.texts.append(data)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def busy(guarded):
    """A guarded sequencer with tasks in all states."""
    miner = guarded.miner(key=MINER_KEY, name="rig <script>alert(1)</script>")
    tasks = [guarded.make(prompt=f"canary-prompt {number}") for number in range(4)]
    miner.finish(miner.take())
    miner.submit(miner.take(), success=False, msg="canary-prompt cannot be drawn")
    task = miner.take()
    miner.beat(task, progress={"value": 3, "maximum": 9, "title": "canary-title", "preview": PREVIEW})
    guarded.secrets = [
        *(secret for key in KEYS for secret in key.split("#")),
        MINER_KEY,
        "canary-prompt",
        PREVIEW,
        task["lease"],
        task["credential"]["upload_url"].rpartition("/")[2],
        guarded.query(tasks[0])["result"].rpartition("/")[2],
        *tasks,
    ]
    return guarded


def test_a_browser_gets_a_page_without_secrets(busy):
    answer = requests.get(busy.url, params=TOKEN, headers={"Accept": "text/html,*/*"}, timeout=30)
    assert answer.headers["Content-Type"].startswith("text/html")
    page = Words(answer.text)
    shown = " ".join(page.texts)
    for word in ("rig <script>alert(1)</script>", "txt2vid.1", "finished", "error", "3 of 9", "0.33.0 a <b>GPU</b>"):
        assert word in shown
    assert page.tags.isdisjoint({"script", "b", "img", "link"})
    assert page.addresses == []
    assert [secret for secret in busy.secrets if secret in answer.text] == []


@pytest.mark.parametrize("accept", [None, "application/json", "*/*"])
def test_a_program_learns_what_this_is(busy, accept):
    said = requests.get(busy.url, headers={"Accept": accept}, timeout=30).json()
    assert said["service"] == "Xalora sequencer"
    assert said["image_upload"] is True
    assert {"instance", "version"} <= set(said)


def metrics(server):
    pytest.importorskip("prometheus_client", reason="needs the extra sequencer")
    answer = requests.get(f"{server.url}/metrics", params=TOKEN, timeout=30)
    assert answer.status_code == 200
    return answer.text


def test_metrics_count_what_happens_and_hold_no_secrets(busy):
    text = metrics(busy)
    for line in (
        'xalora_tasks_waiting{workflow="txt2vid.1"} 1.0',
        "xalora_tasks_running 1.0",
        'xalora_miners{state="busy"} 1.0',
        'xalora_miners{state="idle"} 0.0',
        'xalora_tasks_ended_total{outcome="finished",workflow="txt2vid.1"} 1.0',
        'xalora_tasks_ended_total{outcome="error",workflow="txt2vid.1"} 1.0',
        'xalora_task_seconds_count{workflow="txt2vid.1"} 1.0',
        "xalora_query_seconds_count 1.0",
    ):
        assert line in text.splitlines(), line
    assert [secret for secret in busy.secrets if secret in text] == []
    assert "rig" not in text
    busy.advance(31)
    assert 'xalora_attempts_lost_total{workflow="txt2vid.1"} 1.0' in metrics(busy)


def test_without_the_library_metrics_say_what_to_install(sequencer, monkeypatch):
    real = builtins.__import__

    def without(name, *more):
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    server = sequencer()
    miner = server.miner()
    server.make()
    miner.finish(miner.take())
    answer = requests.get(f"{server.url}/metrics", timeout=30)
    assert answer.status_code == 501
    assert "pip install prometheus-client" in answer.json()["message"]


def test_no_key_is_in_the_data_folder(busy):
    files = [path for path in busy.data.rglob("*") if path.is_file()]
    secrets = [key.partition("#")[2] for key in KEYS] + [MINER_KEY]
    assert len(files) > 3
    assert [path.name for path in files for each in secrets if each.encode() in path.read_bytes()] == []


def test_a_query_waits_for_the_next_change(sequencer, poll):
    server = sequencer()
    miner = server.miner()
    made = server.try_create("txt2vid", {"prompt": "x"}, workflow_id="1").json()
    about = {"task_id": made["task_id"], "after": made["revision"], "wait_seconds": made["long_poll_seconds"]}

    def wait(after):
        waiting = in_thread(server.post, "task_result_query", **{**about, "after": after})
        poll(lambda: server.waiting_miners() == 1)
        return waiting

    waiting = wait(server.query(made["task_id"])["revision"])
    task = miner.take()
    running = waiting.result(10).json()
    assert running["status"] == "running"
    assert server.post("task_result_query", **about).json() == running  # a change is missed by nobody

    waiting = wait(running["revision"])
    miner.beat(task, progress={"value": 1, "maximum": 2, "title": "KSampler", "preview": PREVIEW})
    state = waiting.result(10).json()
    assert state["progress"] == {"value": 1, "maximum": 2, "title": "KSampler", "preview": PREVIEW}
    again = server.post("task_result_query", **{**about, "after": state["revision"], "wait_seconds": 0}).json()
    assert again["progress"] == {"value": 1, "maximum": 2, "title": "KSampler"}

    waiting = wait(state["revision"])
    miner.beat(task, progress={"value": 2, "maximum": 2})
    assert not waiting.done()  # at most twice a second
    server.advance(0.5)
    state = waiting.result(10).json()
    assert state["progress"] == {"value": 2, "maximum": 2}

    waiting = wait(state["revision"])
    miner.finish(task)
    state = waiting.result(10).json()
    assert (state["status"], "progress" in state) == ("finished", False)
    last = server.post("task_result_query", **{**about, "after": state["revision"]}).json()
    assert last == state  # nothing more will come, so nothing is waited for


def test_a_wait_without_a_change_ends(sequencer, poll):
    server = sequencer()
    server.miner()
    task_id = server.make()
    after = server.query(task_id)["revision"]
    waiting = in_thread(server.post, "task_result_query", task_id=task_id, after=after, wait_seconds=9999)
    poll(lambda: server.waiting_miners() == 1)
    server.advance(25)
    assert waiting.result(10).json()["revision"] == after


@pytest.mark.parametrize("progress", ["half", {"value": 1}, {"value": -1, "maximum": 2}, {"value": "1"}])
def test_progress_that_makes_no_sense_is_ignored(sequencer, progress):
    server = sequencer()
    miner = server.miner()
    task_id = server.make()
    task = miner.take()
    assert miner.beat(task, progress=progress) == {"lease_seconds": 30}
    assert "progress" not in server.query(task_id)


def test_what_json_does_not_have_is_no_number(sequencer):
    server = sequencer()
    answer = requests.post(f"{server.url}/task_create", data='{"timeout_seconds": NaN}', headers=JSON, timeout=30)
    assert (answer.status_code, answer.json()) == (400, {"message": "the body is not JSON"})


def test_who_has_no_key_any_more_has_no_tasks(sequencer):
    keys = {"api_keys": KEYS, "miner_keys": (MINER_KEY,)}
    server = sequencer(**keys)
    server.consumer_id, server.api_key = "alice", "key-of-alice"
    miner = server.miner(key=MINER_KEY)
    finished, running, waiting = server.make(), server.make(), server.make()
    miner.finish(miner.take())
    result = server.query(finished)["result"]
    running_task = miner.take()
    image = {"sha256": hashlib.sha256(png()).hexdigest(), "size": len(png()), "content_type": "image/png"}
    announced = server.post("image_upload", consumer_id="alice", **image).json()
    bobs = {"consumer_id": "bob", "api_key": "key-of-bob"}
    bobs_task = server.make(more=bobs)

    def restarted(**options):
        server.stop()
        again = sequencer(now=1_000_001.0, **options)
        again.consumer_id, again.api_key = "alice", "key-of-alice"
        return again

    def moved(address):
        return f"{server.url}/{address.partition('//')[2].partition('/')[2]}"

    # Without any key, nobody was withdrawn: somebody may have forgotten them.
    for options in ({}, {"miner_keys": (MINER_KEY,)}, keys):
        server = restarted(**options)
        assert [server.query(each)["status"] for each in (finished, running, waiting)] == [
            "finished", "running", "waiting",
        ]  # fmt: skip
        assert requests.get(moved(result), timeout=30).content == png()

    server = restarted(**keys | {"api_keys": KEYS[1:]})
    assert server.post("task_result_query", task_id=waiting).status_code == 401
    assert requests.get(moved(result), timeout=30).status_code == 404
    assert requests.put(moved(announced["upload_url"]), data=png(), timeout=30).status_code == 404
    assert miner.move_to(server.url).beat(running_task) == {"stop": "canceled"}
    assert server.post("task_result_query", task_id=bobs_task, **bobs).json()["status"] == "waiting"

    server = restarted(**keys)
    for each in (running, waiting):
        ended = server.query(each)
        assert (ended["status"], ended["msg"]) == ("canceled", "canceled: the key of its consumer was withdrawn")
    assert requests.get(moved(result), timeout=30).content == png()
    assert server.post("task_result_query", task_id=bobs_task, **bobs).json()["status"] == "waiting"

    server = restarted(**keys | {"api_keys": ("carol#key-of-carol",)})
    server = restarted(**keys)
    assert server.post("task_result_query", task_id=bobs_task, **bobs).json()["status"] == "canceled"
