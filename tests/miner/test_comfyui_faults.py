"""ComfyUI goes away, comes back, or is stuck: the task ends well elsewhere or later, and runs to its end once."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial

import pytest

from tests.support.fake_comfyui import LOADER, OBJECT_INFO, FakeComfyUI, Plan, picture, until, workflow
from tests.support.farm import quick
from xalora_client import ConfigurationError
from xalora_client.miner import miner
from xalora_client.miner.comfyui import ComfyUI
from xalora_client.protocol.parameters import encode_data_uri

SILENCE = 0.5
"""Seconds that ComfyUI may be silent elsewhere."""


def left_by(world, name: str) -> str:
    """How the client ids of a miner of that name begin."""
    return f"xalora-{hashlib.sha256(f'{world.url} {name}'.encode()).hexdigest()[:12]}-"


def said(world, words: str) -> int:
    return sum(words in line for line in world.lines)


@pytest.mark.parametrize("seconds_away", [0, 1])
def test_a_restart_in_the_middle_costs_one_attempt(farm, seconds_away):
    async def scenario(world):
        comfyui = await world.pair(plan=lambda inputs: Plan(seconds=0.4))
        task_id = await world.create(prompt="a fox")
        await until(lambda: comfyui.running)
        await comfyui.stop()
        await asyncio.sleep(seconds_away)
        await comfyui.start()
        assert await world.result(task_id) == picture("a fox")
        assert len(set(comfyui.posted)) == 2
        assert len(comfyui.finished) == 1
        assert world.ready == ["box"]

    farm(scenario)


def test_a_comfyui_that_is_not_there_is_waited_for(farm):
    async def scenario(world):
        comfyui = await world.comfyui()
        await comfyui.stop()
        world.miner(comfyui.url)
        await until(lambda: said(world, "nobody listens there. Waiting for it"))
        assert not world.ready
        await comfyui.start()
        assert await world.result(await world.create(prompt="a fox")) == picture("a fox")

    farm(scenario)


class SlowToDescribe(FakeComfyUI):
    """Describes its nodes once, and is silent meanwhile, also on the websockets."""

    described = 0

    async def _object_info(self, request):
        self.described += 1
        assert self.described == 1
        await until(lambda: self._sockets)
        await self.drop_sockets()
        await asyncio.sleep(4 * SILENCE)
        return await super()._object_info(request)


def test_a_comfyui_that_takes_long_to_describe_its_nodes_is_waited_for(farm, monkeypatch):
    monkeypatch.setattr(miner, "ComfyUI", partial(ComfyUI, answer_seconds=SILENCE))

    async def scenario(world):
        slow = SlowToDescribe()
        world.comfyuis.append(slow)
        world.miner((await slow.start()).url)
        assert await world.result(await world.create(prompt="a fox")) == picture("a fox")
        assert not said(world, "no answer in time")

    farm(scenario)


def test_what_it_can_run_is_looked_at_again_after_a_restart(farm):
    async def scenario(world):
        comfyui = await world.pair()
        nodes = comfyui.object_info
        await comfyui.stop()
        comfyui.object_info = {}
        await comfyui.start()
        await world.create(prompt="a fox")
        await until(lambda: said(world, "can run none of the workflows"))
        assert comfyui.posted == []
        comfyui.object_info = nodes
        assert await world.result(await world.create(prompt="a fox")) == picture("a fox")

    farm(scenario)


def test_a_dead_worker_gets_no_more_tasks_until_it_is_restarted(farm):
    async def scenario(world):
        dead = await world.pair()
        dead.die()
        first = await world.create(prompt="a fox")
        await until(lambda: said(world, "does not begin what is in its queue"))
        await until(lambda: said(world, "restart that ComfyUI"))
        await world.pair()
        for task_id in (first, await world.create(prompt="another"), await world.create(prompt="and another")):
            await world.result(task_id)
        assert len(dead.posted) == 1
        await dead.restart()
        await until(lambda: said(world, "simulated runs") >= 3)

    farm(scenario)


def test_one_that_does_not_stop_gets_no_more_tasks_until_it_has(farm):
    async def scenario(world):
        stuck = await world.comfyui(plan=lambda inputs: Plan(seconds=2), ignores_interrupts=True)
        world.miner(stuck.url, timeouts=quick(stop=0.1))
        task_id = await world.create(prompt="a fox")
        await until(lambda: stuck.running)
        await world.ask("task_cancel", task_id=task_id)
        await until(lambda: said(world, "restart that ComfyUI"))
        second = await world.create(prompt="another")
        assert (await world.task(second))["status"] == "waiting"
        assert await world.result(second) == picture("another")

    farm(scenario)


def test_the_prompt_of_a_miner_that_was_killed_is_stopped_by_the_next(farm):
    async def scenario(world):
        comfyui = await world.comfyui(plan=lambda inputs: Plan(seconds=60, steps=600))
        await world.session.post(
            f"{comfyui.url}/prompt",
            json={"prompt": workflow(), "prompt_id": "left", "client_id": left_by(world, "box") + "left"},
        )
        await until(lambda: comfyui.running)
        world.miner(comfyui.url)
        await until(lambda: comfyui.interrupted == ["left"])
        await until(lambda: world.ready)

    farm(scenario)


def test_prompts_of_others_are_let_be_and_waited_for(farm):
    async def scenario(world):
        comfyui = await world.comfyui(plan=lambda inputs: Plan(seconds=0.5))
        await world.session.post(
            f"{comfyui.url}/prompt", json={"prompt": workflow(), "prompt_id": "other", "client_id": "somebody"}
        )
        world.miner(comfyui.url)
        await world.result(await world.create(prompt="a fox"))
        assert comfyui.finished[0] == "other"
        assert comfyui.most_waiting == 1

    farm(scenario)


def test_faulty_workflows_are_named_and_left_out(farm):
    async def scenario(world):
        bad = workflow()
        bad["1"]["class_type"] = "Missing"
        world.workflows({"txt2vid.1.json": bad})
        await world.pair()
        (line,) = [line for line in world.lines if "left out" in line]
        for word in ("txt2vid.1.json", "node 1", "Missing"):
            assert word in line
        assert await world.result(await world.create(prompt="a fox")) == picture("a fox")

    farm(scenario)


def test_with_nothing_to_run_it_ends(farm):
    async def scenario(world):
        comfyui = await world.comfyui(object_info={})
        world.miner(comfyui.url)
        with pytest.raises(ConfigurationError, match="none of the workflows"):
            await world.running

    farm(scenario)


@pytest.mark.parametrize("miner_comes_first", [True, False])
def test_a_comfyui_that_would_wait_for_its_own_miner_is_told_at_once(farm, miner_comes_first):
    """Either the miner already waits at the sequencer when the prompt begins, or it sees the prompt before."""

    async def scenario(world):
        plan = {"a client": Plan(seconds=600)}
        nodes = OBJECT_INFO | {"XaloraRunWorkflow": {"input": {}, "output": ["IMAGE"]}}
        comfyui = await world.comfyui(plan=lambda inputs: plan.get(inputs["text"], Plan()), object_info=nodes)
        client = workflow() | {"3": {"class_type": "XaloraRunWorkflow", "inputs": {}}}
        client["1"]["inputs"]["text"] = "a client"

        async def begin() -> None:
            body = {"prompt": client, "prompt_id": "client", "client_id": "editor"}
            await world.session.post(f"{comfyui.url}/prompt", json=body)
            await until(lambda: comfyui.running == "client")

        if not miner_comes_first:
            await begin()
        world.miner(comfyui.url)
        await until(lambda: world.ready)
        if miner_comes_first:
            # Once a first task is done, the miner waits at the sequencer for the next.
            await world.result(await world.create(prompt="a hare"))
            await begin()
        task_id = await world.create(prompt="a fox", timeout_seconds=600)
        answer = await world.task(task_id)
        while answer.get("blocked_by") != ["client"]:
            answer = await world.ask("task_result_query", task_id=task_id, wait_seconds=20, after=answer["revision"])
        assert (answer["status"], "box: ComfyUI runs a prompt with Xalora nodes" in answer["msg"]) == (
            "waiting",
            True,
        )
        assert said(world, "name another ComfyUI after --comfyui")
        await world.session.post(f"{comfyui.url}/interrupt", json={"prompt_id": "client"})
        assert await world.result(task_id) == picture("a fox")

    farm(scenario)


def test_who_waits_for_a_workflow_that_the_miner_left_out_is_told_what_it_lacks(farm):
    async def scenario(world):
        await world.pair()
        await world.end(world.running)
        nodes = {name: info for name, info in OBJECT_INFO.items() if name != LOADER}
        world.miner((await world.comfyui(object_info=nodes)).url, "attic")
        await until(lambda: "attic" in world.ready)
        task_id = await world.create(image=encode_data_uri(picture(), "image/png"))
        answer = await world.task(task_id)
        while "msg" not in answer:  # Its image is stored first.
            answer = await world.ask("task_result_query", task_id=task_id, wait_seconds=20, after=answer["revision"])
        assert answer["status"] == "waiting"
        for word in ("the miner attic left it out: upscaler.json", "node 3", LOADER):
            assert word in answer["msg"]

    farm(scenario)
