"""Waiting for one task: when to query, what to report, how it can end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import NotFoundError, ResponseError, TaskCanceledError, TaskFailedError, TaskTimeoutError, XaloraError
from ..http.retry import LONGEST_PAUSE
from ..ledger import Ledger, Step
from ..protocol.answers import TaskProgress, TaskStatus, WorkflowTaskResult
from ..protocol.miner import is_out_of_memory
from ..protocol.tasks import WorkflowTask
from ..workflows.file import shown_title
from .create import UNKNOWN_AT_FIRST, CreatedTask, create, unknown_to_server
from .polling import LongPolling, learned_delays, poll_delays
from .session import Deadline, Session, cancel_interrupted, check, logger, remembered, warn
from .updates import OnUpdate, TaskUpdate, error_fields, estimate
from .waiters import Waiter

MOST_INVALID_ANSWERS = 5
"""A wait ends after this many invalid answers in a row. A single one may come from a proxy or a restart."""

_GIVEN = "given"
"""The origin of a task that is waited for by its id: it belongs to whoever created it."""

LAST_CHECK = 1.0
"""The last query is sent this many seconds before the deadline."""


async def create_and_wait(
    session: Session,
    task: WorkflowTask,
    timeout: float,
    interval: float | None,
    on_update: OnUpdate | None,
    *,
    reuse: bool = True,
) -> WorkflowTaskResult:
    """Create the task and wait for its result. The timeout counts from this call."""
    poll_delays(interval, session.options.rng)  # A bad interval is refused before anything is charged.
    deadline = session.deadline(timeout)
    within = session.call_deadline(timeout)
    with Waiter(session.name) as waiter:
        created = await create(session, task, within, waiter, reuse=reuse, on_update=on_update)
        try:
            return await Wait(session, created, waiter, deadline, interval, on_update).run()
        except NotFoundError as error:
            if created.origin == Step.EXISTING:
                raise unknown_to_server(error, created.task_id) from error
            raise


async def wait(
    session: Session, task_id: str, timeout: float, interval: float | None, on_update: OnUpdate | None
) -> WorkflowTaskResult:
    """Wait for a task that was created before. An interruption does not cancel it."""
    given = CreatedTask(task_id, session.sequencer.credentials, _GIVEN)
    with Waiter(session.name) as waiter:
        try:
            return await Wait(session, given, waiter, session.deadline(timeout), interval, on_update).run()
        except NotFoundError as error:
            result = await remembered(session, task_id, error)
            if on_update is not None:
                on_update(TaskUpdate(task_id, result.status, 0.0, 0.0, result, origin=_GIVEN))
            return result


class _ObserverError(Exception):
    """Wraps an error of the SDK that ``on_update`` raised, so that it is not taken for an error of a request."""

    def __init__(self, error: XaloraError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(eq=False)
class Wait:
    """One wait for one task, until it is final or the deadline passes."""

    session: Session
    task: CreatedTask
    waiter: Waiter
    deadline: Deadline
    interval: float | None = None
    on_update: OnUpdate | None = None

    def __post_init__(self) -> None:
        self.task_id: str = self.task.task_id
        self.result = self.task.result
        self.started: float = self.session.clock()
        # On the same clock. When a task of an earlier run was created is not known yet.
        self.is_earlier: bool = self.task.origin in (Step.EXISTING, _GIVEN)
        self.created = None if self.is_earlier else self.started
        self.delays: Iterator[float] = poll_delays(self.interval, self.session.options.rng)
        # With an interval, the caller decides when the server is asked.
        announced = self.task.long_poll if self.interval is None else None
        self.long_polling = LongPolling(self.session.sequencer.url, self.session.clock, announced)
        self.durations: Sequence[float] = ()
        self.last_error: XaloraError | None = None
        self.invalid_answers: int = 0
        self.progress = TaskProgress(0.0, 1.0)

    async def run(self) -> WorkflowTaskResult:
        """Query until the task is final. Before the first query of a new task, this pauses; an old one may be done.

        Raises TaskFailedError, TaskCanceledError, TaskTimeoutError, and what a query raises when asking again
        would not help.
        """
        self.waiter.waits_for(self.task_id)
        try:
            await self.session.with_ledger(self._learn)
            if self.result is not None and self.result.is_final:
                self._report(0.0)
                return _outcome(self.result)
            self._note(self.result)
            pauses = not self.is_earlier or self.result is not None
            while True:
                with self.long_polling.slot():
                    if pauses:
                        await self._pause()
                    result = await self._query()
                if result is not None and result.is_final:
                    self._report(0.0)
                    return _outcome(result)
                pauses = True
        except XaloraError:
            raise
        except _ObserverError as caught:
            await self._stopped(caught.error)
            raise caught.error from caught.error.__cause__
        except BaseException as stop:
            await self._stopped(stop)
            raise

    async def _stopped(self, stop: BaseException) -> None:
        """After an interruption: cancel the task, unless it was given by its id or has ended."""
        if self.task.origin != _GIVEN and not (self.result and self.result.is_final):
            await cancel_interrupted(self.session, self.waiter, self.task_id, self.task.credentials, stop)

    def _learn(self, ledger: Ledger) -> None:
        """Schedule the queries by how long tasks of this kind took before."""
        record = ledger.find(self.task_id)
        if record is None or record.submitted is None:
            return
        self.created = created = self.session.clock() - max(0.0, ledger.clock() - record.submitted)
        self.durations = durations = ledger.durations(record.task_type, record.workflow_id)
        if self.interval is None:
            self.delays = learned_delays(durations, lambda: self.session.clock() - created, self.session.options.rng)

    def _note(self, result: WorkflowTaskResult | None) -> None:
        """Learn whether the next query may wait at the server."""
        if result is not None and self.interval is None:
            self.long_polling.answered(result)

    async def _query(self) -> WorkflowTaskResult | None:
        """Query the task. None after an answer that is not conclusive; ``last_error`` then has the reason."""
        if not self.deadline.remaining():
            raise self._timed_out()
        self.last_error = None
        waiting = self.long_polling.fields(self.deadline.remaining() - LAST_CHECK)
        try:
            result = await check(
                self.session, self.task_id, self.task.credentials, self.deadline, self._report_failure, waiting
            )
        except XaloraError as error:
            # With retry_after, the server asks to come back after the deadline, which says more than "timed out".
            if error.transient and error.retry_after is None:
                raise self._timed_out(error) from error
            if not self._is_inconclusive(error):
                raise
            self.last_error = error
            return None
        if self.result is None or self.result.status != result.status:
            if isinstance(result.status, TaskStatus):
                logger.info("Task %s is %s", self.task_id, result.status)
            else:
                logger.warning("Task %s has the unknown status %r; still waiting", self.task_id, result.status)
        self.invalid_answers = 0
        self.result = result
        self._note(result)
        return result

    def _is_inconclusive(self, error: XaloraError) -> bool:
        """Whether to continue after this answer. The task is charged, and asking again is free."""
        if isinstance(error, ResponseError):
            self.invalid_answers += 1
            return self.invalid_answers < MOST_INVALID_ANSWERS
        is_new = self.created is not None and self.session.clock() - self.created < UNKNOWN_AT_FIRST
        return isinstance(error, NotFoundError) and is_new and self.result is None

    async def _pause(self) -> None:
        asked = self.result.retry_after if self.result else None
        long_poll_delay = self.long_polling.pause(self.deadline.remaining() - LAST_CHECK)
        delay = max(next(self.delays) if long_poll_delay is None else long_poll_delay, min(asked or 0.0, LONGEST_PAUSE))
        if not self.deadline.remaining():
            raise self._timed_out()
        self._report(delay, self.last_error)
        remaining = self.deadline.remaining()
        # A pause that would end at the deadline or later ends a little before it: the task may be done by then.
        last = remaining - LAST_CHECK if remaining > LAST_CHECK else remaining
        await self.session.sleep(min(delay, last))

    def _report_failure(self, error: XaloraError, delay: float) -> None:
        self.long_polling.failed(error)
        self._report(delay, error)

    def _report(self, next_poll: float, error: XaloraError | None = None) -> None:
        if self.on_update is None:
            if error is not None:
                warn(error, next_poll)
            return
        update = TaskUpdate(
            task_id=self.task_id,
            # Every task starts as waiting. Nothing else is known before the first answer.
            status=self.result.status if self.result else TaskStatus.WAITING,
            elapsed=self.session.clock() - self.started,
            next_poll=min(next_poll, self.deadline.remaining()),
            result=self.result,
            **error_fields(error),
            origin=self.task.origin,
            progress=self._progress(),
        )
        try:
            self.on_update(update)
        except XaloraError as stop:  # It is an interruption too.
            raise _ObserverError(stop) from stop

    def _progress(self) -> TaskProgress | None:
        if self.result is None:
            return None
        if self.result.status == TaskStatus.FINISHED:
            return replace(self.progress, value=self.progress.maximum, preview=None)
        if self.result.status != TaskStatus.RUNNING:
            return None
        progress = self.result.progress
        if progress is None and self.created is not None:
            progress = estimate(self.durations, self.session.clock() - self.created)
        self.progress = progress or self.progress
        return progress

    def _timed_out(self, error: XaloraError | None = None) -> TaskTimeoutError:
        waited = self.session.clock() - self.started
        status = f"its status is {self.result.status}" if self.result else "its status is not known"
        if self.result and self.result.why_waiting:
            status += f": {self.result.why_waiting}"
        error = error or self.last_error
        failed = f"; the last query failed: {error.what}" if error else ""
        return TaskTimeoutError(
            f"The task was not finished after {waited:.0f} s, {status}{failed}",
            task_id=self.task_id,
            result=self.result,
        )


_AT_NODE = re.compile(r"^Node \S+ (.*?)(?: \(([^()]*)\))?: ")
"""How a miner names the node that failed: its id, its title, and its class where that is another word."""


def _outcome(result: WorkflowTaskResult) -> WorkflowTaskResult:
    message = f": {result.message}" if result.message else ""
    if result.status == TaskStatus.FAILED:
        code = "task_out_of_memory" if is_out_of_memory(message) else "task_failed"
        shown = _AT_NODE.sub(lambda node: f"{shown_title(node[1]) or node[2]}: ", result.message or "")
        params = {"message": shown} if shown else {}
        raise TaskFailedError(
            f"The task failed{message}", task_id=result.task_id, result=result, code=code, params=params
        )
    if result.status == TaskStatus.CANCELED:
        raise TaskCanceledError(f"The task was canceled{message}", task_id=result.task_id, result=result)
    return result
