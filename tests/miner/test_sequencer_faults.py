"""The sequencer goes away and comes back, or the miner has to go: nothing is lost, nothing runs twice without need."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cut_network import CutNetwork
from tests.support.fake_comfyui import Plan, picture, until
from tests.support.farm import quick
from xalora_client import ConfigurationError


def test_a_sequencer_that_is_away_gets_the_result_when_it_is_back(farm):
    async def scenario(world):
        comfyui = await world.pair(plan=lambda inputs: Plan(seconds=0.3))
        task_id = await world.create(prompt="a fox")
        await until(lambda: comfyui.running)
        await world.end(world.serving)
        await until(lambda: comfyui.finished)
        await until(lambda: any("Trying again" in line for line in world.lines))
        await world.start_sequencer()
        assert await world.result(task_id) == picture("a fox")
        assert len(comfyui.posted) == 1
        assert await world.result(await world.create(prompt="another")) == picture("another")

    farm(scenario)


@pytest.mark.parametrize("how", ["freeze", "tear"])
@pytest.mark.parametrize("moment", ["running", "finished"])
def test_a_network_that_is_cut_for_a_while_costs_nothing(farm, how, moment):
    async def scenario(world):
        network = await asyncio.to_thread(CutNetwork, world.url)
        try:
            comfyui = await world.comfyui(plan=lambda inputs: Plan(seconds=0.3))
            world.miner(comfyui.url, sequencer=network.url)
            task_id = await world.create(prompt="a fox")
            await until(lambda: comfyui.running)
            if moment == "finished":
                await until(lambda: comfyui.finished)
            getattr(network, how)()
            await until(lambda: comfyui.finished)
            await asyncio.sleep(0.5)
            network.mend()
            assert await world.result(task_id) == picture("a fox")
            assert len(comfyui.posted) == 1
            assert await world.result(await world.create(prompt="another")) == picture("another")
        finally:
            await world.end(world.running)
            await asyncio.to_thread(network.close)

    farm(scenario)


def test_a_submit_whose_answer_is_lost_is_sent_again_and_is_no_lost_task(farm):
    async def scenario(world):
        network = await asyncio.to_thread(CutNetwork, world.url)
        try:
            comfyui = await world.comfyui()
            world.miner(comfyui.url, sequencer=network.url)
            await asyncio.to_thread(network.drop_answer, "POST /miner_submit")
            task_id = await world.create(prompt="a fox")
            await until(lambda: network.passed["POST /miner_submit"] == 2)
            assert await world.result(task_id) == picture("a fox")
            assert await world.result(await world.create(prompt="another")) == picture("another")
            assert not any("lost" in line or "did not accept" in line for line in world.lines), world.lines
        finally:
            await world.end(world.running)
            await asyncio.to_thread(network.close)

    farm(scenario)


def test_a_miner_that_starts_first_waits_for_the_sequencer(farm):
    async def scenario(world):
        await world.end(world.serving)
        comfyui = await world.comfyui()
        world.miner(comfyui.url)
        await until(lambda: any("Trying again" in line for line in world.lines))
        await world.start_sequencer()
        assert await world.result(await world.create(prompt="a fox")) == picture("a fox")

    farm(scenario)


def test_it_finishes_the_task_at_hand_and_takes_no_other(farm):
    async def scenario(world):
        comfyui = await world.comfyui(plan=lambda inputs: Plan(seconds=0.3))
        miner = world.miner(comfyui.url)
        first, second = await world.create(prompt="a fox"), await world.create(prompt="another")
        await until(lambda: comfyui.running)
        miner.finish()
        await world.running
        assert await world.result(first) == picture("a fox")
        assert (await world.task(second))["status"] == "waiting"

    farm(scenario)


def test_without_a_task_it_ends_at_once(farm):
    """While the sequencer holds its question open; a task that comes then is not handed to a miner that left."""

    async def scenario(world):
        network = await asyncio.to_thread(CutNetwork, world.url)
        try:
            comfyui = await world.comfyui()
            miner = world.miner(comfyui.url, sequencer=network.url)
            await until(lambda: network.passed["POST /miner_request"] == 1)
            miner.finish()
            await until(world.running.done, patience=5)
            assert world.running.exception() is None
            assert network.passed["POST /miner_request"] == 1
            task_id = await world.create(prompt="a fox")
            assert (await world.task(task_id))["status"] == "waiting"
            await world.pair()
            assert await world.result(task_id) == picture("a fox")
            assert comfyui.posted == []
        finally:
            await asyncio.to_thread(network.close)

    farm(scenario)


def test_given_back_a_task_goes_to_another_and_counts_no_attempt(farm):
    async def scenario(world):
        comfyui = await world.comfyui(plan=lambda inputs: Plan(seconds=60, steps=600))
        world.miner(comfyui.url)
        task_id = await world.create(prompt="a fox")
        for number in range(1, 5):  # A fourth attempt would be refused.
            await until(lambda number=number: len(comfyui.posted) == number and comfyui.running)
            await world.end(world.running)
            assert comfyui.is_idle
            assert (await world.task(task_id))["status"] == "waiting"
            world.miner(comfyui.url)
        await until(lambda: comfyui.running)
        await world.end(world.running)
        await world.pair()
        assert await world.result(task_id) == picture("a fox")

    farm(scenario)


def test_a_wrong_key_is_said(farm):
    async def scenario(world):
        comfyui = await world.comfyui()
        world.miner(comfyui.url, miner_key="wrong")
        with pytest.raises(ConfigurationError, match="XALORA_MINER_KEY") as raised:
            await world.running
        assert "wrong" not in str(raised.value)

    farm(scenario)


def test_an_address_that_is_no_sequencer_is_said(farm):
    async def scenario(world):
        comfyui = await world.comfyui()
        world.miner(comfyui.url, sequencer=comfyui.url)
        with pytest.raises(ConfigurationError, match="no sequencer"):
            await world.running

    farm(scenario)


def test_a_result_is_kept_no_longer_than_the_task_has(farm):
    async def scenario(world):
        comfyui = await world.comfyui(plan=lambda inputs: Plan(seconds=0.2))
        world.miner(comfyui.url, timeouts=quick(requeue=0.1))
        await world.create(prompt="a fox", timeout_seconds=2)
        await until(lambda: comfyui.running)
        await world.end(world.serving)
        await until(lambda: any("did not accept its outcome" in line for line in world.lines))
        await world.start_sequencer()
        assert await world.result(await world.create(prompt="another")) == picture("another")

    farm(scenario)
