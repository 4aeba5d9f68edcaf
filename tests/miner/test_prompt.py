"""One prompt on a ComfyUI that behaves badly: it ends once, with the right result."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_comfyui import FakeComfyUI, Plan, picture, until, workflow
from xalora_client.miner.comfyui import ComfyUI
from xalora_client.miner.errors import Requeued, UnreachableError, WorkflowFailure
from xalora_client.miner.progress import Progress
from xalora_client.miner.prompt import Finished, Outcome, PromptRun
from xalora_client.miner.task import submit_fields
from xalora_client.miner.timeouts import Timeouts

QUICK = Timeouts(
    poll=0.05,
    poll_without_ws=0.02,
    connection_refused=0.3,
    no_response=2.0,
    queue_stall=0.2,
    progress_stall=5.0,
    stop=1.0,
    stop_again=0.02,
)
TITLES = {"1": "input:prompt", "2": "Save Image"}


class World:
    """A fake ComfyUI, and what runs on it."""

    def __init__(self, simulated: FakeComfyUI, comfy: ComfyUI) -> None:
        self.simulated = simulated
        self.comfy = comfy
        self.seen: list[tuple[float, float, str]] = []
        self.previews: list[bytes] = []

    def new(self, timeouts: Timeouts = QUICK) -> PromptRun:
        self.prompt_id = str(uuid.uuid4())
        return PromptRun(self.comfy, self.prompt_id, "me", ["2"], TITLES, self._on_progress, timeouts)

    async def run(self, timeouts: Timeouts = QUICK, prompt: dict[str, Any] | None = None) -> Outcome:
        return await self.new(timeouts).run(prompt or workflow())

    def _on_progress(self, progress: Progress) -> None:
        self.seen.append((progress.value, progress.maximum, progress.to_json(TITLES)["title"]))
        if progress.preview:
            self.previews.append(progress.preview)

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition)


def within(scenario: Callable[[World], Awaitable[None]], plan: Plan | None = None, **options: Any) -> None:
    async def run() -> None:
        simulated = FakeComfyUI(plan=lambda inputs: plan or Plan(), **options)
        await simulated.start()
        try:
            async with ComfyUI(simulated.url) as comfy:
                await scenario(World(simulated, comfy))
        finally:
            await simulated.stop()

    asyncio.run(run())


def lost(outcome: Outcome, reason: str, *, is_attempt: bool = True) -> None:
    """Fail unless the prompt was lost for this reason."""
    assert isinstance(outcome, Requeued), outcome
    assert reason in outcome.reason
    assert outcome.is_attempt == is_attempt
    assert not outcome.is_fit


def test_a_prompt_runs_and_its_file_comes_back(tmp_path):
    async def scenario(world: World) -> None:
        outcome = await world.run()
        assert isinstance(outcome, Finished)
        ((file,),) = outcome.batches
        await world.comfy.download(file, tmp_path / "result")
        assert (tmp_path / "result").read_bytes() == picture()
        assert world.simulated.origins == []

    within(scenario)


def test_progress_and_previews_are_told():
    async def scenario(world: World) -> None:
        await world.run()
        steps = [each for each in world.seen if each[1]]
        assert steps[0] == (1, 3, "input:prompt")
        assert steps[-1][:2] == (3, 3)
        assert world.previews[0] == b"picture"

    within(scenario, Plan(seconds=0.1, steps=3, preview=b"picture"))


def test_an_error_names_node_title_and_message():
    async def scenario(world: World) -> None:
        outcome = await world.run()
        assert isinstance(outcome, WorkflowFailure)
        assert str(outcome) == "Node 1 input:prompt (SimulatedSampler): out of memory"
        assert outcome.to_json() == {
            "node_id": "1", "title": "input:prompt", "class_type": "SimulatedSampler", "message": "out of memory",
        }  # fmt: skip

    within(scenario, Plan(error="out of memory"))


def test_a_prompt_that_is_refused_names_the_node():
    async def scenario(world: World) -> None:
        prompt = workflow()
        prompt["1"]["class_type"] = "Missing"
        outcome = await world.run(prompt=prompt)
        assert isinstance(outcome, WorkflowFailure)
        assert str(outcome).startswith("Node 1 input:prompt (Missing): unknown class")

    within(scenario)


def test_a_lost_websocket_loses_no_prompt():
    async def scenario(world: World) -> None:
        run = asyncio.create_task(world.run())
        await world.until(lambda: world.seen)
        await world.simulated.drop_sockets()
        before = len(world.seen)
        await run
        assert world.simulated.posted == [world.prompt_id]
        assert len(world.seen) > before  # It was connected again.

    within(scenario, Plan(seconds=0.6, steps=30))


def test_without_any_websocket_the_history_tells_the_end():
    async def scenario(world: World) -> None:
        world.simulated.answers["/ws"] = [500] * 1000
        await world.run()
        assert world.simulated.finished == [world.prompt_id]

    within(scenario, Plan(seconds=0.1))


def test_an_answer_that_is_lost_is_not_posted_again():
    async def scenario(world: World) -> None:
        world.simulated.answers["/prompt"] = ["drop"]
        await world.run()
        assert world.simulated.posted == [world.prompt_id]

    within(scenario, Plan(seconds=0.1))


def test_a_post_that_did_not_arrive_is_posted_again():
    async def scenario(world: World) -> None:
        world.simulated.answers["/prompt"] = [503]
        await world.run()
        assert world.simulated.finished == [world.prompt_id]

    within(scenario)


def test_a_restart_loses_the_prompt():
    async def scenario(world: World) -> None:
        run = asyncio.create_task(world.run())
        await world.until(lambda: world.simulated.running)
        await world.simulated.restart()
        lost(await run, "restarted")

    within(scenario, Plan(seconds=30))


def test_a_comfyui_that_is_gone_loses_the_prompt():
    async def scenario(world: World) -> None:
        run = asyncio.create_task(world.run())
        await world.until(lambda: world.simulated.running)
        await world.simulated.stop()
        lost(await run, "nobody listens")
        await world.simulated.start()

    within(scenario, Plan(seconds=30))


def test_one_that_was_never_there_has_begun_nothing():
    async def scenario(world: World) -> None:
        await world.simulated.stop()
        lost(await world.run(), "nobody listens", is_attempt=False)
        await world.simulated.start()

    within(scenario)


def test_a_dead_worker_that_takes_nothing_is_noticed():
    async def scenario(world: World) -> None:
        world.simulated.die()
        lost(await world.run(), "does not begin", is_attempt=False)

    within(scenario)


def test_a_worker_that_dies_in_the_middle_is_noticed():
    async def scenario(world: World) -> None:
        run = world.new(replace(QUICK, progress_stall=0.3))
        running = asyncio.create_task(run.run(workflow()))
        await world.until(lambda: world.simulated.running)
        world.simulated.die()
        lost(await running, "nothing moved")
        assert not await run.stop()

    within(scenario, Plan(seconds=30))


def test_a_stop_interrupts_what_runs():
    async def scenario(world: World) -> None:
        run = world.new()
        running = asyncio.create_task(run.run(workflow()))
        await world.until(lambda: world.simulated.running)
        running.cancel()
        assert await run.stop()
        assert world.simulated.interrupted == [world.prompt_id]
        assert world.simulated.is_idle

    within(scenario, Plan(seconds=30))


def test_a_prompt_that_somebody_stopped_in_comfyui_is_lost():
    async def scenario(world: World) -> None:
        running = asyncio.create_task(world.run())
        await world.until(lambda: world.simulated.running)
        await world.comfy.interrupt(world.prompt_id)
        lost(await running, "Somebody stopped")

    within(scenario, Plan(seconds=30))


def test_a_login_goes_along_and_is_not_shown():
    async def scenario(world: World) -> None:
        address = world.simulated.url.replace("://", "://fox:s3cret@")
        async with ComfyUI(address) as comfy:
            await comfy.queue()
            assert "Basic Zm94OnMzY3JldA==" in world.simulated.authorizations
            await world.simulated.stop()
            with pytest.raises(UnreachableError) as raised:
                await comfy.queue()
            assert "s3cret" not in str(raised.value)
            assert "s3cret" not in comfy.display_url
        await world.simulated.start()

    within(scenario)


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_comfyui_that_ends_while_it_runs_a_prompt_has_died(comes_back):
    async def scenario(world: World) -> None:
        running = asyncio.ensure_future(world.run())
        await world.until(lambda: world.seen)
        await world.simulated.stop()
        if comes_back:
            await world.simulated.start()
        outcome = await running
        assert isinstance(outcome, Requeued)
        assert submit_fields(outcome)["give_back"] == "died"

    within(scenario, Plan(seconds=30, steps=100))


@pytest.mark.parametrize("status", [400, 403, 413])
def test_a_prompt_that_is_refused_may_run_elsewhere(status):
    async def scenario(world: World) -> None:
        world.simulated.answers["/prompt"] = [status]
        outcome = await world.run()
        assert isinstance(outcome, WorkflowFailure)
        assert submit_fields(outcome)["give_back"] == "unable"

    within(scenario)
