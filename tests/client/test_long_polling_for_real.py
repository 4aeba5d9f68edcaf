"""Long polls against the project's own sequencer, which offers them: few requests, and the end is seen at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.sandbox_process import SandboxProcess
from xalora_client import AsyncClient, TaskUpdate, Text2VideoTask

RENDER_SECONDS = 2.5
MOST_LATE = 0.5
"""Seconds, on a machine that does other things too."""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("slow"), render_seconds=RENDER_SECONDS, workers=64)
    yield process
    process.close()


def video(seed: int) -> Text2VideoTask:
    return Text2VideoTask("a rabbit", width=32, height=32, length=1, steps=1, seed=seed, workflow_id="1")


def test_the_end_of_many_tasks_is_seen_at_once(slow: SandboxProcess, figure: Callable[[str], None], home: Path) -> None:
    seen: dict[str, float] = {}
    updates: list[TaskUpdate] = []
    mark = slow.mark()

    async def main() -> None:
        async with AsyncClient("a#b", slow.url, home=home, ledger=True) as client:

            async def one(seed: int) -> None:
                result = await client.execute_workflow_and_wait_for_result(video(seed), on_update=updates.append)
                seen[result.task_id] = time.time()

            await asyncio.gather(*(one(seed) for seed in range(20)))

    asyncio.run(main())
    ended = dict(slow.rows("SELECT task_id, ended FROM tasks"))
    late = [moment - ended[task_id] for task_id, moment in seen.items()]
    figure(f"long polls: the end of 20 tasks is seen after {statistics.median(late):.3f} s (median)")
    assert statistics.median(late) < MOST_LATE
    assert "running" in {update.status for update in updates}
    # One query tells that the task runs and one that it has ended; progress may bring some more.
    assert len(mark.requests("task_result_query")) <= 20 * (2 + 2 * RENDER_SECONDS + 2)


def test_a_cancel_elsewhere_is_seen_at_once_too(slow: SandboxProcess) -> None:
    async def main() -> float:
        async with AsyncClient("a#b", slow.url) as client:
            task_id = await client.execute_workflow(video(100))
            waiting = asyncio.create_task(client.wait_for_result(task_id))
            await asyncio.sleep(0)
            await client.cancel_task(task_id)
            began = time.monotonic()
            await asyncio.wait({waiting})
            assert "canceled" in str(waiting.exception())
            return time.monotonic() - began

    assert asyncio.run(main()) < RENDER_SECONDS
