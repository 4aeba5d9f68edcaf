"""The asynchronous client: the same methods as Client, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from ..engine import exchange, submission, waiting
from ..engine.drivers import AsyncTransport, run_async
from ..engine.effects import Flow, T
from ..engine.updates import OnUpdate
from ..http.transport import HttpTransport
from ..media.download import MediaFile, OnProgress, download
from ..protocol.answers import WorkflowTaskResult
from ..protocol.tasks import WorkflowTask
from ..uploads import OnUpload
from .base import BaseClient


class AsyncClient(BaseClient):
    """A client for one event loop: use it with ``async with``, or await ``close``. Calls may run concurrently.

    The arguments and the errors of the constructor are those of BaseClient, the calls those of Client. Canceling the
    asyncio task that awaits a call is an interruption like Ctrl-C.
    """

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections and the ledger. Images that were uploaded ahead and not used are removed."""
        await self._run(submission.discard_ahead(self._context))
        await self._uploads.close()
        await cast("AsyncTransport", self._transport).close()
        self._close_ledger()

    async def _run(self, flow: Flow[T]) -> T:
        sleep = cast("Callable[[float], Awaitable[object]]", self._sleep or asyncio.sleep)
        return await run_async(flow, cast("AsyncTransport", self._transport), sleep)

    async def upload_images(self, task: WorkflowTask, on_upload: OnUpload | None = None, *, reuse: bool = True) -> None:
        """As Client.upload_images, awaited."""
        await self._run(submission.upload_ahead(self._context, task, on_upload, reuse=reuse))

    async def execute_workflow(
        self, task: WorkflowTask, on_update: OnUpdate | None = None, *, reuse: bool = True
    ) -> str:
        """As Client.execute_workflow, awaited."""
        return await self._run(submission.execute(self._context, task, on_update, reuse=reuse))

    async def query_task_result(self, task_id: str) -> WorkflowTaskResult:
        """As Client.query_task_result, awaited."""
        return await self._run(exchange.query(self._context, task_id))

    async def execute_workflow_and_wait_for_result(
        self,
        task: WorkflowTask,
        timeout: float = 300.0,
        interval: float | None = None,
        on_update: OnUpdate | None = None,
        *,
        reuse: bool = True,
    ) -> WorkflowTaskResult:
        """As Client.execute_workflow_and_wait_for_result, awaited."""
        return await self._run(waiting.execute_and_wait(self._context, task, timeout, interval, on_update, reuse=reuse))

    async def wait_for_result(
        self,
        task_id: str,
        timeout: float = 300.0,
        interval: float | None = None,
        on_update: OnUpdate | None = None,
    ) -> WorkflowTaskResult:
        """As Client.wait_for_result, awaited."""
        return await self._run(waiting.wait(self._context, task_id, timeout, interval, on_update))

    async def cancel_task(self, task_id: str) -> str:
        """As Client.cancel_task, awaited."""
        return await self._run(exchange.cancel(self._context, task_id))

    async def resource_request(
        self, consumer_id: str | None = None, workflow_id: str | None = None, task_type: str | None = None
    ) -> str:
        """As Client.resource_request, awaited."""
        return await self._run(exchange.request_resource(self._context, consumer_id, workflow_id, task_type))

    async def download(self, result: WorkflowTaskResult, on_progress: OnProgress | None = None) -> MediaFile:
        """As Client.download, awaited. The file is inspected in a thread."""
        return await self._run(download(self._context, result, self._store, self._limits, on_progress))

    def _new_transport(self) -> AsyncTransport:
        return HttpTransport()
