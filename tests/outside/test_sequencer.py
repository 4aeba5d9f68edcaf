"""What ``xalora sequencer`` and ``xalora sandbox`` answer: to consumers, to miners, to Prometheus; and their database.

Of each answer its status, and its fields with their types. What is a word of the protocol is kept as it is.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.cluster import KEY, MINER_KEY, SequencerProcess, write_workflow
from tests.support.fake_miner import IMAGE, TEXT, workflow
from tests.support.pictures import png
from tests.support.processes import poll
from tests.support.sandbox_process import SandboxProcess
from tests.support.snapshot import Snapshot, shape
from xalora_client.sequencer import SequencerOptions

CONSUMER, _, SECRET = KEY.partition("#")
JSON = {"Content-Type": "application/json"}
WORDS = ("status", "stop", "service", "register", "long_poll_seconds", "lease_seconds")


class Server:
    """A sequencer's HTTP. ``seen`` has each answer under its name."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: dict[str, Any] = {}

    def send(self, name: str, method: str, path: str, **what: Any) -> requests.Response:
        """Send a request; its answer is noted as ``name``, or not at all if that is empty."""
        url = path if path.startswith("http") else f"{self.url}/{path}"
        answer = requests.request(method, url, timeout=30, **what)
        if name:
            self.seen[name] = {"status": answer.status_code, **_content(answer)}
        return answer

    def ask(self, name: str, endpoint: str, **body: Any) -> dict[str, Any]:
        """What it answers to a consumer."""
        said = {"consumer_id": CONSUMER, "api_key": SECRET} | body
        return dict(self.send(name, "POST", endpoint, json=said).json())

    def create(self, name: str, task_type: str, job_id: str, parameters: Mapping[str, Any], **more: Any) -> str:
        said = {"task_type": task_type, "task_details": {"parameters": parameters}, "job_id": job_id} | more
        return str(self.ask(name, "task_create", **said).get("task_id"))

    def upload(self, name: str, content: bytes, others: bytes | None = None, **headers: str) -> str:
        """Announce a picture and upload it, or ``others`` in its place; returns its address."""
        announced = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "content_type": "image/png"}
        told = self.ask("", "image_upload", **announced)
        self.send(name, "PUT", told["upload_url"], data=others or content, headers=headers)
        return str(told["image"])

    def mine(self, name: str, endpoint: str, **body: Any) -> dict[str, Any]:
        """What it answers to a miner."""
        said = {"erc20_address": "box", "miner_key": MINER_KEY} | body
        return dict(self.send(name, "POST", f"miner_{endpoint}", json=said).json())

    def take(self, name: str = "") -> dict[str, Any]:
        """The next task, for the miner."""
        task = poll(lambda: (t := self.mine(name, "request", instance="0a", workflow_ids=[])) and "task_id" in t and t)
        return dict(task)

    def give(self, name: str, task: Mapping[str, Any], **said: Any) -> dict[str, Any]:
        """Submit a task's end."""
        body = {"task_id": task["task_id"], "lease": task["lease"], "miner_id": "box"} | said
        return self.mine(name, "submit", **body)


def _content(answer: requests.Response) -> dict[str, Any]:
    kind = answer.headers["Content-Type"]
    if not kind.startswith("application/json"):
        return {"content_type": kind}
    body = answer.json()
    words = {} if answer.status_code >= 400 else {name: body[name] for name in WORDS if name in body}
    return {"body": {**shape(body), **words}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SequencerProcess]:
    folder = tmp_path_factory.mktemp("sequencer")
    process = SequencerProcess(folder, "--workflows", write_workflow(folder / "workflows"))
    yield process
    process.close()


@pytest.fixture
def server(running: SequencerProcess) -> Server:
    """The sequencer, with a miner."""
    server = Server(running.url)
    offers = [workflow("txt2vid.1", TEXT), workflow("txt2img.3", TEXT), workflow("upscaler", IMAGE)]
    server.mine(
        "register", "register", instance="0a", workflows=offers, software={"comfyui": "0.33.0", "device": "GPU"}
    )
    return server


def test_to_consumers_and_miners(server: Server, snapshot: Snapshot) -> None:
    """The life of some tasks, from both sides."""
    video = {"prompt": "a rabbit", "steps": 3}
    server.send("who it is", "GET", "")
    server.ask("resource request", "resource_request", task_type="txt2vid", workflow_id="1")
    server.ask("workflow list", "workflow_list", task_type="txt2vid")
    server.mine("workflows", "workflows")
    server.mine("request without a task", "request", instance="0a", workflow_ids=[])
    server.mine("request of a process that is not known", "request", instance="0b", workflow_ids=[])
    server.mine("request of a public miner", "request", erc20_address="0x1", workflow_ids=["1"])

    first = server.create("create", "txt2vid", "job-1", video, workflow_id="1", timeout_seconds=600)
    server.create("create again", "txt2vid", "job-1", video, workflow_id="1", timeout_seconds=600)
    server.ask("query, waiting", "task_result_query", task_id=first)
    task = server.take("request with a task")
    server.mine("heartbeat", "heartbeat", task_id=first, lease=task["lease"])
    progress = {"value": 1, "maximum": 3, "title": "KSampler", "preview": "data:image/png;base64,AAAA"}
    server.mine("heartbeat with progress", "heartbeat", task_id=first, lease=task["lease"], progress=progress)
    server.ask("query, running, long-polled", "task_result_query", task_id=first, wait_seconds=5, after=0)
    uploaded = server.send("upload of a result", "PUT", task["credential"]["upload_url"], data=png()).json()
    said = {"success": True, "inference_latency": 1.5, "upload_latency": 0.5, "msg": "2 files"} | uploaded
    server.give("submit", task, **said)
    server.give("submit again", task, **said)
    result = server.ask("query, finished", "task_result_query", task_id=first)["result"]
    server.send("media", "GET", result)
    server.send("part of media", "GET", result, headers={"Range": "bytes=10-"})
    server.ask("cancel, too late", "task_cancel", task_id=first)

    failed = server.create("", "txt2vid", "job-2", video, workflow_id="1")
    error = {"node_id": "3", "title": "KSampler", "class_type": "KSampler", "message": "out of memory"}
    server.give("submit of a failure", server.take(), success=False, msg="out of memory", error=error)
    server.ask("query, failed", "task_result_query", task_id=failed)

    canceled = server.create("", "txt2vid", "job-3", video, workflow_id="1")
    server.give("submit that gives back", server.take(), success=False, give_back="stopping", msg="stopping")
    task = server.take()
    server.ask("cancel", "task_cancel", task_id=canceled)
    server.mine("heartbeat after a cancel", "heartbeat", task_id=canceled, lease=task["lease"])
    server.give("submit after a cancel", task, success=False)
    server.ask("query, canceled", "task_result_query", task_id=canceled)

    content = png()
    announced = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "content_type": "image/png"}
    server.ask("image, new", "image_upload", **announced)
    image = server.upload("image, its bytes", content)
    server.ask("image, here already", "image_upload", **announced)
    server.create("", "upscaler", "job-4", {"image": image})
    task = server.take("request with a task that has an input")
    server.send("an input", "GET", task["inputs"]["image"]["url"])
    server.give("", task, success=False, msg="no")
    snapshot.check("answers", server.seen)


def test_refusals(server: Server, snapshot: Snapshot) -> None:
    """Every refusal is a status and a message, and says what it is about by its status alone."""
    video = {"prompt": "a rabbit"}
    nothing = {"task_id": "none", "lease": "0" * 64, "miner_id": "box", "success": True}
    server.seen.clear()
    server.send("no JSON", "POST", "task_create", data="{", headers=JSON)
    server.send("no object", "POST", "task_create", data="[]", headers=JSON)
    server.send("no such address", "GET", "nowhere")
    server.send("no such method", "GET", "task_create")
    for endpoint in ("task_create", "task_result_query", "task_cancel", "resource_request", "image_upload"):
        server.ask(f"{endpoint}, wrong key", endpoint, api_key="wrong", task_id="none")
    server.create("task_create, wrong consumer", "txt2vid", "job", video, workflow_id="1", consumer_id="eve")
    server.create("task_create, no such workflow", "sticker", "job", video)
    server.create("task_create, a value out of range", "txt2img", "job", {**video, "steps": 99}, workflow_id="3")
    server.create("task_create, no job id", "txt2vid", "", video, workflow_id="1")
    server.create("task_create, an image in a private network", "upscaler", "job", {"image": "http://10.1.1.1/a.png"})
    server.ask("task_result_query, no such task", "task_result_query", task_id="none")
    server.ask("task_cancel, no such task", "task_cancel", task_id="none")
    server.send("media, none", "GET", "media/none.mp4")
    server.ask("image_upload, no hash", "image_upload", sha256="x", size=5, content_type="image/png")
    large = {"sha256": "0" * 64, "size": 2**40, "content_type": "image/png"}
    server.ask("image_upload, too large", "image_upload", **large)
    server.send("image, never announced", "PUT", "image_upload/none", data=b"x")
    server.upload("image, other bytes", png(9), png(6))
    server.upload("image, no picture", b"<html>")
    server.upload("image, at another place", png(7), **{"Upload-Offset": "5"})
    for endpoint in ("register", "workflows", "request", "heartbeat", "submit"):
        server.mine(f"miner_{endpoint}, wrong key", endpoint, miner_key="wrong", **nothing)
    server.mine("miner_register, no instance", "register", workflows=[])
    server.mine("miner_register, no workflows", "register", instance="0a")
    server.mine("miner_register, the name is taken", "register", instance="0b", workflows=[])
    server.mine("miner_heartbeat, no such lease", "heartbeat", **nothing)
    server.mine("miner_submit, no such lease", "submit", **nothing)
    server.send("miner_input, none", "GET", f"miner_input/{'0' * 64}-0")
    server.send("miner_upload, none", "PUT", "miner_upload/none", data=b"x")

    task_id = server.create("", "txt2vid", "job-5", video, workflow_id="1")
    task = server.take()
    server.send("miner_upload, no media", "PUT", task["credential"]["upload_url"], data=b"<html>")
    server.give("miner_submit, not what was uploaded", task, success=True, result="0.png")
    server.ask("", "task_cancel", task_id=task_id)
    bodies = [each.get("body") for each in server.seen.values() if each["status"] >= 400]
    assert bodies == [{"message": "str"}] * len(bodies)
    told = {name: each["status"] if each["status"] >= 400 else each for name, each in server.seen.items()}
    snapshot.check("refusals", told)


def test_to_prometheus(server: Server, snapshot: Snapshot) -> None:
    """Names, kinds, labels and buckets, once something has happened."""
    task_id = server.create("", "txt2vid", "job-6", {"prompt": "x"}, workflow_id="1")
    task = server.take()
    server.give("", task, success=False, give_back="lost", msg="gone")
    task = server.take()
    uploaded = server.send("", "PUT", task["credential"]["upload_url"], data=png()).json()
    server.give("", task, success=True, **uploaded)
    server.create("", "txt2vid", "job-7", {"prompt": "x"}, workflow_id="1")
    assert server.ask("", "task_result_query", task_id=task_id)["status"] == "finished"
    answer = server.send("", "GET", "metrics", params={"token": SequencerOptions(api_keys=(KEY,)).page_token})
    if answer.status_code == 501:
        pytest.skip("prometheus-client is not installed")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", answer.text, re.MULTILINE))
    labels: dict[str, dict[str, list[str]]] = {name: {} for name in kinds}
    for name, inside in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", answer.text, re.MULTILINE):
        family = name if name in kinds else re.sub(r"_(bucket|count|sum)$", "", name)
        for label, value in re.findall(r'(\w+)="([^"]*)"', inside):
            values = labels[family].setdefault(label, [])
            values += [] if value in values else [value]
    assert labels["xalora_tasks_ended_total"]["outcome"].count("finished") == 1
    found = {
        name: {"kind": kind}
        | {label: "str" if label in ("workflow", "outcome") else values for label, values in labels[name].items()}
        for name, kind in kinds.items()
        if not name.endswith("_created")
    }
    snapshot.check("metrics", found)


def test_the_sandbox_answers_as_a_sequencer_does(sandbox: SandboxProcess, snapshot: Snapshot) -> None:
    server = Server(sandbox.url)
    video = {"prompt": "a rabbit", "width": 64, "height": 64, "length": 1}
    server.send("who it is", "GET", "")
    task_id = server.create("create", "txt2vid", "job-1", video, workflow_id="1")
    poll(lambda: server.ask("", "task_result_query", task_id=task_id)["status"] == "finished")
    server.send("media", "GET", server.ask("query, finished", "task_result_query", task_id=task_id)["result"])
    server.ask("cancel, too late", "task_cancel", task_id=task_id)
    server.ask("resource request", "resource_request", task_type="txt2vid", workflow_id="1")
    server.ask("query, no such task", "task_result_query", task_id="none")
    server.create("create, a value out of range", "txt2vid", "job-2", video | {"width": 1})
    snapshot.check("sandbox", server.seen)


def test_the_database(running: SequencerProcess, sandbox: SandboxProcess, snapshot: Snapshot) -> None:
    """Tables, columns and indexes. Its version and its table of requests are not part of what must stay."""
    seen = tables(running.folder / "data" / "sequencer.sqlite3")
    assert tables(sandbox.data / "sandbox.sqlite3") == seen
    snapshot.check("database", seen)


def tables(file: Path) -> dict[str, Any]:
    """Each table's columns with their types, and the indexes' SQL."""
    with closing(sqlite3.connect(file)) as db:
        names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'requests'").fetchall()
        found: dict[str, Any] = {}
        for (name,) in sorted(names):
            columns = db.execute("SELECT name, type FROM pragma_table_info(?) ORDER BY name", (name,))
            found[name] = dict(columns.fetchall())
        indexes = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
        )
        return {"tables": found, "indexes": {name: " ".join(sql.split()) for name, sql in indexes}}
