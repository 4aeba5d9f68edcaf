"""One node is a prompt: it runs although nothing is connected, and a cached run tells its preview again."""

from __future__ import annotations

import pytest

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.comfyui_prompts import Node, flux_lora, image, text2video, upscale
from tests.support.sandbox_process import SandboxProcess

ALONE: dict[str, dict[str, Node]] = {
    "text2video": {"made": text2video("alone", seed=501)},
    "flux_lora": {"made": flux_lora("alone", seed=501)},
    "upscale": {"image": image(seed=501), "made": upscale(["image", 0])},
}


@pytest.mark.parametrize("name", ALONE)
def test_a_node_alone_runs_once_and_tells_its_preview_each_time(
    comfy: ComfyUIProcess, sandbox: SandboxProcess, name: str
) -> None:
    mark = sandbox.mark()
    told = []
    for _ in ("made", "cached"):
        run = comfy.run(ALONE[name]).ok()
        (event,) = [event for event in run.events("executed") if event.data["node"] == "made"]
        told.append(event.data["output"]["images"])
        assert run.output("made")["images"] == told[-1]
        assert all(file.stat().st_size for file in run.files("made"))
    assert told[0] == told[1] != []
    assert mark.statuses() == ["finished"]
