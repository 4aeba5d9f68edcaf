"""What the handles of a task share, which TaskHandle and AsyncTaskHandle offer beside their clients."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from ..config.settings import server_arguments
from ..errors import ConfigurationError, TaskCanceledError, TaskFailedError
from ..protocol.answers import WorkflowTaskResult
from .base import BaseClient
from .download import MediaFile
from .session import Session, in_thread, logger
from .updates import TaskUpdate
from .wait import wait

AnyClient = TypeVar("AnyClient", bound=BaseClient)


@dataclass(frozen=True)
class BaseTaskHandle(Generic[AnyClient]):
    """What TaskHandle and AsyncTaskHandle have in common: their state, and the docstrings of their calls."""

    task_id: str
    server: str
    _client: AnyClient = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (type(self), type(self._client), self.task_id, self.server)

    def status(self, *_: Any, **__: Any) -> Any:
        """Query the task's status, as ``Client.query_task_result`` does.

        Returns:
            The server's answer. A failed or canceled task is an answer, not an error.
        """

    def events(self, *_: Any, **__: Any) -> Any:
        """Wait for the task's end, and see what happens meanwhile.

        Args:
            timeout: Seconds to wait.

        Yields:
            An update after each query. The last one has the task's end, also a bad one.

        Raises:
            TaskTimeoutError: The timeout passed. The task continues remotely.
            XaloraError: As ``Client.query_task_result`` does.
        """

    def result(self, *_: Any, **__: Any) -> Any:
        """Wait until the task is finished, as ``Client.wait_for_result`` does.

        Args:
            timeout: Seconds to wait.

        Returns:
            The answer about the finished task.
        """

    def download(self, *_: Any, **__: Any) -> Any:
        """Wait until the task is finished, and download its media, or the first of several.

        Args:
            to: A file or a folder that gets a copy. None leaves the file in the store of the home folder.
            timeout: Seconds to wait for the task.

        Returns:
            The file, where it is wanted.

        Raises:
            XaloraError: As ``Client.wait_for_result`` and ``Client.download`` do.
        """

    def cancel(self, *_: Any, **__: Any) -> Any:
        """Cancel the task.

        Returns:
            The server's message, in one line.
        """


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
    """A handle from a pickle. Raises ConfigurationError where the settings have no key for its server."""
    made = client(*server_arguments(server))
    if made.config.workflow_url != server:
        raise ConfigurationError(
            f"Nothing was sent: the task is at {server}, and the settings here name {made.config.workflow_url}",
            task_id=task_id,
            code="key_and_server_apart",
            remedy="set-key",
        )
    return handle(task_id, server, made)
