"""The blocking client."""

from __future__ import annotations

import time
from types import TracebackType
from typing import cast

from ..engine import exchange, submission, waiting
from ..engine.drivers import Transport, run_sync
from ..engine.effects import Flow, T
from ..engine.waiting import OnUpdate
from ..media.download import MediaFile, OnProgress, download
from ..protocol.answers import WorkflowTaskResult
from ..protocol.tasks import WorkflowTask
from .base import BaseClient
from .http import HttpTransport
from .on_thread import ThreadTransport


class Client(BaseClient):
    """A blocking client: use it as a context manager, or call ``close``. One is for one thread at a time.

    See BaseClient for its settings, and for the ConfigurationError that a bad one raises.
    """

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        cast("Transport", self._transport).close()
        self._close_ledger()

    def _run(self, flow: Flow[T]) -> T:
        return run_sync(flow, cast("Transport", self._transport), self._sleep or time.sleep)

    def execute_workflow(self, task: WorkflowTask, *, reuse: bool = True) -> str:
        """Create the task and return its id, without waiting.

        Sent again, under the same job id, only when the server certainly did not process it. With a ledger and
        ``reuse``, the id may be that of an earlier task with the same intent. Raises APIStatusError,
        NetworkError or ResponseError.
        """
        return self._run(submission.execute(self._context, task, reuse=reuse))

    def query_task_result(self, task_id: str) -> WorkflowTaskResult:
        """Return how the task stands now; a failed or canceled task is an answer, not an error.

        Raises APIStatusError, NetworkError or ResponseError.
        """
        return self._run(exchange.query(self._context, task_id))

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

        ``timeout`` is in seconds from this call; when it passes, TaskTimeoutError names the task, which goes on
        remotely. (A create that is being answered is given its minute first: its id must not be lost.) ``interval``
        is the pause between queries in seconds (at least 1), None adapts it: from 1 s to 8 s, or with a ledger to how
        long such tasks took before. ``on_update`` gets a TaskUpdate after the create and after each query that finds
        the task open. An interruption (Ctrl-C, or whatever ``on_update`` raises) cancels the task remotely. Raises
        TaskError, APIStatusError, NetworkError or ResponseError.
        """
        return self._run(waiting.execute_and_wait(self._context, task, timeout, interval, on_update, reuse=reuse))

    def wait_for_result(
        self,
        task_id: str,
        timeout: float = 300.0,
        interval: float | None = None,
        on_update: OnUpdate | None = None,
    ) -> WorkflowTaskResult:
        """Wait for a task created before; the rest is as for ``execute_workflow_and_wait_for_result``."""
        return self._run(waiting.wait(self._context, task_id, timeout, interval, on_update))

    def cancel_task(self, task_id: str) -> str:
        """Cancel the task and return the server's message. Raises APIStatusError, NetworkError or ResponseError."""
        return self._run(exchange.cancel(self._context, task_id))

    def resource_request(
        self, consumer_id: str | None = None, workflow_id: str | None = None, task_type: str | None = None
    ) -> str:
        """Ask for a miner and return its id. Raises APIStatusError, NetworkError or ResponseError."""
        return self._run(exchange.request_resource(self._context, consumer_id, workflow_id, task_type))

    def download(self, result: WorkflowTaskResult, on_progress: OnProgress | None = None) -> MediaFile:
        """Fetch a finished task's media into the home's store, check it, and return where it is.

        There it stays at least until this process ends, or ``release``. Raises DownloadError, DecodeError or
        MediaTooLargeError.
        """
        return self._run(download(self._context, result, self._store, self._limits, on_progress))

    def _new_transport(self) -> Transport:
        return ThreadTransport(HttpTransport())
