"""The asynchronous client: the same methods as Client, awaited."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from ..media.receiver import OnProgress
from ..protocol.answers import WorkflowTaskResult
from ..protocol.tasks import WorkflowTask
from ..uploads import OnUpload
from ..workflows import AvailableWorkflow
from .available import workflows
from .base import BaseClient
from .create import execute, request_resource, upload_ahead
from .download import MediaFile, download, download_all
from .handles import BaseTaskHandle, saved, updates
from .many import Outcome, check_at_once, outcomes
from .session import cancel, query
from .updates import OnUpdate, TaskUpdate
from .wait import create_and_wait, wait


class AsyncClient(BaseClient):
    """A client for one event loop: use it with ``async with``, or await ``close``. Calls may run concurrently.

    What Client has, awaited; ``map`` by ``async for``. Canceling the asyncio task that awaits a call is an interruption
    like Ctrl-C.
    """

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._close()

    async def run(
        self,
        task: WorkflowTask,
        to: str | os.PathLike[str] | None = None,
        *,
        timeout: float = 300.0,
        on_update: OnUpdate | None = None,
        reuse: bool = True,
    ) -> MediaFile:
        session = await self._opened()
        result = await create_and_wait(session, task, timeout, None, on_update, reuse=reuse)
        return await saved(await download(session, result, self._store, self._limits), to, result)

    async def submit(self, task: WorkflowTask, *, reuse: bool = True, job_id: str | None = None) -> AsyncTaskHandle:
        return self.task(await execute(await self._opened(), task, reuse=reuse, job_id=job_id))

    def task(self, task_id: str) -> AsyncTaskHandle:
        return AsyncTaskHandle(task_id, self.config.workflow_url, self)

    async def map(
        self,
        tasks: Iterable[WorkflowTask],
        *,
        at_once: int = 4,
        ordered: bool = False,
        timeout: float = 300.0,
        reuse: bool = True,
    ) -> AsyncGenerator[Outcome]:
        given = list(tasks)  # All, before one is created: what raises in the middle costs nothing.
        check_at_once(at_once)
        session = await self._opened()
        found = outcomes(
            session, self._store, self._limits, given, at_once=at_once, ordered=ordered, timeout=timeout, reuse=reuse
        )
        async with aclosing(found):
            async for outcome in found:
                yield outcome

    async def upload_images(self, task: WorkflowTask, on_upload: OnUpload | None = None, *, reuse: bool = True) -> None:
        await upload_ahead(await self._opened(), task, on_upload, reuse=reuse)

    async def execute_workflow(
        self, task: WorkflowTask, on_update: OnUpdate | None = None, *, reuse: bool = True
    ) -> str:
        return await execute(await self._opened(), task, on_update, reuse=reuse)

    async def query_task_result(self, task_id: str) -> WorkflowTaskResult:
        return await query(await self._opened(), task_id)

    async def execute_workflow_and_wait_for_result(
        self,
        task: WorkflowTask,
        timeout: float = 300.0,
        interval: float | None = None,
        on_update: OnUpdate | None = None,
        *,
        reuse: bool = True,
    ) -> WorkflowTaskResult:
        return await create_and_wait(await self._opened(), task, timeout, interval, on_update, reuse=reuse)

    async def wait_for_result(
        self,
        task_id: str,
        timeout: float = 300.0,
        interval: float | None = None,
        on_update: OnUpdate | None = None,
    ) -> WorkflowTaskResult:
        return await wait(await self._opened(), task_id, timeout, interval, on_update)

    async def cancel_task(self, task_id: str) -> str:
        return await cancel(await self._opened(), task_id)

    async def resource_request(
        self, consumer_id: str | None = None, workflow_id: str | None = None, task_type: str | None = None
    ) -> str:
        return await request_resource(await self._opened(), consumer_id, workflow_id, task_type)

    async def workflows(
        self, task_type: str | None = None, workflow_id: str | None = None
    ) -> list[AvailableWorkflow] | None:
        return await workflows(await self._opened(), task_type, workflow_id)

    async def download(self, result: WorkflowTaskResult, on_progress: OnProgress | None = None) -> MediaFile:
        return await download(await self._opened(), result, self._store, self._limits, on_progress)

    async def download_all(
        self,
        result: WorkflowTaskResult,
        on_progress: OnProgress | None = None,
        on_file: Callable[[MediaFile], object] | None = None,
    ) -> list[MediaFile]:
        return await download_all(await self._opened(), result, self._store, self._limits, on_progress, on_file)


class AsyncTaskHandle(BaseTaskHandle[AsyncClient]):
    """A task that exists: what TaskHandle has, awaited; ``events`` by ``async for``.

    Attributes:
        task_id: The task's id.
        server: The sequencer, as in the settings.
    """

    async def status(self) -> WorkflowTaskResult:
        return await self._client.query_task_result(self.task_id)

    async def events(self, timeout: float = 300.0) -> AsyncGenerator[TaskUpdate]:
        async with aclosing(updates(await self._client._opened(), self.task_id, timeout)) as found:
            async for update in found:
                yield update

    async def result(self, timeout: float = 300.0) -> WorkflowTaskResult:
        return await self._client.wait_for_result(self.task_id, timeout)

    async def download(self, to: str | os.PathLike[str] | None = None, *, timeout: float = 300.0) -> MediaFile:
        result = await self.result(timeout)
        return await saved(await self._client.download(result), to, result)

    async def cancel(self) -> str:
        return await self._client.cancel_task(self.task_id)
