"""Waiting for one task: when to ask, what to report, how it can end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import NotFoundError, ResponseError, TaskCanceledError, TaskFailedError, TaskTimeoutError, XaloraError
from ..ledger import Ledger, Step
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.tasks import WorkflowTask
from . import timing
from .effects import Flow, Sleep
from .exchange import Context, cancel_interrupted, logger, look, remembered, retry_after, with_ledger
from .submission import Submission, explain_forgotten, submit
from .timing import Deadline

MOST_GARBAGE = 5
"""Answers in a row outside the protocol that end a wait. A single one may come from a proxy or a restart."""

LAST_LOOK = 1.0
"""Seconds before the deadline of the last query."""


@dataclass(frozen=True)
class TaskUpdate:
    """The state of a task that a call waits for.

    Attributes:
        task_id: The task's id.
        status: A TaskStatus, or the server's own word.
        elapsed: Seconds since the wait began.
        next_poll: Seconds from now to the next query.
        result: The server's last answer. None before the first.
        trouble: What went wrong with the last query. None when it was answered.
        origin: Where the task comes from: "new", "resend" (sent again under its job id after a break), "attach"
            (created before this call) or "finished" (its result was known already and is not charged again).
    """

    task_id: str
    status: str
    elapsed: float
    next_poll: float
    result: WorkflowTaskResult | None = None
    trouble: str | None = None
    origin: str = "new"

    def describe(self, elapsed: float | None = None) -> str:
        """Describe the update in a few words.

        Args:
            elapsed: Seconds to show in place of the update's own.

        Returns:
            For example "running 0:48".
        """
        minutes, seconds = divmod(int(self.elapsed if elapsed is None else elapsed), 60)
        word = "queued" if self.status == TaskStatus.WAITING else str(self.status)
        more = f" (asking again: {self.trouble})" if self.trouble else _ORIGINS.get(self.origin, "")
        return f"{word} {minutes}:{seconds:02d}{more}"


_ORIGINS = {
    "attach": " · taken up from an earlier run",
    "finished": " · reused, no charge",
    "resend": " · sent again under its job id after a break",
}

OnUpdate = Callable[[TaskUpdate], object]


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
    submission = yield from submit(context, task, context.deadline(min(timeout, timing.CALL_TIMEOUT)), reuse=reuse)
    try:
        return (yield from Wait(context, submission, deadline, interval, on_update).run())
    except NotFoundError as error:
        if submission.origin == Step.ATTACH:
            explain_forgotten(error, submission.task_id)
        raise


def wait(
    context: Context, task_id: str, timeout: float, interval: float | None, on_update: OnUpdate | None
) -> Flow[WorkflowTaskResult]:
    """Wait for a task that was created before."""
    submission = Submission(task_id, context.sequencer.credentials, "attach")
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
        self.created = None if submission.origin == "attach" else self.started
        self.delays = timing.poll_delays(interval, context.dice)
        self.trouble: str | None = None
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
            if self.submission.origin != "attach" or self.result is not None:
                yield from self._pause()
            while True:
                result = yield from self._query()
                if result is not None and result.is_final:
                    return _outcome(result)
                yield from self._pause()
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
        if self.interval is None:
            durations = ledger.durations(entry.task_type, entry.workflow_id)
            self.delays = timing.learned_delays(durations, lambda: self.context.clock() - created, self.context.dice)

    def _query(self) -> Flow[WorkflowTaskResult | None]:
        """Ask for the task's status. None after an answer that says nothing; ``trouble`` then says why."""
        if not self.deadline.remaining():
            raise self._timed_out()
        self.trouble = None
        try:
            result = yield from look(
                self.context, self.task_id, self.submission.credentials, self.deadline, self._report_trouble
            )
        except XaloraError as error:
            # The server asks to come back after the deadline: its own words say more than "timed out".
            if timing.is_transient(error) and retry_after(error) is None:
                raise self._timed_out(error) from error
            if not self._says_nothing(error):
                raise
            self.trouble = error.what
            return None
        self.garbage = 0
        self.result = result
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
        delay = max(next(self.delays), asked or 0.0)
        if not self.deadline.remaining():
            raise self._timed_out()
        yield from self._report(delay, trouble=self.trouble)
        remaining = self.deadline.remaining()
        # A pause that would end at the deadline or later ends a little before it: the task may be done by then.
        last = remaining - LAST_LOOK if remaining > LAST_LOOK else remaining
        yield Sleep(min(delay, last))

    def _report_trouble(self, error: XaloraError, delay: float) -> Flow[None]:
        yield from self._report(delay, trouble=error.what)

    def _report(self, next_poll: float, trouble: str | None = None) -> Flow[None]:
        if self.on_update is None:
            return
        update = TaskUpdate(
            task_id=self.task_id,
            # Every task starts as waiting. Nothing else is known before the first answer.
            status=self.result.status if self.result else TaskStatus.WAITING,
            elapsed=self.context.clock() - self.started,
            next_poll=min(next_poll, self.deadline.remaining()),
            result=self.result,
            trouble=trouble,
            origin=self.submission.origin,
        )
        try:
            self.on_update(update)
        except XaloraError as stop:  # Raised by the observer, so it is an interruption too.
            yield from self._cancel(stop)
            raise

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
