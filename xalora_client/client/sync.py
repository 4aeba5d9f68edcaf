"""The blocking client."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from ..media.receiver import OnProgress
from ..protocol.answers import WorkflowTaskResult
from ..protocol.tasks import WorkflowTask
from ..uploads import OnUpload
from ..workflows import AvailableWorkflow
from . import portal
from .available import workflows
from .base import BaseClient
from .create import execute, request_resource, upload_ahead
from .download import MediaFile, download, download_all
from .handles import BaseTaskHandle, saved, updates
from .many import Outcome, check_at_once, outcomes
from .session import Session, cancel, query
from .updates import OnUpdate, TaskUpdate
from .wait import create_and_wait, wait

T = TypeVar("T")


class Client(BaseClient):
    """A blocking client: use it as a context manager, or call ``close``. Use each from one thread at a time."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._session is not None:
            portal.run(self._close)

    def _run(self, call: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        async def main() -> T:
            return await call(await self._opened())

        return portal.run(main)

    def run(
        self,
        task: WorkflowTask,
        to: str | os.PathLike[str] | None = None,
        *,
        timeout: float = 300.0,
        on_update: OnUpdate | None = None,
        reuse: bool = True,
    ) -> MediaFile:
        async def main(session: Session) -> MediaFile:
            result = await create_and_wait(session, task, timeout, None, portal.in_caller(on_update), reuse=reuse)
            return await saved(await download(session, result, self._store, self._limits), to, result)

        return self._run(main)

    def submit(self, task: WorkflowTask, *, reuse: bool = True, job_id: str | None = None) -> TaskHandle:
        return self.task(self._run(lambda session: execute(session, task, reuse=reuse, job_id=job_id)))

    def task(self, task_id: str) -> TaskHandle:
        return TaskHandle(task_id, self.config.workflow_url, self)

    def map(
        self,
        tasks: Iterable[WorkflowTask],
        *,
        at_once: int = 4,
        ordered: bool = False,
        timeout: float = 300.0,
        reuse: bool = True,
    ) -> Iterator[Outcome]:
        given = list(tasks)
        check_at_once(at_once)

        async def main(put: Callable[[Outcome], object]) -> None:
            session = await self._opened()
            async for outcome in outcomes(
                session, self._store, self._limits, given,
                at_once=at_once, ordered=ordered, timeout=timeout, reuse=reuse,
            ):  # fmt: skip
                put(outcome)

        return portal.stream(main)

    def upload_images(self, task: WorkflowTask, on_upload: OnUpload | None = None, *, reuse: bool = True) -> None:
        self._run(lambda session: upload_ahead(session, task, portal.in_caller(on_upload), reuse=reuse))

    def execute_workflow(self, task: WorkflowTask, on_update: OnUpdate | None = None, *, reuse: bool = True) -> str:
        return self._run(lambda session: execute(session, task, portal.in_caller(on_update), reuse=reuse))

    def query_task_result(self, task_id: str) -> WorkflowTaskResult:
        return self._run(lambda session: query(session, task_id))

    def execute_workflow_and_wait_for_result(
        self,
        task: WorkflowTask,
        timeout: float = 300.0,
        interval: float | None = None,
        on_update: OnUpdate | None = None,
        *,
        reuse: bool = True,
    ) -> WorkflowTaskResult:
        return self._run(
            lambda session: create_and_wait(session, task, timeout, interval, portal.in_caller(on_update), reuse=reuse)
        )

    def wait_for_result(
        self,
        task_id: str,
        timeout: float = 300.0,
        interval: float | None = None,
        on_update: OnUpdate | None = None,
    ) -> WorkflowTaskResult:
        return self._run(lambda session: wait(session, task_id, timeout, interval, portal.in_caller(on_update)))

    def cancel_task(self, task_id: str) -> str:
        return self._run(lambda session: cancel(session, task_id))

    def resource_request(
        self, consumer_id: str | None = None, workflow_id: str | None = None, task_type: str | None = None
    ) -> str:
        return self._run(lambda session: request_resource(session, consumer_id, workflow_id, task_type))

    def workflows(self, task_type: str | None = None, workflow_id: str | None = None) -> list[AvailableWorkflow] | None:
        return self._run(lambda session: workflows(session, task_type, workflow_id))

    def download(self, result: WorkflowTaskResult, on_progress: OnProgress | None = None) -> MediaFile:
        return self._run(
            lambda session: download(session, result, self._store, self._limits, portal.in_caller(on_progress))
        )

    def download_all(
        self,
        result: WorkflowTaskResult,
        on_progress: OnProgress | None = None,
        on_file: Callable[[MediaFile], object] | None = None,
    ) -> list[MediaFile]:
        progress, each = portal.in_caller(on_progress), portal.in_caller(on_file)
        return self._run(lambda session: download_all(session, result, self._store, self._limits, progress, each))


class TaskHandle(BaseTaskHandle[Client]):
    """A task that exists. Leaving any of its calls cancels nothing; ``cancel`` does.

    Attributes:
        task_id: The task's id.
        server: The sequencer, as in the settings.

    It can be pickled, without a key: where it is read, the key comes from that process's settings, which have to name
    the same server.
    """

    def status(self) -> WorkflowTaskResult:
        return self._client.query_task_result(self.task_id)

    def events(self, timeout: float = 300.0) -> Iterator[TaskUpdate]:
        async def main(put: Callable[[TaskUpdate], object]) -> None:
            async for update in updates(await self._client._opened(), self.task_id, timeout):
                put(update)

        return portal.stream(main)

    def result(self, timeout: float = 300.0) -> WorkflowTaskResult:
        return self._client.wait_for_result(self.task_id, timeout)

    def download(self, to: str | os.PathLike[str] | None = None, *, timeout: float = 300.0) -> MediaFile:
        result = self.result(timeout)
        file = self._client.download(result)
        return portal.run(lambda: saved(file, to, result))

    def cancel(self) -> str:
        return self._client.cancel_task(self.task_id)
