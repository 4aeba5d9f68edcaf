"""What the editor and programs depend on at ComfyUI: the routes' JSON, the events, and what nodes show.

``tests/outside/editor.json`` says what was there at version 0.1.0; see ``tests/outside/conftest.py``.
"""

from __future__ import annotations

import secrets
from typing import Any

import pytest
import requests

import xalora_client
from tests.support.comfyui_process import ComfyUIProcess
from tests.support.comfyui_prompts import flux_lora, node, show, text2video
from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.processes import ROOT, poll
from tests.support.sandbox_process import SandboxProcess
from tests.support.snapshot import Snapshot, shape

HEADERS = ("content-type", "cache-control", "cross-origin-resource-policy", "x-content-type-options")


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot(ROOT / "tests" / "outside" / "editor.json")


class Routes:
    """Asks the routes under /xalora. ``seen`` has each answer under its name."""

    def __init__(self, comfy: ComfyUIProcess) -> None:
        self.url = f"{comfy.url}/xalora"
        self.seen: dict[str, Any] = {}

    def ask(self, name: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """POST with a body, else GET."""
        method = "GET" if body is None else "POST"
        more = {} if body is None else {"json": body}
        answer = requests.request(method, f"{self.url}/{path}", headers=headers, timeout=60, **more)
        told: dict[str, Any] = {"status": answer.status_code}
        if answer.content and answer.headers["content-type"].startswith("application/json"):
            told["body"] = shape(answer.json())
            if "error" in told["body"] and hasattr(xalora_client, answer.json()["error"]["type"]):
                told["body"]["error"]["type"] = answer.json()["error"]["type"]
        self.seen[name] = told
        return answer


def submitted(comfy: ComfyUIProcess, prompt: str, seed: int) -> str:
    """The id of a task that a node made and did not wait for. ComfyUI does not run the same prompt twice."""
    made = comfy.run({"make": flux_lora(prompt, seed=seed, wait=False), "id": show(["make", 1])}).ok()
    return str(made.output("id")["values"][0])


def test_routes(comfy: ComfyUIProcess, endless: SandboxProcess, miner: FakeXalora, snapshot: Snapshot) -> None:
    name = f"a gecko {secrets.token_hex(4)}"
    routes = Routes(comfy)
    comfy.use(endless.url)
    running = submitted(comfy, name, 1)
    page = routes.ask("GET tasks", f"tasks?text={name}&limit=1&state=open")
    snapshot.check("headers", {each: page.headers.get(each) for each in HEADERS})
    # How the list learns of changes is not part of what must stay. How long tasks took before differs.
    routes.seen["GET tasks"]["body"].pop("version", None)
    routes.seen["GET tasks"]["body"]["tasks"][0]["usual_seconds"] = "null"
    refreshed = routes.ask("POST refresh", "refresh", {})
    routes.seen["POST refresh"]["body"] = sorted(refreshed.json())
    routes.ask("POST cancel", f"tasks/{running}/cancel", {})

    miner.script("task_cancel", Answer({"message": "no"}, 402))
    comfy.use(miner.url)
    finished = submitted(comfy, name, 2)
    routes.ask("the server refuses", f"tasks/{finished}/cancel", {})
    routes.ask("a task of another server", f"tasks/{running}/collect", {})
    poll(lambda: routes.ask("POST collect", f"tasks/{finished}/collect", {}).json()["view"])
    routes.ask("GET task", f"tasks/{finished}")
    picture = routes.ask("GET thumbnail", f"tasks/{finished}/thumbnail")
    snapshot.check("headers of a thumbnail", {each: picture.headers.get(each) for each in HEADERS})
    assert picture.headers["etag"]
    routes.ask("POST forget", f"tasks/{finished}/forget", {})
    routes.ask("GET workflows", "workflows")
    routes.ask("GET config", "config")
    routes.ask("POST config", "config", {})
    tried = routes.ask("POST test", "test", {}).json()
    snapshot.check("names of the checks", [each["name"] for each in tried["checks"]])

    routes.ask("no such task", "tasks/none")
    routes.ask("no such task to cancel", "tasks/none/cancel", {})
    routes.ask("no thumbnail", "tasks/none/thumbnail")
    routes.ask("no such page", "tasks?before=-1")
    routes.ask("no such setting", "config", {"home": "/tmp"})
    routes.ask("a setting of the environment", "config", {"api_key": "other#key"})
    routes.ask("no object", "config", [])
    routes.ask("another site", "config", Origin="http://evil.example")
    form = requests.post(f"{routes.url}/config", data="{}", headers={"Content-Type": "text/plain"}, timeout=60)
    routes.seen["no JSON"] = {"status": form.status_code, "body": shape(form.json())}
    snapshot.check("routes", routes.seen)


def test_events_and_what_nodes_show(
    comfy: ComfyUIProcess, sandbox: SandboxProcess, miner: FakeXalora, snapshot: Snapshot
) -> None:
    """The editor's extension listens to these events, and reads what the nodes show."""

    def errors() -> list[dict[str, Any]]:
        return [event.data for event in list(comfy.events) if event.type == "xalora.error"]

    before = len(errors())
    name = f"a rabbit {secrets.token_hex(4)}"
    prompt = {"make": text2video(name), "show": show(["make", 3])}
    miner.ends = lambda number, parameters: status("failed", task_id=f"task-{number}", msg="out of memory")
    assert comfy.run(prompt).end == "execution_error"
    miner.script("task_create", Answer({"message": "insufficient credit"}, 402))
    assert comfy.run(prompt).end == "execution_error"
    told = poll(lambda: len(errors()) == before + 2 and errors()[before:])
    snapshot.check("xalora.error", [each | {"message": "str"} for each in told])

    requests.get(f"{comfy.url}/xalora/tasks", timeout=60)
    comfy.use(sandbox.url)
    shown = {"a video": comfy.run(prompt).ok().output("make")}
    again = {"make": text2video(name, timeout_seconds=601), "id": show(["make", 3])}
    run = comfy.run(again).ok()
    shown["a video that was there"] = run.output("make")
    shown["a picture"] = comfy.run({"make": flux_lora(name), "id": show(["make", 1])}).ok().output("make")
    (task_id,) = run.output("id")["values"]
    shown["a status"] = comfy.run({"look": node("XaloraTaskStatus", task_id=task_id)}).ok().output("look")
    snapshot.check("shown", shape(shown))
    poll(lambda: "xalora.tasks" in {event.type for event in list(comfy.events)})
    snapshot.check("events", sorted({each.type for each in list(comfy.events) if each.type.startswith("xalora")}))
