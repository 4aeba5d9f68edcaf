"""Many tasks, some at a time, and what becomes of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from ..errors import ConfigurationError, XaloraError
from ..media.decoding.limits import Limits
from ..media.store import MediaStore
from ..protocol.answers import WorkflowTaskResult
from ..protocol.tasks import WorkflowTask
from .download import MediaFile, download
from .session import Session
from .wait import create_and_wait


@dataclass(frozen=True)
class Outcome:
    """What became of one of several tasks.

    Attributes:
        index: Its place among the tasks, from 0.
        task: The task.
        file: Its media, or the first of several, or None.
        result: The answer about the finished task, or None. ``Client.download_all`` takes it.
        error: What went wrong, or None. With a ledger, the same call again continues or repeats only these.
    """

    index: int
    task: WorkflowTask
    file: MediaFile | None = None
    result: WorkflowTaskResult | None = None
    error: XaloraError | None = None


def check_at_once(count: int) -> None:
    """Raise ConfigurationError unless so many tasks may run at a time."""
    if not isinstance(count, int) or count < 1:
        raise ConfigurationError(f"at_once is {count!r}", advice="Allowed: a whole number of 1 or more.")


async def outcomes(
    session: Session,
    store: MediaStore,
    limits: Limits,
    tasks: Sequence[WorkflowTask],
    *,
    at_once: int,
    ordered: bool,
    timeout: float,
    reuse: bool,
) -> AsyncGenerator[Outcome]:
    """Create the tasks, at most ``at_once`` at a time, and yield the outcome of each as it is there, or in order.

    Leaving the iteration cancels those that run.
    """
    slots = asyncio.Semaphore(at_once)

    async def one(index: int, task: WorkflowTask) -> Outcome:
        result: WorkflowTaskResult | None = None
        async with slots:
            try:
                result = await create_and_wait(session, task, timeout, None, None, reuse=reuse)
                return Outcome(index, task, await download(session, result, store, limits), result)
            except XaloraError as error:
                return Outcome(index, task, result=result, error=error)

    working = [asyncio.create_task(one(index, task)) for index, task in enumerate(tasks)]
    try:
        for ended in working if ordered else asyncio.as_completed(working):
            yield await ended
    finally:
        for each in working:
            each.cancel()
        await asyncio.gather(*working, return_exceptions=True)
