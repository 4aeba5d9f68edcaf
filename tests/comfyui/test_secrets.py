"""The key, which the server has in its environment, appears nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.comfyui_prompts import flux_lora, node, save_image, save_video, show, text2video
from tests.support.fake_sequencer import Answer, Seen, status
from tests.support.fake_xalora import FakeXalora
from tests.support.sandbox_process import SandboxProcess


def places_of(secret: str, *folders: Path) -> list[Path]:
    """The files that hold the secret, as text of 8 or 16 bits."""
    forms = [secret.encode(), secret.encode("utf-16-le")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 50
    return [file for file in files if any(form in file.read_bytes() for form in forms)]


def test_it_is_in_no_answer_and_no_file(comfy: ComfyUIProcess, sandbox: SandboxProcess, canary: str) -> None:
    run = comfy.run(
        {
            "make": text2video(seed=700),
            "save": save_video(["make", 1], "secret"),
            "picture": flux_lora(seed=700),
            "keep": save_image(["picture", 0], "secret"),
            "later": flux_lora(seed=701, wait=False),
            "look": node("XaloraTaskStatus", task_id=["later", 1], wait=True),
            "info": show(["look", 4]),
            "stop": node("XaloraCancelTask", task_id=["picture", 1]),
        }
    ).ok()
    with Image.open(run.files("keep")[0]) as picture:
        assert "XaloraFluxLora" in picture.info["prompt"]
        assert "XaloraFluxLora" in picture.info["workflow"]
        assert canary not in json.dumps(picture.info)
    with av.open(str(run.files("save")[0])) as video:
        assert "XaloraText2Video" in video.metadata["prompt"]
        assert canary not in json.dumps(dict(video.metadata))
    for path in ("/history", "/queue", "/object_info", "/settings", "/system_stats", "/internal/logs", "/extensions"):
        answer = comfy.get(path)
        assert answer.ok, path
        assert canary not in answer.text, path
    assert canary not in json.dumps([event.data for event in comfy.events], default=repr)
    assert canary not in comfy.log()
    assert places_of(canary, comfy.base, sandbox.data) == [comfy.base / ".env"]  # Where the test put it.


def echo(status_code: int) -> Any:
    """An answer that repeats the key, as careless servers do in their errors."""

    def answer(seen: Seen) -> Answer:
        return Answer({"message": f"the key {seen.body['api_key']} is not welcome"}, status_code)

    return answer


@pytest.mark.parametrize("endpoint", ["task_create", "task_result_query", "task_cancel"])
def test_an_error_that_repeats_it_is_shown_without_it(
    comfy: ComfyUIProcess, miner: FakeXalora, canary: str, endpoint: str
) -> None:
    miner.script(endpoint, echo(403))
    prompt = {
        "task_create": {"make": flux_lora(), "show": show(["make", 1])},
        "task_result_query": {"look": node("XaloraTaskStatus", task_id="task-1")},
        "task_cancel": {"stop": node("XaloraCancelTask", task_id="task-1")},
    }[endpoint]
    run = comfy.run(prompt)
    assert "the key *** is not welcome" in run.error["exception_message"]
    assert canary in json.dumps([seen.body for seen in miner.seen])
    assert canary not in json.dumps([event.data for event in comfy.events], default=repr)
    assert canary not in json.dumps(run.history)
    assert canary not in comfy.log()


def test_a_failed_task_that_repeats_it_is_shown_without_it(
    comfy: ComfyUIProcess, miner: FakeXalora, canary: str
) -> None:
    miner.ends = lambda number, parameters: status(
        "failed", task_id=f"task-{number}", msg=f"bad key {canary}", details={"api_key": canary}
    )
    run = comfy.run({"make": flux_lora(), "show": show(["make", 1])})
    assert "bad key ***" in run.error["exception_message"]
    assert canary not in json.dumps(run.history)
    assert canary not in comfy.log()
