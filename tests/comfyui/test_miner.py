"""A miner and a real ComfyUI: the shipped workflows, errors, cancels, and ComfyUI ending in the middle."""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.support.comfyui_process import ComfyUIProcess, booted
from tests.support.comfyui_prompts import node
from tests.support.fake_comfyui import until
from tests.support.farm import Farm
from tests.support.pictures import noise
from xalora_client.miner.timeouts import Timeouts

REMOTE_NODES = Path(__file__).with_name("remote_nodes")
SMALL = Path(__file__).parents[2] / "xalora_client" / "workflows" / "small"


@pytest.fixture(scope="module")
def box(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """The miner's ComfyUI: without the pack, with the tests' nodes."""
    base = tmp_path_factory.mktemp("box")
    shutil.copytree(REMOTE_NODES, base / "custom_nodes" / "remote_nodes")
    yield from booted(ComfyUIProcess(source, base))


@pytest.fixture
def mining(box: ComfyUIProcess, tmp_path: Path) -> Callable[[Callable[[Farm], Awaitable[None]]], None]:
    """Runs a coroutine with a sequencer and a miner at that ComfyUI, which has the miner's own patience."""

    def run(scenario: Callable[[Farm], Awaitable[None]]) -> None:
        async def within() -> None:
            async with Farm(tmp_path) as world:
                shutil.rmtree(world.folder / "workflows")
                shutil.copytree(SMALL, world.folder / "workflows")
                picture = node("EmptyImage", width=64, height=48, batch_size=1, color=255)
                slow = node("TestSteps", image=["1", 0], steps=600, seconds=0.1, noise_seed=0)
                broken = node("TestBreak", image=["1", 0], message="it broke")
                save = node("SaveImage", images=["2", 0], filename_prefix="x")
                slow["_meta"]["title"] = "Slow input:seconds input:steps"
                broken["_meta"]["title"] = "The broken one"
                world.workflows({"test.slow.json": {"1": picture, "2": slow, "3": save}})
                world.workflows({"test.shown.json": {"1": picture, "2": node("PreviewImage", images=["1", 0])}})
                world.workflows({"test.broken.json": {"1": picture, "2": broken, "3": save}})
                world.miner(box.url, timeouts=Timeouts())
                await until(lambda: world.ready)
                await scenario(world)

        asyncio.run(within())
        box.settle()

    return run


async def create(world: Farm, name: str, **parameters: object) -> str:
    """A task of a workflow, by the name of its file."""
    task_type, _, workflow_id = name.partition(".")
    body = {"task_type": task_type, "task_details": {"parameters": parameters}, "job_id": uuid.uuid4().hex}
    return str(
        (await world.ask("task_create", **body, **({"workflow_id": workflow_id} if workflow_id else {})))["task_id"]
    )


def test_an_image_is_enlarged_as_comfyui_does(mining, box):
    content = noise(3, 40)
    (box.base / "input" / "same.png").write_bytes(content)
    prompt = {
        "1": node("LoadImage", image="same.png"),
        "2": node("ImageScaleBy", image=["1", 0], upscale_method="lanczos", scale_by=2.0),
        "3": node("SaveImage", images=["2", 0], filename_prefix="direct"),
    }
    (direct,) = box.run(prompt).ok().files("3")

    async def scenario(world):
        address = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        result = await world.result(await create(world, "upscaler", image=address))
        with Image.open(io.BytesIO(result)) as ours, Image.open(direct) as theirs:
            assert ours.size == (80, 80)
            assert np.array_equal(np.asarray(ours), np.asarray(theirs))

    mining(scenario)
    assert not list((box.base / "input").glob("xalora*"))  # It is in the temporary folder, which is emptied at start.


@pytest.mark.parametrize("workflow", ["txt2vid.1", "txt2vid.2"])
def test_a_video_arrives_with_its_frames(mining, workflow):
    async def scenario(world):
        task_id = await create(world, workflow, prompt="a fox", width=96, height=64, length=9, fps=12)
        result = io.BytesIO(await world.result(task_id))
        if workflow == "txt2vid.1":
            with av.open(result) as video:
                shapes = [(frame.width, frame.height) for frame in video.decode(video=0)]
        else:
            with Image.open(result) as picture:
                shapes = [picture.size] * picture.n_frames
        assert shapes == [(96, 64)] * 9

    mining(scenario)


def test_the_same_task_twice_gives_a_result_twice(mining):
    async def scenario(world):
        results = [await world.result(await create(world, "txt2img.3", prompt="a fox", noise_seed=5)) for _ in range(2)]
        with Image.open(io.BytesIO(results[0])) as first, Image.open(io.BytesIO(results[1])) as second:
            assert np.array_equal(np.asarray(first), np.asarray(second))

    mining(scenario)


def test_an_output_without_a_prefix_makes_its_file_for_each_run(mining, box):
    async def scenario(world):
        for _ in range(2):
            shutil.rmtree(box.base / "temp", ignore_errors=True)
            assert await world.result(await create(world, "test.shown"))

    mining(scenario)


def test_an_error_names_the_node(mining):
    async def scenario(world):
        answer = await world.ended(await create(world, "test.broken"))
        assert answer["status"] == "failed"
        for word in ("Node 2", "The broken one", "TestBreak", "it broke"):
            assert word in answer["msg"]

    mining(scenario)


def test_progress_is_that_of_the_sampler(mining):
    async def scenario(world):
        task_id = await create(world, "test.slow", seconds=0.3, steps=10)
        values = []
        revision = 0
        while (answer := await world.task(task_id))["status"] in ("waiting", "running"):
            if (progress := answer.get("progress")) and progress["title"].startswith("Slow"):
                values.append((progress["value"], progress["maximum"]))
            revision = answer["revision"]
            await world.ask("task_result_query", task_id=task_id, wait_seconds=1, after=revision)
        assert answer["status"] == "finished"
        assert values == sorted(values)
        assert {maximum for _, maximum in values} >= {10}

    mining(scenario)


def test_a_cancel_stops_the_sampler(mining, box):
    async def scenario(world):
        task_id = await create(world, "test.slow")
        await until(lambda: box.get("/queue").json()["queue_running"])
        await asyncio.sleep(1)
        began = time.monotonic()
        await world.ask("task_cancel", task_id=task_id)
        while box.get("/queue").json()["queue_running"]:
            assert time.monotonic() - began < 2
            await asyncio.sleep(0.02)
        print(f"idle {time.monotonic() - began:.2f} s after the cancel")
        assert await world.result(await create(world, "txt2img.3", prompt="a fox"))

    mining(scenario)


def test_comfyui_killed_in_the_middle_costs_one_attempt(mining, box):
    async def scenario(world):
        task_id = await create(world, "test.slow", seconds=0.1, steps=30)
        await until(lambda: box.get("/queue").json()["queue_running"])
        port = box.url.rpartition(":")[2]
        box.kill()
        await asyncio.to_thread(box.boot, int(port))
        answer = await world.ended(task_id)
        assert answer["status"] == "finished", world.lines
        assert world.ready == ["box"]

    mining(scenario)
