"""The blocking client."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
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
from .handles import restored, saved, updates
from .many import Outcome, check_at_once, outcomes
from .session import Session, cancel, query
from .updates import OnUpdate, TaskUpdate
from .wait import create_and_wait, wait

T = TypeVar("T")


class Client(BaseClient):
    """A blocking client: use it as a context manager, or call ``close``. Use each from one thread at a time.

    The arguments and the errors of the constructor are those of BaseClient.
    """

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and the ledger. Images that were uploaded ahead and not used are removed."""
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
        """Create the task, wait until it is finished, and download its media, or the first of several.

        An interruption (Ctrl-C, or an exception from ``on_update``) cancels the task remotely, unless another call of
        this process waits for it as well.

        Args:
            task: The task to create.
            to: A file or a folder that gets a copy. None leaves the file in the store of the home folder.
            timeout: Seconds to wait for the task, counted from this call.
            on_update: Called with a TaskUpdate when the create has to be tried again, after it, and after each query.
                The last one has the task's end, also a bad one.
            reuse: As for ``execute_workflow``.

        Returns:
            The file, where it is wanted.

        Raises:
            XaloraError: As ``execute_workflow_and_wait_for_result`` and ``download`` do.
        """

        async def main(session: Session) -> MediaFile:
            result = await create_and_wait(session, task, timeout, None, portal.in_caller(on_update), reuse=reuse)
            return await saved(await download(session, result, self._store, self._limits), to, result)

        return self._run(main)

    def submit(self, task: WorkflowTask, *, reuse: bool = True, job_id: str | None = None) -> TaskHandle:
        """Create the task without waiting for its result.

        Args:
            task: The task to create.
            reuse: As for ``execute_workflow``.
            job_id: A name of your own for the task, such as an order's number. With a ledger it is one task, however
                often it is submitted and whatever becomes of it. None makes a new one.

        Returns:
            The task's handle.

        Raises:
            InvalidParameterError: The job id belongs to another task.
            XaloraError: As ``execute_workflow`` does.
        """
        return self.task(self._run(lambda session: execute(session, task, reuse=reuse, job_id=job_id)))

    def task(self, task_id: str) -> TaskHandle:
        """A handle for a task that exists. Sends nothing.

        Args:
            task_id: The task's id.

        Returns:
            The handle.
        """
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
        """Create many tasks, wait for them, and download their media.

        Leaving the iteration, by ``break`` or an interruption, cancels those that run. With a ledger, the same call
        again continues: what is finished is not paid for again.

        Args:
            tasks: The tasks. All are taken at once.
            at_once: How many run at a time, 1 or more.
            ordered: Yield the outcomes in the order of the tasks, instead of as they are there.
            timeout: Seconds to wait for each task.
            reuse: As for ``execute_workflow``.

        Yields:
            The outcome of each task. What goes wrong with one is in its outcome.

        Raises:
            ConfigurationError: ``at_once`` is less than 1.
        """
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
        """Upload the task's images ahead of its create.

        Without this call they are uploaded by the call that creates the task. Images that are sent inside the create
        are not uploaded. With a ledger, another run with the same task then waits until this client creates it, or is
        closed.

        Args:
            task: The task. Pass the same object to the call that creates it.
            on_upload: Called with an UploadProgress as the bytes go out, from another thread.
            reuse: With a ledger, upload nothing for a task that exists or is finished.

        Raises:
            ConfigurationError: No upload method can be used, or another run has been uploading the same task for too
                long. The error says what to do.
            StorageError: The bucket refuses an image.
            InvalidParameterError: An image cannot be encoded.
            APIStatusError: The sequencer refuses an image.
            NetworkError: No complete answer came back.
        """
        self._run(lambda session: upload_ahead(session, task, portal.in_caller(on_upload), reuse=reuse))

    def execute_workflow(self, task: WorkflowTask, on_update: OnUpdate | None = None, *, reuse: bool = True) -> str:
        """Create the task without waiting for its result.

        It is sent again, under the same job id, only when the server certainly did not process it.

        Args:
            task: The task to create.
            on_update: Called with a TaskUpdate when the create has to be tried again, and once the task exists: its
                origin says whether an earlier task is continued.
            reuse: With a ledger, continue an earlier task with the same inputs, or use its result. False always creates
                a new task, which is charged again.

        Returns:
            The task's id.

        Raises:
            InvalidParameterError: The task cannot be sent as JSON. Nothing was sent.
            ConfigurationError: Another run is creating the same task and has no id yet.
            StorageError: The ledger cannot be used. Nothing was sent.
            APIStatusError: The server answered with a status outside 2xx.
            NetworkError: No complete answer came back.
            ResponseError: The answer is not one of the protocol.
        """
        return self._run(lambda session: execute(session, task, portal.in_caller(on_update), reuse=reuse))

    def query_task_result(self, task_id: str) -> WorkflowTaskResult:
        """Query the task's status. A failed or canceled task is an answer, not an error.

        Args:
            task_id: The task's id.

        Returns:
            The server's answer, or the ledger's record of a finished task that the server no longer knows.

        Raises:
            APIStatusError: The server answered with a status outside 2xx.
            NetworkError: No complete answer came back.
            ResponseError: The answer is not one of the protocol.
        """
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
        """Create the task and wait until it is finished.

        An interruption (Ctrl-C, or an exception from ``on_update``) cancels the task remotely, unless another call of
        this process waits for it as well.

        Args:
            task: The task to create.
            timeout: Seconds to wait, counted from this call. A create in flight still gets its minute, so that its id
                is not lost.
            interval: Seconds between queries, at least 1. None adapts it: from 1 s to 8 s, or with a ledger to how long
                such tasks took before. Where the server offers it, queries then wait there for the next change.
            on_update: Called with a TaskUpdate when the create has to be tried again, after it, and after each query.
                The last one has the task's end, also a bad one.
            reuse: As for ``execute_workflow``.

        Returns:
            The answer about the finished task.

        Raises:
            TaskFailedError: The task failed.
            TaskCanceledError: The task was canceled.
            TaskTimeoutError: The timeout passed. The task continues remotely.
            ConfigurationError: ``timeout`` or ``interval`` is out of range. Nothing was sent.
            XaloraError: Also what ``execute_workflow`` and ``query_task_result`` raise.
        """
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
        """Wait until a task that exists is finished. An interruption does not cancel it; ``cancel_task`` does.

        Args:
            task_id: The task's id.
            timeout: Seconds to wait, counted from this call.
            interval: As for ``execute_workflow_and_wait_for_result``.
            on_update: Called with a TaskUpdate after each query. The last one has the task's end, also a bad one.

        Returns:
            The answer about the finished task.

        Raises:
            XaloraError: As ``execute_workflow_and_wait_for_result`` does.
        """
        return self._run(lambda session: wait(session, task_id, timeout, interval, portal.in_caller(on_update)))

    def cancel_task(self, task_id: str) -> str:
        """Cancel the task.

        Args:
            task_id: The task's id.

        Returns:
            The server's message, in one line.

        Raises:
            XaloraError: As ``query_task_result`` does.
        """
        return self._run(lambda session: cancel(session, task_id))

    def resource_request(
        self, consumer_id: str | None = None, workflow_id: str | None = None, task_type: str | None = None
    ) -> str:
        """Ask for a miner.

        Args:
            consumer_id: Whose miner it is. None means the client's own consumer.
            workflow_id: The workflow that the miner should run. None sends none.
            task_type: The kind of task that the miner should take, such as "txt2vid". None sends none.

        Returns:
            The miner's id.

        Raises:
            XaloraError: As ``query_task_result`` does.
        """
        return self._run(lambda session: request_resource(session, consumer_id, workflow_id, task_type))

    def workflows(self, task_type: str | None = None, workflow_id: str | None = None) -> list[AvailableWorkflow] | None:
        """List what the server's connected miners run now, with the parameters that they take.

        Args:
            task_type: Only those of this kind, such as "txt2vid". None means all.
            workflow_id: Only those with this id. None means all.

        Returns:
            The workflows by name, at most 500; empty while no miner is connected. None where the server does not tell,
            as Xalora's public network.

        Raises:
            APIStatusError: The server refuses the key, or cannot answer.
            NetworkError: No complete answer came back.
        """
        return self._run(lambda session: workflows(session, task_type, workflow_id))

    def download(self, result: WorkflowTaskResult, on_progress: OnProgress | None = None) -> MediaFile:
        """Download a finished task's media into the store in the home folder, and check it.

        The file stays there for at least an hour after its last use. What is there already is not downloaded again.

        Args:
            result: The answer about the finished task.
            on_progress: Called with a DownloadProgress after each piece.

        Returns:
            The file and what it contains.

        Raises:
            DownloadError: There is no media, or it cannot be downloaded completely.
            DecodeError: The bytes are not media. The file is kept.
            MediaTooLargeError: A limit would be exceeded.
            StorageError: The store cannot be written.
            XaloraError: The link expired, and the query for a new one failed.
        """
        return self._run(
            lambda session: download(session, result, self._store, self._limits, portal.in_caller(on_progress))
        )

    def download_all(
        self,
        result: WorkflowTaskResult,
        on_progress: OnProgress | None = None,
        on_file: Callable[[MediaFile], object] | None = None,
    ) -> list[MediaFile]:
        """Download all media of a finished task: several where a workflow made a batch of pictures.

        Args:
            result: The answer about the finished task.
            on_progress: Called with a DownloadProgress after each piece of each file.
            on_file: Called with each file, before the next is downloaded.

        Returns:
            The files in their order, as ``download`` gives the first.

        Raises:
            XaloraError: As ``download`` does.
        """
        progress, each = portal.in_caller(on_progress), portal.in_caller(on_file)
        return self._run(lambda session: download_all(session, result, self._store, self._limits, progress, each))


@dataclass(frozen=True)
class TaskHandle:
    """A task that exists. Leaving any of its calls cancels nothing; ``cancel`` does.

    Attributes:
        task_id: The task's id.
        server: The sequencer, as in the settings.

    It can be pickled, without a key: where it is read, the key comes from that process's settings, which have to name
    the same server.
    """

    task_id: str
    server: str
    _client: Client = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (type(self), type(self._client), self.task_id, self.server)

    def status(self) -> WorkflowTaskResult:
        """Query the task's status, as ``Client.query_task_result`` does.

        Returns:
            The server's answer. A failed or canceled task is an answer, not an error.
        """
        return self._client.query_task_result(self.task_id)

    def events(self, timeout: float = 300.0) -> Iterator[TaskUpdate]:
        """Wait for the task's end, and see what happens meanwhile.

        Args:
            timeout: Seconds to wait.

        Yields:
            An update after each query. The last one has the task's end, also a bad one.

        Raises:
            TaskTimeoutError: The timeout passed. The task continues remotely.
            XaloraError: As ``Client.query_task_result`` does.
        """

        async def main(put: Callable[[TaskUpdate], object]) -> None:
            async for update in updates(await self._client._opened(), self.task_id, timeout):
                put(update)

        return portal.stream(main)

    def result(self, timeout: float = 300.0) -> WorkflowTaskResult:
        """Wait until the task is finished, as ``Client.wait_for_result`` does.

        Args:
            timeout: Seconds to wait.

        Returns:
            The answer about the finished task.
        """
        return self._client.wait_for_result(self.task_id, timeout)

    def download(self, to: str | os.PathLike[str] | None = None, *, timeout: float = 300.0) -> MediaFile:
        """Wait until the task is finished, and download its media, or the first of several.

        Args:
            to: A file or a folder that gets a copy. None leaves the file in the store of the home folder.
            timeout: Seconds to wait for the task.

        Returns:
            The file, where it is wanted.

        Raises:
            XaloraError: As ``Client.wait_for_result`` and ``Client.download`` do.
        """
        result = self.result(timeout)
        file = self._client.download(result)
        return portal.run(lambda: saved(file, to, result))

    def cancel(self) -> str:
        """Cancel the task.

        Returns:
            The server's message, in one line.
        """
        return self._client.cancel_task(self.task_id)
