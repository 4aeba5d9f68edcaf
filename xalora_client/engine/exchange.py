"""One request and its answer: retries, and the cancel that an interruption sends.

A driver throws failures *into* the flow, also Ctrl-C, task cancellation and ComfyUI's interrupt. An error of the SDK
means that a call did not work. Anything else is an interruption: the caller no longer waits for the task, so it is
canceled remotely before the interruption continues.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ..errors import APIStatusError, NotFoundError, RateLimitError, StorageError, XaloraError
from ..ledger import Claim, Ledger
from ..protocol import answers
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.requests import Credentials, Job, Request, Response, Sequencer
from ..uploads import Uploads
from . import timing
from .effects import Await, Call, Flow, Send, Sleep, T
from .timing import Deadline

logger = logging.getLogger("xalora_client")

OnTrouble = Callable[[XaloraError, float], Flow[None]]
"""Runs before a pause of so many seconds, after which a request is sent again because of the error."""


@dataclass(frozen=True)
class Context:
    """What every flow of one client shares.

    ``clock`` is monotonic, in seconds. ``cancels(interruption)`` says whether an interruption should cancel the
    remote task. ``server`` is the sequencer's lasting name. ``ledger`` is where tasks are recorded, or None; ``source``
    and ``place`` are recorded as the one who asked. ``images`` uploads inputs; None leaves them as they are. ``ahead``
    holds the jobs whose inputs were uploaded ahead of their create, by what was asked; ``jobs`` job ids by task id.
    ``on_cancel(task_id, error)`` is told how each cancel ended that an interruption sent: None means that the
    sequencer took it. Of a create that was interrupted, it is told the job id.
    """

    sequencer: Sequencer
    clock: Callable[[], float] = time.monotonic
    dice: random.Random = field(default_factory=random.Random)
    cancels: Callable[[BaseException], bool] = lambda _: True
    server: str = ""
    ledger: Ledger | None = None
    source: str = "library"
    place: object = None
    images: Uploads | None = None
    ahead: dict[object, list[tuple[Job, Claim | None]]] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    on_cancel: Callable[[str, XaloraError | None], object] = lambda _, __: None

    def deadline(self, seconds: float) -> Deadline:
        """The moment ``seconds`` from now. Raises ConfigurationError unless that is a positive number."""
        return Deadline.after(seconds, self.clock)


def query(context: Context, task_id: str) -> Flow[WorkflowTaskResult]:
    """Ask for a task's status, with retries.

    For a finished task that the server has forgotten, the ledger's record is returned.
    """
    deadline = context.deadline(timing.CALL_TIMEOUT)
    try:
        return (yield from look(context, task_id, context.sequencer.credentials, deadline))
    except NotFoundError as error:
        return (yield from remembered(context, task_id, error))


def cancel(context: Context, task_id: str) -> Flow[str]:
    """Cancel a task; returns the server's message."""
    credentials = context.sequencer.credentials
    request = context.sequencer.cancel(task_id, credentials)
    response = yield from answered(context, request, context.deadline(timing.CALL_TIMEOUT), timing.is_transient)
    yield from _note_canceled(context, task_id, credentials)
    return answers.read_message(response, request)


def request_resource(
    context: Context, consumer_id: str | None, workflow_id: str | None, task_type: str | None
) -> Flow[str]:
    """Ask for a miner; returns its id. Like a create, it is not sent again if the server may have acted on it."""
    request = context.sequencer.resource(consumer_id, workflow_id, task_type)
    deadline = context.deadline(timing.CALL_TIMEOUT)
    response = yield from answered(context, request, deadline, timing.is_unprocessed, settle=True)
    return answers.read_miner_id(response, request)


def look(
    context: Context,
    task_id: str,
    credentials: Credentials,
    deadline: Deadline,
    on_trouble: OnTrouble | None = None,
    waiting: Mapping[str, float] | None = None,
) -> Flow[WorkflowTaskResult]:
    """Ask for a task's status until there is an answer, and record it in the ledger.

    ``waiting`` makes the first try a long poll, which is answered as soon as the task changes.
    """
    request = context.sequencer.query(task_id, credentials, **(waiting or {}))
    at_once = bool(waiting)

    def trouble(error: XaloraError, delay: float) -> Flow[None]:
        nonlocal at_once
        at_once = False
        if on_trouble is not None:
            yield from on_trouble(error, delay)

    response = yield from answered(context, request, deadline, timing.is_transient, on_trouble=trouble)
    result = answers.read_result(response, request, server=context.sequencer.url)
    yield from _record(context, task_id, result, at_once=at_once)
    return result


def remembered(context: Context, task_id: str, error: NotFoundError) -> Flow[WorkflowTaskResult]:
    """The ledger's record of a finished task that the server has forgotten. Without one, raises the server's error."""
    entry = yield from with_ledger(context, lambda ledger: ledger.find(task_id))
    if entry is None or entry.state != TaskStatus.FINISHED:
        raise error
    return entry.as_result()


def answered(
    context: Context,
    request: Request,
    deadline: Deadline,
    may_repeat: Callable[[XaloraError], bool],
    *,
    settle: bool = False,
    on_trouble: OnTrouble | None = None,
) -> Flow[Response]:
    """Send until there is a 2xx answer, or a retry would be wrong or too late.

    ``on_trouble(error, delay)`` runs before each pause. With ``settle`` every try has its full minute: a create that is
    cut short could leave a task whose id is lost.
    """
    delays = timing.backoff_delays(context.dice)
    while True:
        yield from _paced(context.sequencer.url, deadline)
        longest = timing.QUERY_TIMEOUT + request.wait_seconds
        timeout = timing.REQUEST_TIMEOUT if settle else min(longest, deadline.remaining() or 0.001)
        try:
            response: Response = yield Send(request, timeout, settle)
            answers.check_status(response, request)
        except XaloraError as error:
            delay = max(next(delays), retry_after(error) or 0.0)
            if isinstance(error, RateLimitError):
                _slow_down(context.sequencer.url, context.clock, delay)
            if not may_repeat(error) or delay >= deadline.remaining():
                if request.task_id and not error.task_id:
                    raise error.derived(task_id=request.task_id) from error
                raise
            logger.info("%s: trying again in %.1f s: %s", request.url, delay, error.what)
            if on_trouble is not None:
                yield from on_trouble(error, delay)
            yield Sleep(delay)
            if not deadline.remaining():
                raise
            request = _at_once(request)
        else:
            return response


def _at_once(request: Request) -> Request:
    """The request without a wait: after trouble, the first question is whether there is an answer at all."""
    body = {name: value for name, value in request.body.items() if name not in ("wait_seconds", "after")}
    return replace(request, body=body) if request.wait_seconds else request


def retry_after(error: XaloraError) -> float | None:
    """The seconds the server asked to wait, or None."""
    return error.retry_after if isinstance(error, APIStatusError) else None


def cancel_interrupted(context: Context, task_id: str, credentials: Credentials, stop: BaseException) -> Flow[None]:
    """Send one short cancel because of an interruption; its own failure is only logged."""
    # A generator that is being closed may not yield, and its driver is gone.
    if isinstance(stop, GeneratorExit) or not context.cancels(stop):
        return
    request = context.sequencer.cancel(task_id, credentials)
    try:
        # Settled, because more interruptions may follow: a loop that is torn down cancels each task more than once.
        response: Response = yield Send(request, timing.CANCEL_TIMEOUT, settle=True)
        answers.check_status(response, request)
    except XaloraError as error:
        logger.warning("Task %s may still be running, because canceling it failed: %s", task_id, error)
        context.on_cancel(task_id, error)
    else:
        context.on_cancel(task_id, None)
        logger.info("Task %s was canceled after an interruption", task_id)
        yield from _note_canceled(context, task_id, credentials)


def _note_canceled(context: Context, task_id: str, credentials: Credentials) -> Flow[None]:
    """Record in the ledger how a cancel ended, and remove the task's images if that was its end.

    The server is asked, because the task may have finished just before, and its result is then charged.
    """
    entry = yield from with_ledger(context, lambda ledger: ledger.find(task_id))
    removes = context.images is not None and context.images.removes
    if (entry is None and not removes) or (entry is not None and entry.is_final):
        return
    request = context.sequencer.query(task_id, credentials)
    try:
        response: Response = yield Send(request, timing.CANCEL_TIMEOUT, settle=True)
        answers.check_status(response, request)
        result = answers.read_result(response, request, server=context.sequencer.url)
    except XaloraError as error:
        logger.info("The status of task %s after the cancel is not known: %s", task_id, error.what)
    else:
        yield from _record(context, task_id, result)
        if result.is_final:
            return
    yield from with_ledger(context, lambda ledger: ledger.canceled(task_id))


def _record(context: Context, task_id: str, result: WorkflowTaskResult, *, at_once: bool = False) -> Flow[None]:
    """Record an answer in the ledger. The first that shows the task's end is also the end of its images."""
    images = context.images
    if images is not None and images.removes and result.is_final:
        entry = yield from with_ledger(context, lambda ledger: ledger.find(task_id))
        if entry is None or not entry.is_final:
            # Before it is recorded: if this run is killed in between, the next one finds the task open, and does it.
            job_id = context.jobs.pop(task_id, None) if entry is None else entry.job_id
            parameters = None if entry is None else entry.parameters
            if job_id is not None:
                yield Await(lambda: images.remove(job_id, parameters), settle=True)
    yield from with_ledger(context, lambda ledger: ledger.observed(task_id, result, at_once=at_once))


def with_ledger(context: Context, work: Callable[[Ledger], T]) -> Flow[T | None]:
    """What ``work`` returns. None without a usable ledger: a task that is charged goes on without it."""
    ledger = context.ledger
    if ledger is None:
        return None
    try:
        answer: T = yield Call(lambda: work(ledger))
    except StorageError as error:
        logger.warning("%s", error)
        return None
    return answer


LONGEST_PAUSE = 120.0
"""The longest pause in seconds after one answer. A server that is still overloaded will say so again."""

# By server and clock: times of different clocks cannot be compared. The clock is kept, so that its id stays unique.
_pauses: dict[tuple[str, int], tuple[Callable[[], float], float]] = {}


def _slow_down(server: str, clock: Callable[[], float], seconds: float) -> None:
    """Send nothing to the server for so many seconds."""
    until = clock() + min(seconds, LONGEST_PAUSE)
    _, before = _pauses.get((server, id(clock)), (clock, until))
    _pauses[server, id(clock)] = clock, max(before, until)


def _paced(server: str, deadline: Deadline) -> Flow[None]:
    """Wait until the server may be asked again. Raises RateLimitError if that is after the deadline."""
    clock = deadline.clock
    while (known := _pauses.get((server, id(clock)))) is not None:
        pause = known[1] - clock()
        if pause <= 0:
            _pauses.pop((server, id(clock)), None)
        elif pause >= deadline.remaining():
            said = f"too many requests; it asked to wait for another {pause:.0f} s"
            raise RateLimitError(said, status_code=429, retry_after=pause)
        else:
            yield Sleep(pause)
