"""What the handles of a task share, which TaskHandle and AsyncTaskHandle offer beside their clients."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..config.validation import SANDBOX
from ..errors import ConfigurationError, TaskCanceledError, TaskFailedError
from ..protocol.answers import WorkflowTaskResult
from .base import BaseClient
from .download import MediaFile
from .session import Session, in_thread, logger
from .updates import TaskUpdate
from .wait import wait


async def updates(session: Session, task_id: str, timeout: float) -> AsyncGenerator[TaskUpdate]:
    """Wait for a task, and yield its updates. The last one has its end, also a bad one."""
    queue: asyncio.Queue[TaskUpdate | None] = asyncio.Queue()
    waiting = asyncio.create_task(wait(session, task_id, timeout, None, queue.put_nowait))
    waiting.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (update := await queue.get()) is not None:
            yield update
        with suppress(TaskFailedError, TaskCanceledError):  # The last update said so.
            await waiting
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def saved(file: MediaFile, to: str | os.PathLike[str] | None, result: WorkflowTaskResult) -> MediaFile:
    """The first file of a task, or its copy at the place where the caller wants it."""
    if result.more_media_urls:
        more = len(result.more_media_urls)
        logger.warning("Task %s has %d more files; Client.download_all gets them", result.task_id, more)
    if to is None:
        return file
    path = await in_thread(file.save, to)
    return replace(file, path=path, info=replace(file.info, path=path))


def restored(handle: Callable[..., Any], client: Callable[..., BaseClient], task_id: str, server: str) -> Any:
    """A handle from a pickle. Raises ConfigurationError where the settings, and so the key, are for another server."""
    made = client(workflow_url=SANDBOX if server == SANDBOX else None)
    if made.config.workflow_url != server:
        raise ConfigurationError(
            f"Nothing was sent: the task is at {server}, and the settings here name {made.config.workflow_url}",
            task_id=task_id,
            code="key_and_server_apart",
            remedy="set-key",
        )
    return handle(task_id, server, made)
