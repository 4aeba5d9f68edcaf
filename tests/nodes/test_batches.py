"""Many images at once: in order, not too many at a time, and each failure by its number."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
import torch
from PIL import Image

from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.pictures import png

LEVELS = [10, 60, 110, 160, 210]


def batch(count: int = 5) -> torch.Tensor:
    """Images that can be told apart by their gray."""
    return torch.stack([torch.full((6, 7, 3), LEVELS[number] / 255) for number in range(count)])


def gray_of(parameters: dict[str, Any]) -> int:
    """The gray of the image a task was given."""
    with Image.open(io.BytesIO(base64.b64decode(parameters["image"].partition(",")[2]))) as image:
        return image.getpixel((0, 0))[0]


def place_of(parameters: dict[str, Any]) -> int:
    """The image's place in the batch; tasks need not be created in that order."""
    return LEVELS.index(gray_of(parameters))


def enlarge(parameters: dict[str, Any]) -> bytes:
    return png(14, 12, (gray_of(parameters),) * 3)


@pytest.mark.parametrize("parallel", [1, 2, 4])
def test_no_more_than_max_parallel_at_once_and_in_order(pack: Any, miner: FakeXalora, parallel: int) -> None:
    miner.ends = lambda number, parameters: enlarge(parameters)
    result, task_ids = pack.run("XaloraUpscale", image=batch(), max_parallel=parallel)
    assert miner.most_open == parallel
    assert (result[:, 0, 0, 0] * 255).round().int().tolist() == LEVELS
    assert [place_of(miner.parameters[int(each.removeprefix("task-"))]) for each in task_ids] == [0, 1, 2, 3, 4]


def test_different_sizes_are_an_error_that_names_the_images(pack: Any, miner: FakeXalora) -> None:
    def ends(number: int, parameters: dict[str, Any]) -> bytes:
        return png(14, 12) if place_of(parameters) != 2 else png(28, 24)

    miner.ends = ends
    with pytest.raises(pack.error("MediaError"), match=r"14x12: image 1, 2, 4, 5; 28x24: image 3\)"):
        pack.run("XaloraUpscale", image=batch())


@pytest.mark.parametrize("parallel", [2, 8])
def test_one_failure_is_named_after_the_others_finished(pack: Any, miner: FakeXalora, parallel: int) -> None:
    def ends(number: int, parameters: dict[str, Any]) -> bytes | Answer:
        if place_of(parameters) == 1:
            return status("failed", task_id=f"task-{number}", msg="out of memory")
        return enlarge(parameters)

    miner.ends = ends
    with pytest.raises(pack.error("TaskFailedError")) as caught:
        pack.run("XaloraUpscale", image=batch(), max_parallel=parallel)
    assert str(caught.value).startswith("Image 2 of 5: The remote machine ran out of memory. ")
    assert "other 4 are kept" in str(caught.value)
    assert len([path for path in miner.paths() if path.startswith("media/")]) == 4
    assert miner.cancelled == {}


def test_a_refused_image_is_named_too(pack: Any, miner: FakeXalora) -> None:
    miner.script(
        "task_create",
        Answer({"task_id": "task-1"}), Answer({"message": "no such model"}, 400), Answer({"task_id": "task-3"}),
    )  # fmt: skip
    with pytest.raises(
        pack.error("BadRequestError"), match="Image 2 of 3: The server did not accept the inputs: no such model"
    ):
        pack.run("XaloraUpscale", image=batch(3), max_parallel=1, wait=False)


def test_one_image_alone_has_no_number(pack: Any, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: status("failed", task_id="task-1", msg="out of memory")
    with pytest.raises(pack.error("TaskFailedError"), match=r"^The remote machine ran out of memory"):
        pack.run("XaloraUpscale", image=batch(1))


def test_an_empty_batch_is_refused_before_anything_is_sent(pack: Any, miner: FakeXalora) -> None:
    with pytest.raises(pack.error("InvalidParameterError"), match=r"image must be .*one image or more.*\(0, 6, 7, 3\)"):
        pack.run("XaloraUpscale", image=torch.zeros(0, 6, 7, 3))
    assert miner.seen == []


def test_after_a_failure_only_what_failed_is_sent_again(pack: Any, miner: FakeXalora) -> None:
    """50 images, of which three fail: the next run sends three."""
    images = torch.linspace(0, 1, 50)[:, None, None, None].expand(50, 4, 4, 3)
    failing = {7, 23, 47}
    miner.ends = lambda number, _: status("failed", msg="out of memory") if number in failing else png(8, 8)
    with pytest.raises(pack.error("TaskFailedError"), match=r"of 50: .*the other 47 are kept"):
        pack.run("XaloraUpscale", image=images, max_parallel=16)
    failing.clear()
    enlarged, task_ids = pack.run("XaloraUpscale", image=images, max_parallel=16)
    assert enlarged.shape == (50, 8, 8, 3)
    assert len(set(task_ids)) == 50
    assert len(miner.parameters) == 53


def test_a_large_batch_prepares_a_few_ahead(pack: Any, miner: FakeXalora, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is prepared is claimed, and each claim is an open file, of which a system may allow few."""
    monkeypatch.setattr(pack.part("nodes.batch"), "MAX_PREPARED", 2)
    client, ahead = pack.part("xalora_client").AsyncClient, []
    upload = client.upload_images

    async def counting(self: Any, *arguments: Any, **options: Any) -> None:
        await upload(self, *arguments, **options)
        prepared.append(1)
        ahead.append(len(prepared) - sum(1 for path in miner.paths() if path.startswith("media/")))

    prepared: list[int] = []
    monkeypatch.setattr(client, "upload_images", counting)
    images = torch.linspace(0, 1, 12)[:, None, None, None].expand(12, 4, 4, 3)
    pack.run("XaloraUpscale", image=images, max_parallel=3)
    assert len(prepared) == 12
    assert max(ahead) <= 3 + 2
