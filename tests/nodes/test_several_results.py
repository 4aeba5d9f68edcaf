"""A workflow that makes a batch of pictures: the nodes give all of them, and say where others are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.pictures import encoded, noise, png

WORKFLOW = {"task_type": "txt2img", "workflow_id": "", "parameters": '{"batch_size": 3}'}
FLUX = {"prompt": "a gecko", "lora_name": "gecko.safetensors", "width": 16, "height": 16, "steps": 1}
BATCH = [png(16, 16, (255, 0, 0)), png(16, 16, (0, 255, 0)), png(16, 16, (255, 0, 0))]
RED, LIME = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
MOVING = encoded(
    Image.new("RGB", (16, 16), "red"), "GIF", save_all=True, append_images=[Image.new("RGB", (16, 16), "blue")]
)


@pytest.fixture
def line(pack: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The node's lines."""
    lines: list[str] = []
    progress = pack.part("nodes.comfy.progress").Progress
    monkeypatch.setattr(progress, "text", lambda self, text, last=False: lines.append(" · ".join(map(str, text))))
    return lines


def makes(miner: FakeXalora, *pictures: bytes) -> None:
    """Each task ends with these results, as our sequencer says it."""

    def ends(number: int, _: Any) -> Answer:
        urls = [miner._serve(number * 100 + place, picture) for place, picture in enumerate(pictures)]
        return status("finished", result=urls[0], results=urls, revision=7, long_poll_seconds=25)

    miner.ends = ends


def colors(frames: torch.Tensor) -> list[tuple[float, ...]]:
    return [tuple(frame[0, 0].tolist()) for frame in frames]


def test_pictures_of_one_size_are_one_batch_in_their_order(pack: Any, miner: FakeXalora, line: list[str]) -> None:
    makes(miner, *BATCH)
    frames, video, task_id = pack.run("XaloraRunWorkflow", **WORKFLOW)
    assert (frames.shape, colors(frames)) == ((3, 16, 16, 3), [RED, LIME, RED])
    assert pack.is_blocked(video)
    assert re.fullmatch(r"done · 0:\d\d · 3 images of 16×16", line[-1])
    miner.downloads.shut()  # The next run needs none.
    assert colors(pack.run("XaloraRunWorkflow", **WORKFLOW)[0]) == [RED, LIME, RED]
    assert line[-1] == "done · reused, no charge · 3 images of 16×16"
    state, frames, _, url, info = pack.run("XaloraTaskStatus", task_id=task_id)
    assert (state, colors(frames), url in info) == ("finished", [RED, LIME, RED], True)
    assert line[-1] == "done · 3 images of 16×16"
    miner.downloads.open()
    assert colors(pack.run("XaloraFluxLora", **FLUX)[0]) == [RED, LIME, RED]
    images = torch.linspace(0, 1, 2)[:, None, None, None].expand(2, 4, 4, 3)
    assert colors(pack.run("XaloraUpscale", image=images)[0]) == 2 * [RED, LIME, RED]
    assert pack.run("XaloraUpscale", image=images[:1] / 2 + 0.25)[0].shape == (3, 16, 16, 3)
    assert re.fullmatch(r"done · 0:\d\d · 3 images of 16×16", line[-1])
    assert len(miner.parameters) == 5


@pytest.mark.parametrize(
    "others", [[png(8, 16)], [png(8, 16), noise(1), png(16, 8)], [MOVING]], ids=["one", "three", "an animation"]
)
def test_what_has_another_size_or_kind_is_named(pack: Any, miner: FakeXalora, line: list[str], others: Any) -> None:
    makes(miner, BATCH[0], *others, BATCH[1])
    for node, values in (("XaloraRunWorkflow", WORKFLOW), ("XaloraUpscale", {"image": torch.zeros(1, 4, 4, 3)})):
        assert colors(pack.run(node, **values)[0]) == [RED, LIME]
        assert f"2 images of 16×16 · {len(others)} of another size or kind: " in line[-1]
        named = [Path(name) for name in line[-1].partition("kind: ")[2].split(", ")]
        assert [each.read_bytes() for each in named] == others


def test_of_an_animation_the_rest_is_named(pack: Any, miner: FakeXalora, line: list[str]) -> None:
    makes(miner, MOVING, BATCH[0])
    assert pack.run("XaloraRunWorkflow", **WORKFLOW)[0].shape == (2, 16, 16, 3)
    assert "1 of another size or kind: " in line[-1]
