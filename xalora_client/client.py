"""The blocking client."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from . import flows
from .config import Config, load
from .drive import Transport, run_sync
from .effects import Flow, T
from .exchange import Context
from .ledger import Ledger
from .media.download import MediaFile, download
from .media.limits import Limits
from .media.receiver import OnProgress
from .media.store import MediaStore
from .results import WorkflowTaskResult
from .sandbox import local_sandbox
from .tasks import WorkflowTask
from .transports.blocking import RequestsTransport
from .waiting import OnUpdate
from .wire import Sequencer


def open_context(
    config: Config,
    *,
    ledger: bool,
    source: str,
    clock: Callable[[], float],
    dice: random.Random | None,
    cancels: Callable[[BaseException], bool] | None,
) -> Context:
    """What the flows of a client share, for the settings in force. Starts the local sandbox where they ask for it."""
    credentials = config.require_credentials()
    url = local_sandbox(config.home / "sandbox") if config.is_sandbox else config.workflow_url
    return Context(
        Sequencer(url, credentials),
        # The sandbox has another port each time; its tasks are the same.
        server=config.workflow_url,
        ledger=Ledger(config.home) if ledger else None,
        source=source,
        clock=clock,
        dice=dice or random.Random(),  # noqa: S311 - it only spreads requests
        cancels=cancels or (lambda _: True),
    )


class Client:
    """A blocking client of one sequencer. Use it as a context manager, or call ``close``.

    ``api_key`` is ``consumer#key``; it, ``workflow_url`` and ``home`` come from the environment, ``.env`` or the
    stored settings where they are not given; ``fallback_home`` takes the place of the platform's folder for user
    data. With ``ledger``, every task is written down in the home before it is sent: what an earlier call with the
    same intent created, is creating or has finished is taken up instead of paid for anew, unless that call says
    ``reuse=False``; ``source`` is written down with it. ``cancels(interruption)`` says whether an interruption of a
    call (Ctrl-C, say) should cancel the remote task; unset, each does. ``transport``, ``sleep``, ``clock`` (monotonic
    seconds) and ``dice`` can be replaced. One client is for one thread at a time.

    Raises ConfigurationError when no key is set or a setting has the wrong form.
    """

    def __init__(
        self,
        api_key: str | None = None,
        workflow_url: str | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        fallback_home: Path | None = None,
        ledger: bool = False,
        source: str = "library",
        limits: Limits | None = None,
        cancels: Callable[[BaseException], bool] | None = None,
        transport: Transport | None = None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        dice: random.Random | None = None,
    ) -> None:
        self.config = load(api_key, workflow_url, home, fallback_home)
        self._context = open_context(self.config, ledger=ledger, source=source, clock=clock, dice=dice, cancels=cancels)
        self._store = MediaStore(self.config.home)
        self._limits = limits or Limits()
        self._transport = transport or RequestsTransport()
        self._sleep = sleep

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workflow_url={self._context.sequencer.url!r})"

    def close(self) -> None:
        """Let the connections go."""
        self._transport.close()
        if self._context.ledger is not None:
            self._context.ledger.close()

    def _run(self, flow: Flow[T]) -> T:
        return run_sync(flow, self._transport, self._sleep)

    def execute_workflow(self, task: WorkflowTask, *, reuse: bool = True) -> str:
        """Create the task and return its id, without waiting.

        Sent again, under the same job id, only when the server certainly did not process it. With a ledger and
        ``reuse``, the id may be that of an earlier task with the same intent. Raises APIStatusError,
        NetworkError or ResponseError.
        """
        return self._run(flows.execute(self._context, task, reuse=reuse))

    def query_task_result(self, task_id: str) -> WorkflowTaskResult:
        """Return how the task stands now; a failed or canceled task is an answer, not an error.

        Raises APIStatusError, NetworkError or ResponseError.
        """
        return self._run(flows.query(self._context, task_id))

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
        return self._run(flows.execute_and_wait(self._context, task, timeout, interval, on_update, reuse=reuse))

    def wait_for_result(
        self,
        task_id: str,
        timeout: float = 300.0,
        interval: float | None = None,
        on_update: OnUpdate | None = None,
    ) -> WorkflowTaskResult:
        """Wait for a task created before; the rest is as for ``execute_workflow_and_wait_for_result``."""
        return self._run(flows.wait(self._context, task_id, timeout, interval, on_update))

    def cancel_task(self, task_id: str) -> str:
        """Cancel the task and return the server's message. Raises APIStatusError, NetworkError or ResponseError."""
        return self._run(flows.cancel(self._context, task_id))

    def resource_request(
        self, consumer_id: str | None = None, workflow_id: str | None = None, task_type: str | None = None
    ) -> str:
        """Ask for a miner and return its id. Raises APIStatusError, NetworkError or ResponseError."""
        return self._run(flows.request_resource(self._context, consumer_id, workflow_id, task_type))

    def download(self, result: WorkflowTaskResult, on_progress: OnProgress | None = None) -> MediaFile:
        """Fetch a finished task's media into the home's store, check it, and return where it is.

        There it stays at least until this process ends, or ``release``. Raises DownloadError, DecodeError or
        MediaTooLargeError.
        """
        return self._run(download(self._context, result, self._store, self._limits, on_progress))

    def release(self, file: MediaFile) -> None:
        """Say that a downloaded file is not needed any more: from ten minutes later, the store may make room."""
        self._store.release(file.path)
