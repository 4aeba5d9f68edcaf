"""The routes for the editor, on a real ComfyUI: the tasks and the settings, and who may use them."""

from __future__ import annotations

import json
import secrets
import stat
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
import requests
from PIL import Image

from tests.support.comfyui_process import ComfyUIProcess, Event
from tests.support.comfyui_prompts import flux_lora, save_image, show
from tests.support.fake_sequencer import Answer, FakeSequencer
from tests.support.processes import poll
from tests.support.sandbox_process import SandboxProcess


def ask(comfy: ComfyUIProcess, path: str, body: Any = None, **headers: str) -> requests.Response:
    """POST with a body, else GET."""
    send = requests.get if body is None else requests.post
    return send(f"{comfy.url}/xalora/{path}", headers=headers, timeout=60, **({} if body is None else {"json": body}))


def submitted(comfy: ComfyUIProcess, prompt: str, **inputs: Any) -> str:
    """The id of a task that a node made and did not wait for."""
    made = comfy.run({"make": flux_lora(prompt, wait=False, **inputs), "id": show(["make", 1])}).ok()
    return made.output("id")["values"][0]


@pytest.fixture
def name() -> str:
    """A prompt that no other test has."""
    return f"a gecko {secrets.token_hex(4)}"


def test_a_task_is_listed_collected_shown_and_forgotten(comfy: ComfyUIProcess, name: str) -> None:
    task_id = submitted(comfy, name)
    (listed,) = ask(comfy, f"tasks?text={name}").json()["tasks"]
    assert listed["task_id"] == task_id
    assert listed["prompt"] == name
    assert listed["task_type"] == "txt2img"
    assert listed["source"] == "node"
    assert listed["place"].pop("run")
    assert listed["place"] == {"node": "make", "title": "XaloraFluxLora"}
    assert ask(comfy, f"tasks/{task_id}/thumbnail").status_code == 404

    def collected() -> Any:
        return ask(comfy, f"tasks/{task_id}/collect", {}).json()["view"]

    view = poll(collected)
    assert collected() == view
    media = comfy.get(f"/view?filename={view['filename']}&type={view['type']}&subfolder={view['subfolder']}")
    assert Image.open(BytesIO(media.content)).size == (64, 80)
    small = ask(comfy, f"tasks/{task_id}/thumbnail")
    assert Image.open(BytesIO(small.content)).size == (64, 80)
    known = ask(comfy, f"tasks/{task_id}").json()["task"]
    assert known["parameters"]["prompt"] == name
    assert known["state"] == "finished"

    assert ask(comfy, f"tasks/{task_id}/forget", {}).json()["forgotten"] == [listed["number"]]
    assert ask(comfy, f"tasks?text={name}").json()["tasks"] == []
    assert ask(comfy, f"tasks/{task_id}").status_code == 404


def test_pages_lead_to_each_other(comfy: ComfyUIProcess, name: str) -> None:
    ids = [submitted(comfy, name, seed=seed) for seed in range(3)]
    first = ask(comfy, f"tasks?text={name}&limit=2").json()
    second = ask(comfy, f"tasks?text={name}&limit=2&before={first['next']}").json()
    assert [each["task_id"] for each in first["tasks"] + second["tasks"]] == ids[::-1]
    assert (first["total"], second["next"]) == (3, None)


@pytest.mark.parametrize("before", ["9" * 19, "-1", "1e3", "9" * 5000])
def test_a_page_before_no_task_is_refused(comfy: ComfyUIProcess, before: str) -> None:
    assert ask(comfy, f"tasks?before={before}").status_code == 400


def test_a_result_without_a_preview_is_finished_all_the_same(comfy: ComfyUIProcess, name: str) -> None:
    task_id = submitted(comfy, name)
    temp = comfy.base / "temp"
    kept = temp.rename(comfy.base / "kept") if temp.exists() else None
    temp.write_text("a file where the folder was")
    try:
        answer = poll(lambda: _finished(ask(comfy, f"tasks/{task_id}/collect", {}).json()))
    finally:
        temp.unlink()
        if kept:
            kept.rename(temp)
    assert answer["view"] is None


def _finished(answer: dict[str, Any]) -> dict[str, Any] | None:
    return answer if answer["task"]["state"] == "finished" else None


def test_refresh_gives_advice_for_the_editor(comfy: ComfyUIProcess, name: str) -> None:
    server = FakeSequencer()
    try:
        comfy.use(server.url)
        server.script("task_create", Answer({"task_id": "task-1", "msg": "ok"}))
        submitted(comfy, name)
        server.script("task_result_query", Answer({"message": "who are you"}, 401))
        problem = ask(comfy, "refresh", {}).json()["problem"]
    finally:
        server.close()
    assert "Settings → Xalora" in problem
    assert "XALORA_" not in problem


def test_a_task_is_canceled_at_the_sequencer(comfy: ComfyUIProcess, endless: SandboxProcess, name: str) -> None:
    comfy.use(endless.url)
    mark = endless.mark()
    task_id = submitted(comfy, name)
    answer = ask(comfy, f"tasks/{task_id}/cancel", {}).json()
    assert answer["task"]["state"] == "canceled"
    assert mark.tasks() == [(task_id, "canceled")]
    assert ask(comfy, f"tasks/{task_id}/cancel", {}).json()["task"]["state"] == "canceled"


def test_open_tasks_are_asked_about_and_changes_pushed(comfy: ComfyUIProcess, paced: SandboxProcess, name: str) -> None:
    comfy.use(paced.url)
    ask(comfy, "tasks")
    task_id = submitted(comfy, name)
    poll(lambda: told(comfy), what="the editor is told of a new task")
    before = len(told(comfy))

    def finished() -> bool:
        assert ask(comfy, "refresh", {}).json()["problem"] is None
        return [task["task_id"] for task in ask(comfy, "tasks?state=finished").json()["tasks"][:1]] == [task_id]

    poll(finished, what="the task is finished")
    poll(lambda: len(told(comfy)) > before, what="the editor is told of its end")
    # Any page may listen.
    assert [each.data for each in told(comfy) if each.data] == []


def test_the_editor_is_told_at_most_once_a_second(comfy: ComfyUIProcess, name: str) -> None:
    ask(comfy, "tasks")
    before = len(told(comfy))
    made = 0
    while len(told(comfy)) < before + 3:
        submitted(comfy, name, seed=made)
        made += 1
    assert made > 3
    times = [each.at for each in told(comfy)[before:]]
    # The network may delay one and not the next.
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.8


def told(comfy: ComfyUIProcess) -> list[Event]:
    """The messages that something has changed."""
    return [each for each in list(comfy.events) if each.type == "xalora.tasks"]


def test_another_servers_task_waits_for_its_server(comfy: ComfyUIProcess, endless: SandboxProcess, name: str) -> None:
    """The key is not sent to a server it was not set with."""
    task_id = submitted(comfy, name)
    comfy.use(endless.url)
    mark = endless.mark()
    answer = ask(comfy, f"tasks/{task_id}/cancel", {})
    assert answer.status_code == 400
    assert "This task is at" in answer.json()["error"]["what"]
    assert mark.requests("*") == []


def test_a_key_goes_in_and_never_comes_out(plain: ComfyUIProcess, sandbox: SandboxProcess) -> None:
    secret = f"canary{secrets.token_hex(16)}"
    before = ask(plain, "config").json()
    assert before["key"] == {"set": False, "needed": True, "consumer": None, "source": "default", "editable": True}
    assert "No API key is set" in before["problem"]
    checks = {each["name"]: each for each in ask(plain, "test", {}).json()["checks"]}
    assert checks["key"]["status"] == "problem"
    assert "Settings" in checks["key"]["advice"]

    answer = ask(plain, "config", {"api_key": f"artist-7#{secret}", "workflow_url": sandbox.url})
    assert answer.json()["key"] | {"set": True, "consumer": "artist-7", "source": "stored"} == answer.json()["key"]
    assert answer.json()["server"] == {
        "kind": "own", "url": sandbox.url, "source": "stored", "editable": True,
    }  # fmt: skip
    assert ask(plain, "test", {}).json()["ok"] is True
    assert plain.run({"make": flux_lora("with the stored key"), "save": save_image(["make", 0])}).ok()

    shown = [answer.text, plain.log(), json.dumps([event.data for event in plain.events], default=repr)]
    shown += [ask(plain, path).text for path in ("config", "tasks")]
    shown += [plain.get(path).text for path in ("/settings", "/history", "/object_info", "/internal/logs")]
    assert [text[:100] for text in shown if secret in text] == []
    places = [file for file in plain.base.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
    assert [file.name for file in places] == ["config.json"]
    assert stat.S_IMODE(places[0].stat().st_mode) == 0o600

    assert ask(plain, "config", {"api_key": "", "workflow_url": ""}).json()["key"]["set"] is False


def test_what_the_environment_sets_cannot_be_changed(comfy: ComfyUIProcess, canary: str) -> None:
    config = ask(comfy, "config").json()
    assert config["key"] == {
        "set": True, "needed": True, "consumer": "consumer-of-tests", "source": ".env", "editable": False,
    }  # fmt: skip
    assert config["server"]["source"] == ".env"
    answer = ask(comfy, "config", {"api_key": "other#key"})
    assert answer.status_code == 400
    assert "set by XALORA_API_KEY in the .env file" in answer.json()["error"]["message"]
    assert canary not in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("tasks", None),
        ("config", None),
        ("config", {}),
        ("test", {}),
        ("refresh", {}),
        ("tasks/x/cancel", {}),
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example:8188"},
        {"Host": "evil.example:8188", "Origin": "http://evil.example:8188"},
    ],
)
def test_other_sites_get_nothing(comfy: ComfyUIProcess, path: str, body: Any, headers: dict[str, str]) -> None:
    for prefix in ("", "/api"):
        send = requests.get if body is None else requests.post
        more = {} if body is None else {"json": body}
        answer = send(f"{comfy.url}{prefix}/xalora/{path}", headers=headers, timeout=60, **more)
        assert answer.status_code == 403
        assert set(answer.json()["error"] if answer.content else []) <= {"type", "what", "advice", "message"}


@pytest.mark.parametrize("body", ["", "[]", "{", "null", '"text"', "x" * 30_000, "[" * 10_000])
def test_a_body_that_is_no_object_is_refused(comfy: ComfyUIProcess, body: str) -> None:
    answer = requests.post(
        f"{comfy.url}/xalora/config", data=body, headers={"Content-Type": "application/json"}, timeout=60
    )
    assert answer.status_code == (400 if body else 200)


@pytest.mark.parametrize(
    "body",
    [{"api_key": 5}, {"home": "/tmp/elsewhere"}, {"workflow_url": "file:///etc/passwd"}, {"api_key": "x" * 3000}],
)
def test_a_setting_that_is_none_is_refused(plain: ComfyUIProcess, body: dict[str, Any]) -> None:
    answer = ask(plain, "config", body)
    assert answer.status_code == 400
    assert "xxx" not in answer.text


@pytest.mark.parametrize("task_id", ["..%2f..%2fconfig.json", "%00", "x" * 5000, "' OR 1=1 --", "none"])
def test_an_unknown_task_is_not_found(comfy: ComfyUIProcess, task_id: str) -> None:
    for path in ("", "/thumbnail"):
        assert ask(comfy, f"tasks/{task_id}{path}").status_code == 404
    assert ask(comfy, f"tasks/{task_id}/collect", {}).status_code == 404
