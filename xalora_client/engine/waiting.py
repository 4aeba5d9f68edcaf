"""Waiting for one task: when to ask, what to report, how it can end."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import (
    NotFoundError,
    ResponseError,
    TaskCanceledError,
    TaskFailedError,
    TaskTimeoutError,
    XaloraError,
)
from ..ledger import Ledger, Step
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.progress import TaskProgress
from ..protocol.tasks import WorkflowTask
from . import timing, updates
from .effects import Flow, Sleep
from .exchange import Context, cancel_interrupted, logger, look, remembered, retry_after, with_ledger
from .long_polling import LongPolling
from .submission import Submission, forgotten, retries_to, submit
from .timing import Deadline
from .updates import OnUpdate, TaskUpdate, estimate

MOST_GARBAGE = 5
"""Answers in a row outside the protocol that end a wait. A single one may come from a proxy or a restart."""

LAST_LOOK = 1.0
"""Seconds before the deadline of the last query."""


def execute_and_wait(
    context: Context,
    task: WorkflowTask,
    timeout: float,
    interval: float | None,
    on_update: OnUpdate | None,
    *,
    reuse: bool = True,
) -> Flow[WorkflowTaskResult]:
    """Create the task and wait for its result. The deadline counts from the start of the create."""
    timing.poll_delays(interval, context.dice)  # A bad interval is refused before anything is charged.
    deadline = context.deadline(timeout)
    tell = retries_to(on_update, context)
    within = context.deadline(min(timeout, timing.CALL_TIMEOUT))
    submission = yield from submit(context, task, within, reuse=reuse, on_trouble=tell)
    try:
        return (yield from Wait(context, submission, deadline, interval, on_update).run())
    except NotFoundError as error:
        if submission.origin == Step.ATTACH:
            raise forgotten(error, submission.task_id) from error
        raise


def wait(
    context: Context, task_id: str, timeout: float, interval: float | None, on_update: OnUpdate | None
) -> Flow[WorkflowTaskResult]:
    """Wait for a task that was created before."""
    submission = Submission(task_id, context.sequencer.credentials, "given")
    try:
        return (yield from Wait(context, submission, context.deadline(timeout), interval, on_update).run())
    except NotFoundError as error:
        return (yield from remembered(context, task_id, error))


class Wait:
    """One wait for one task, until it is final or the deadline passes."""

    def __init__(
        self,
        context: Context,
        submission: Submission,
        deadline: Deadline,
        interval: float | None = None,
        on_update: OnUpdate | None = None,
    ) -> None:
        self.context = context
        self.submission = submission
        self.task_id = submission.task_id
        self.result = submission.result
        self.deadline = deadline
        self.interval = interval
        self.on_update = on_update
        self.started = context.clock()
        # On the same clock; not known of a task that was created elsewhere.
        self.is_earlier = submission.origin in ("attach", "given")
        self.created = None if self.is_earlier else self.started
        self.delays = timing.poll_delays(interval, context.dice)
        # Who sets an interval decides when the server is asked.
        announced = submission.long_poll if interval is None else None
        self.long_polling = LongPolling(context.sequencer.url, context.clock, announced)
        self.durations: Sequence[float] = ()
        self.trouble: XaloraError | None = None
        self.garbage = 0
        self.unknown: set[str] = set()

    def run(self) -> Flow[WorkflowTaskResult]:
        """Query until the task is final. A new task is first given a moment; an old one may be done already.

        Raises TaskFailedError, TaskCanceledError, TaskTimeoutError, and what a query raises when asking again
        would not help.
        """
        try:
            yield from with_ledger(self.context, self._learn)
            if self.result is not None and self.result.is_final:
                yield from self._report(0.0)
                return _outcome(self.result)
            self._note(self.result)
            pauses = not self.is_earlier or self.result is not None
            while True:
                with self.long_polling.turn():
                    if pauses:
                        yield from self._pause()
                    result = yield from self._query()
                if result is not None and result.is_final:
                    return _outcome(result)
                pauses = True
        except XaloraError:
            raise
        except BaseException as stop:
            yield from self._cancel(stop)
            raise

    def _learn(self, ledger: Ledger) -> None:
        """Time the queries by how long tasks of this kind took before."""
        entry = ledger.find(self.task_id)
        if entry is None or entry.submitted is None:
            return
        self.created = created = self.context.clock() - max(0.0, ledger.clock() - entry.submitted)
        self.durations = durations = ledger.durations(entry.task_type, entry.workflow_id)
        if self.interval is None:
            self.delays = timing.learned_delays(durations, lambda: self.context.clock() - created, self.context.dice)

    def _note(self, result: WorkflowTaskResult | None) -> None:
        """Learn whether the next query may wait at the server."""
        if result is not None and self.interval is None:
            self.long_polling.answered(result)

    def _query(self) -> Flow[WorkflowTaskResult | None]:
        """Ask for the task's status. None after an answer that says nothing; ``trouble`` then says why."""
        if not self.deadline.remaining():
            raise self._timed_out()
        self.trouble = None
        waiting = self.long_polling.fields(self.deadline.remaining() - LAST_LOOK)
        try:
            result = yield from look(
                self.context, self.task_id, self.submission.credentials, self.deadline, self._report_trouble, waiting
            )
        except XaloraError as error:
            # The server asks to come back after the deadline: its own words say more than "timed out".
            if timing.is_transient(error) and retry_after(error) is None:
                raise self._timed_out(error) from error
            if not self._says_nothing(error):
                raise
            self.trouble = error
            return None
        self.garbage = 0
        self.result = result
        self._note(result)
        self._warn_of_unknown(result.status)
        return result

    def _says_nothing(self, error: XaloraError) -> bool:
        """Whether the wait goes on after this answer. The task is charged, and asking again is free."""
        if isinstance(error, ResponseError):
            self.garbage += 1
            return self.garbage < MOST_GARBAGE
        is_new = self.created is not None and self.context.clock() - self.created < timing.UNKNOWN_AT_FIRST
        return isinstance(error, NotFoundError) and is_new and self.result is None

    def _pause(self) -> Flow[None]:
        asked = self.result.retry_after if self.result else None
        hardly = self.long_polling.pause(self.deadline.remaining() - LAST_LOOK)
        delay = max(next(self.delays) if hardly is None else hardly, asked or 0.0)
        if not self.deadline.remaining():
            raise self._timed_out()
        yield from self._report(delay, trouble=self.trouble)
        remaining = self.deadline.remaining()
        # A pause that would end at the deadline or later ends a little before it: the task may be done by then.
        last = remaining - LAST_LOOK if remaining > LAST_LOOK else remaining
        yield Sleep(min(delay, last))

    def _report_trouble(self, error: XaloraError, delay: float) -> Flow[None]:
        self.long_polling.failed(error)
        yield from self._report(delay, trouble=error)

    def _report(self, next_poll: float, trouble: XaloraError | None = None) -> Flow[None]:
        if self.on_update is None:
            return
        update = TaskUpdate(
            task_id=self.task_id,
            # Every task starts as waiting. Nothing else is known before the first answer.
            status=self.result.status if self.result else TaskStatus.WAITING,
            elapsed=self.context.clock() - self.started,
            next_poll=min(next_poll, self.deadline.remaining()),
            result=self.result,
            **updates.trouble(trouble),
            origin=self.submission.origin,
            progress=self._progress(),
        )
        try:
            self.on_update(update)
        except XaloraError as stop:  # Raised by the observer, so it is an interruption too.
            yield from self._cancel(stop)
            raise

    def _progress(self) -> TaskProgress | None:
        if self.result is None or self.result.status != TaskStatus.RUNNING:
            return None
        if self.result.progress is not None or self.created is None:
            return self.result.progress
        return estimate(self.durations, self.context.clock() - self.created)

    def _cancel(self, stop: BaseException) -> Flow[None]:
        yield from cancel_interrupted(self.context, self.task_id, self.submission.credentials, stop)

    def _warn_of_unknown(self, status: str) -> None:
        if not isinstance(status, TaskStatus) and status not in self.unknown:
            self.unknown.add(status)
            logger.warning("Task %s has the unknown status %r; still waiting", self.task_id, status)

    def _timed_out(self, error: XaloraError | None = None) -> TaskTimeoutError:
        waited = self.context.clock() - self.started
        status = f"its status is {self.result.status}" if self.result else "its status is not known"
        trouble = f"; the last query failed: {error.what}" if error else ""
        return TaskTimeoutError(
            f"The task was not finished after {waited:.0f} s, {status}{trouble}",
            task_id=self.task_id,
            result=self.result,
        )


def _outcome(result: WorkflowTaskResult) -> WorkflowTaskResult:
    said = f": {result.message}" if result.message else ""
    if result.status == TaskStatus.FAILED:
        raise TaskFailedError(f"The task failed{said}", task_id=result.task_id, result=result)
    if result.status == TaskStatus.CANCELED:
        raise TaskCanceledError(f"The task was canceled{said}", task_id=result.task_id, result=result)
    return result
