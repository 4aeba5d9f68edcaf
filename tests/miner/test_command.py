"""``xalora miner`` and ``xalora sequencer --comfyui`` as processes, and how signals end them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fake_comfyui import Plan, picture, until, workflow
from tests.support.farm import KEY, MINER_KEY
from tests.support.processes import Command


class Miner(Command):
    """``xalora miner`` for a ComfyUI of the farm."""

    def __init__(self, world, *comfyuis: str, key: str = MINER_KEY, workflows: Sequence[object] | None = None) -> None:
        addresses = [part for each in comfyuis for part in ("--comfyui", each)]
        own = ["--workflows", world.folder / "workflows"] if workflows is None else workflows
        super().__init__(
            "miner", "--sequencer", world.url, *addresses, *own, "--name", "box",
            cwd=world.folder, home=world.folder / "home", XALORA_MINER_KEY=key,
        )  # fmt: skip
        world.commands.append(self)

    async def ready(self) -> str:
        await until(lambda: "\n" in self.output() or self.process.poll() is not None)
        return self.output().splitlines()[0] if self.output() else self.errors()

    async def end(self) -> int:
        """The exit code, waited for while the farm's loop goes on."""
        return await asyncio.to_thread(self.wait)


def test_ctrl_c_finishes_the_task_at_hand(farm):
    async def scenario(world):
        comfyui = await world.comfyui(plan=lambda inputs: Plan(seconds=1, steps=10))
        miner = Miner(world, comfyui.url)
        assert await miner.ready() == "Xalora miner box ready"
        world.ready.append("box")
        task_id = await world.create(prompt="a fox")
        await until(lambda: comfyui.running)
        miner.interrupt()
        assert await miner.end() == 130
        assert await world.result(task_id) == picture("a fox")
        assert "Press Ctrl-C again" in miner.errors()
        assert MINER_KEY not in miner.errors()

    farm(scenario)


@pytest.mark.parametrize("way", ["Ctrl-C twice", "SIGTERM", "SIGHUP"])
def test_the_task_is_given_back(farm, way):
    async def scenario(world):
        comfyui = await world.comfyui(plan=lambda inputs: Plan(seconds=60, steps=600))
        miner = Miner(world, comfyui.url)
        await miner.ready()
        world.ready.append("box")
        task_id = await world.create(prompt="a fox")
        await until(lambda: comfyui.running)
        if way.startswith("SIG"):
            miner.process.send_signal(getattr(signal, way))
        else:
            miner.interrupt()
            await until(lambda: "Press Ctrl-C again" in miner.errors())
            miner.interrupt()
        assert await miner.end() == (0 if way.startswith("SIG") else 130)
        assert comfyui.is_idle
        assert (await world.task(task_id))["status"] == "waiting"

    farm(scenario)


def test_a_wrong_key_ends_it(farm):
    async def scenario(world):
        comfyui = await world.comfyui()
        miner = Miner(world, comfyui.url, key="wrong")
        assert await miner.end() == 2
        assert "Set XALORA_MINER_KEY" in miner.errors()

    farm(scenario)


def test_nothing_to_run_ends_it(farm):
    async def scenario(world):
        comfyui = await world.comfyui(object_info={})
        miner = Miner(world, comfyui.url)
        assert await miner.end() == 2
        assert "upscaler.json: node 1" in miner.errors()

    farm(scenario)


def test_two_comfyuis_are_two_miners(farm):
    async def scenario(world):
        comfyuis = [await world.comfyui() for _ in range(2)]
        miner = Miner(world, *(each.url for each in comfyuis))
        await until(lambda: miner.output().count("\n") == 2)
        assert sorted(miner.output().splitlines()) == ["Xalora miner box ready", "Xalora miner box-2 ready"]
        miner.interrupt()
        assert await miner.end() == 130

    farm(scenario)


def test_a_sequencer_with_its_own_miner(farm, tmp_path: Path):
    async def scenario(world):
        comfyui = await world.comfyui()
        await world.end(world.serving)
        process = Command(
            "sequencer", "--data", tmp_path / "other", "--port", 0, "--comfyui", comfyui.url,
            "--workflows", world.folder / "workflows",
            cwd=tmp_path, home=tmp_path / "home", XALORA_SEQUENCER_KEYS=KEY, XALORA_MINER_KEY=MINER_KEY,
        )  # fmt: skip
        world.commands.append(process)
        await until(lambda: ("ready" in process.errors() and process.output()) or process.process.poll() is not None)
        world.ready.append("box")
        world.url = process.output().splitlines()[0].removeprefix("Xalora sequencer listening on ")
        world.serving = asyncio.get_running_loop().create_future()
        assert await world.result(await world.create(prompt="a fox")) == picture("a fox")
        process.interrupt()
        assert await asyncio.to_thread(process.wait) == 130

    farm(scenario)


@pytest.mark.parametrize("accepts", [False, True])
def test_workflow_files_of_a_sequencer_are_run_only_if_it_is_trusted(farm, accepts):
    async def scenario(world):
        comfyui = await world.comfyui()
        await world.end(world.serving)
        folder = world.workflows({"txt2img.3.json": workflow()})
        world.options = replace(world.options, workflows=folder)
        await world.start_sequencer()
        miner = Miner(world, comfyui.url, workflows=["--accept-workflows"] if accepts else [])
        if accepts:
            await miner.ready()
            world.ready.append("box")
            assert await world.result(await world.create(prompt="a fox")) == picture("a fox")
        else:
            assert await miner.end() == 2
            assert "add --accept-workflows if you trust that sequencer" in miner.errors()
            assert comfyui.posted == []

    farm(scenario)
