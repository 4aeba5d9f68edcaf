"""A ComfyUI with ``--multi-user``: one key for all, and a list of tasks for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.comfyui_process import ComfyUIProcess, Run, booted, install, skip_but_on_newest
from tests.support.comfyui_prompts import flux_lora, node
from tests.support.sandbox_process import SandboxProcess
from xalora_client import Client, FluxLoraTask


@pytest.fixture
def shared(source: Path, tmp_path: Path, sandbox: SandboxProcess) -> Iterator[ComfyUIProcess]:
    """A ComfyUI for several users."""
    skip_but_on_newest(source)
    comfy = ComfyUIProcess(
        source, tmp_path, "--multi-user", XALORA_API_KEY="all#of-them", XALORA_HOME=str(tmp_path / "xalora")
    )
    install(tmp_path / "custom_nodes" / "xalora-nodes")
    comfy.use(sandbox.url)
    yield from booted(comfy)


def test_each_user_sees_his_own_tasks_and_those_of_nobody(
    shared: ComfyUIProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    ids = {name: shared.post("/users", {"username": name}).json() for name in ("ann_", "annb", "bob")}

    def become(name: str) -> None:
        shared.headers = {"comfy-user": ids.get(name, name)} if name else {}

    def listed(query: str = "") -> tuple[set[str], int, int]:
        page: dict[str, Any] = shared.get(f"/xalora/tasks?{query}").json()
        return {task["prompt"] for task in page["tasks"]}, page["total"], page["all"]

    for name, path in (("ann_", "/prompt"), ("bob", "/api/prompt"), ("", "/prompt")):
        become(name)
        prompt = {"make": flux_lora(f"by {name}"), "show": node("PreviewAny", source=["make", 1])}
        # Nobody may say that he is another.
        extra = {"xalora_user": ids["annb"]}
        answer = shared.post(path, {"prompt": prompt, "client_id": shared.client_id, "extra_data": extra}).json()
        Run(shared, answer["prompt_id"]).wait().ok()
    with Client("all#of-them", sandbox.url, home=tmp_path / "xalora", ledger=True) as client:
        client.execute_workflow(FluxLoraTask("by a program", lora_name="gecko"))
    everybodys = {"by ", "by a program"}
    for name, own in (("ann_", {"by ann_"}), ("bob", {"by bob"}), ("annb", set()), ("", set()), ("nobody", set())):
        become(name)
        found = own | everybodys
        assert listed() == (found, len(found), len(found))
        assert listed("text=by+bob") == (own & {"by bob"}, len(own & {"by bob"}), len(found))
        assert len(listed("limit=1&state=finished")[0]) == 1
