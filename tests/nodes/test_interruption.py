"""Cancel reaches every task of the prompt; another node's failure reaches none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.support.fake_sequencer import status
from tests.support.fake_xalora import FakeXalora
from tests.support.pictures import png
from tests.support.processes import PATIENCE

VIDEO = {"prompt": "a rabbit", "width": 64, "height": 48, "length": 5, "steps": 1}


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the deadline passed")


def running(number: int, parameters: dict[str, Any]) -> Any:
    return status("running", task_id=f"task-{number}")


@pytest.fixture
def interrupted(pack: Any) -> type[BaseException]:
    return pack.part("nodes.comfy.prompt").Interrupted


def test_cancel_reaches_every_node_and_every_image(
    pack: Any, miner: FakeXalora, cancel_button: Callable[[], None], interrupted: type[BaseException]
) -> None:
    finished = {"task-1"}

    def ends(number: int, parameters: dict[str, Any]) -> Any:
        if "image" in parameters and not finished & {"image"}:
            finished.add("image")
            finished.add(f"task-{number}")
        return png() if "image" in parameters and f"task-{number}" in finished else running(number, parameters)

    miner.ends = ends
    finished.clear()

    async def prompt() -> list[Any]:
        nodes = [
            asyncio.create_task(pack.start("XaloraText2Video", **VIDEO, seed=1)),
            asyncio.create_task(pack.start("XaloraText2Video", **VIDEO, seed=2)),
            asyncio.create_task(pack.start("XaloraFluxLora", prompt="a gecko", lora_name="x")),
            asyncio.create_task(pack.start("XaloraUpscale", image=torch.rand(6, 4, 4, 3), max_parallel=2)),
        ]
        # Two images at work, one more because the first to be asked for is done: 3 + 3 of 9 tasks.
        await until(lambda: len(miner.parameters) == 6 and len(miner.open) == 5)
        cancel_button()
        return await asyncio.gather(*nodes, return_exceptions=True)

    answers = asyncio.run(prompt())
    assert [type(each) for each in answers] == [interrupted] * 4
    assert set(miner.cancelled) == {f"task-{number}" for number in range(1, 7)} - finished
    assert len(miner.parameters) == 6


@pytest.mark.parametrize(
    ("node_id", "values", "open_tasks"),
    [
        ("XaloraText2Video", {**VIDEO, "seed": 1}, 1),
        # Its place must not go to the next image.
        ("XaloraUpscale", {"image": torch.rand(6, 4, 4, 3), "max_parallel": 2}, 2),
    ],
    ids=["a video", "a batch"],
)
def test_cancel_that_comfyuis_bar_sees_first(
    pack: Any,
    miner: FakeXalora,
    interrupted: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    node_id: str,
    values: dict[str, Any],
    open_tasks: int,
) -> None:
    """The bar raises once, and resets the flag before anybody else has seen it."""
    raised: list[bool] = []

    def ends(number: int, parameters: dict[str, Any]) -> Any:
        return status("running", task_id=f"task-{number}", progress={"value": 1, "maximum": 4})

    def bar(*_: object) -> None:
        if not raised and len(miner.parameters) == open_tasks:
            raised.append(True)
            raise interrupted

    miner.ends = ends
    monkeypatch.setattr(pack.part("nodes.comfy.progress").Progress, "bar", bar)
    with pytest.raises(interrupted):
        asyncio.run(pack.start(node_id, **values))
    assert sorted(miner.cancelled) == [f"task-{number}" for number in range(1, open_tasks + 1)]
    assert len(miner.parameters) == open_tasks


def test_cancel_while_a_create_is_in_flight(
    pack: Any, miner: FakeXalora, cancel_button: Callable[[], None], interrupted: type[BaseException]
) -> None:
    """The task may exist already: its id is waited for, then it is cancelled."""
    miner.creates.shut()

    async def prompt() -> None:
        node = asyncio.create_task(pack.start("XaloraText2Video", **VIDEO))
        await until(miner.creates.waiting.is_set)
        cancel_button()
        await until(lambda: pack.part("nodes.comfy.prompt").Prompt.current().interrupted)
        assert not node.done()
        miner.creates.open()
        await node

    with pytest.raises(interrupted):
        asyncio.run(prompt())
    assert list(miner.cancelled) == ["task-1"]


def test_cancel_while_a_download_is_in_flight(
    pack: Any, miner: FakeXalora, cancel_button: Callable[[], None], interrupted: type[BaseException]
) -> None:
    """That task has ended, so there is nothing to cancel; the node stops all the same, and the other task is."""
    miner.ends = lambda number, parameters: running(number, parameters) if "lora_name" in parameters else png()
    miner.downloads.shut()

    async def prompt() -> list[Any]:
        nodes = [
            asyncio.create_task(pack.start("XaloraText2Video", **VIDEO)),
            asyncio.create_task(pack.start("XaloraFluxLora", prompt="a gecko", lora_name="x")),
        ]
        await until(lambda: miner.downloads.waiting.is_set() and len(miner.parameters) == 2)
        cancel_button()
        began = time.monotonic()
        answers = await asyncio.gather(*nodes, return_exceptions=True)
        assert time.monotonic() - began < 5
        return answers

    assert [type(each) for each in asyncio.run(prompt())] == [interrupted] * 2
    (picture,) = [number for number, parameters in miner.parameters.items() if "lora_name" in parameters]
    assert list(miner.cancelled) == [f"task-{picture}"]


def test_cancel_while_the_server_does_not_answer(
    pack: Any, miner: FakeXalora, cancel_button: Callable[[], None], interrupted: type[BaseException]
) -> None:
    miner.ends = running
    miner.queries.shut()

    async def prompt() -> float:
        node = asyncio.create_task(pack.start("XaloraText2Video", **VIDEO))
        await until(miner.queries.waiting.is_set)
        cancel_button()
        began = time.time()
        with pytest.raises(interrupted):
            await node
        return began

    began = asyncio.run(prompt())
    assert miner.cancelled["task-1"] - began < 1


def test_another_nodes_failure_cancels_nothing(pack: Any, miner: FakeXalora, cancel_button: Callable[[], None]) -> None:
    """ComfyUI then leaves the prompt's loop, which cancels what is still awaited there."""
    miner.ends = running

    async def prompt() -> None:
        nodes = [asyncio.create_task(pack.start("XaloraText2Video", **VIDEO, seed=seed)) for seed in (1, 2)]
        nodes.append(asyncio.create_task(pack.start("XaloraUpscale", image=torch.rand(2, 4, 4, 3))))
        await until(lambda: miner.count("task_result_query") >= 4)
        raise RuntimeError("another node")

    with pytest.raises(RuntimeError, match="another node"):
        asyncio.run(prompt())
    assert miner.cancelled == {}


def test_a_prompt_that_was_cancelled_does_not_cancel_the_next(
    pack: Any, miner: FakeXalora, cancel_button: Callable[[], None], interrupted: type[BaseException], monkeypatch: Any
) -> None:
    miner.ends = running

    async def prompt() -> None:
        node = asyncio.create_task(pack.start("XaloraText2Video", **VIDEO))
        await until(lambda: miner.count("task_result_query"))
        cancel_button()
        await node

    with pytest.raises(interrupted):
        asyncio.run(prompt())
    monkeypatch.setattr(pack.part("nodes.comfy.prompt"), "interrupted", lambda: False)
    miner.ends = lambda number, parameters: png()
    frames, *_ = pack.run("XaloraText2Video", **VIDEO)
    assert frames.shape == (1, 8, 8, 3)


def test_cancel_while_a_batch_is_being_submitted_reaches_what_was_submitted(
    pack: Any, miner: FakeXalora, cancel_button: Callable[[], None], interrupted: type[BaseException]
) -> None:
    usual = miner.answers["/task_create"][0]

    def second_is_held(seen: Any) -> Any:
        if miner.parameters:
            miner.creates.shut()
        return usual(seen)

    miner.script("task_create", second_is_held)

    async def prompt() -> None:
        node = asyncio.create_task(
            pack.start("XaloraUpscale", image=torch.rand(3, 4, 4, 3), max_parallel=1, wait=False)
        )
        await until(lambda: len(miner.parameters) == 2)  # The first is answered, the second held.
        cancel_button()
        await asyncio.sleep(0.2)  # Long enough for the node to notice, with the second create still in flight.
        miner.creates.open()
        await node

    with pytest.raises(interrupted):
        asyncio.run(prompt())
    assert {"task-1", "task-2"} <= set(miner.cancelled)
    assert len(miner.parameters) == 2


def test_a_node_that_begins_after_cancel_sends_nothing(
    pack: Any, miner: FakeXalora, cancel_button: Callable[[], None], interrupted: type[BaseException]
) -> None:
    cancel_button()
    with pytest.raises(interrupted):
        pack.run("XaloraText2Video", **VIDEO)
    assert miner.seen == []
