"""What the client does, as generators that do no I/O: they yield effects, and a driver carries them out."""

from __future__ import annotations

from ..errors import NotFoundError
from ..protocol import wire
from ..protocol.results import TaskStatus, WorkflowTaskResult
from ..protocol.tasks import WorkflowTask
from . import polling, retrying
from .effects import Flow, Sleep
from .exchange import Context, answered, cancel_interrupted, with_ledger
from .retrying import Deadline
from .submission import submit
from .waiting import OnUpdate, Wait


def execute(context: Context, task: WorkflowTask, *, reuse: bool = True) -> Flow[str]:
    """Create the task; returns its id. With a ledger and ``reuse``, take up the one there is."""
    deadline = Deadline.after(retrying.CALL_TIMEOUT, context.clock)
    submission = yield from submit(context, task, deadline, reuse=reuse)
    try:
        yield Sleep(0)  # An interruption held back while the create was in flight lands here.
    except BaseException as stop:
        sequencer = context.sequencer
        request = sequencer.cancel(submission.task_id, sequencer.credentials_of(task))
        yield from cancel_interrupted(context, request, stop)
        raise
    return submission.task_id


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
    polling.poll_delays(interval, context.dice)  # A bad interval is refused before anything is paid for.
    deadline = Deadline.after(timeout, context.clock)
    creating = Deadline.after(min(timeout, retrying.CALL_TIMEOUT), context.clock)
    submission = yield from submit(context, task, creating, reuse=reuse)
    waiting = Wait(
        context,
        submission.task_id,
        deadline,
        interval,
        on_update,
        credentials=context.sequencer.credentials_of(task),
        origin=submission.origin,
        result=submission.result,
    )
    return (yield from waiting.run())


def wait(
    context: Context, task_id: str, timeout: float, interval: float | None, on_update: OnUpdate | None
) -> Flow[WorkflowTaskResult]:
    """Wait for a task that was created before."""
    deadline = Deadline.after(timeout, context.clock)
    waiting = Wait(context, task_id, deadline, interval, on_update, origin="attach")
    try:
        return (yield from waiting.run())
    except NotFoundError as error:
        return (yield from _remembered(context, task_id, error))


def query(context: Context, task_id: str) -> Flow[WorkflowTaskResult]:
    """Ask once how a task stands, trying again where that may help."""
    request = context.sequencer.query(task_id)
    deadline = Deadline.after(retrying.CALL_TIMEOUT, context.clock)
    try:
        response = yield from answered(context, request, deadline, retrying.is_transient)
    except NotFoundError as error:
        return (yield from _remembered(context, task_id, error))
    result = wire.read_result(response, request, server=context.sequencer.url)
    yield from with_ledger(context, lambda ledger: ledger.observed(task_id, result, server=context.server))
    return result


def cancel(context: Context, task_id: str) -> Flow[str]:
    """Cancel a task; returns the server's message."""
    request = context.sequencer.cancel(task_id)
    deadline = Deadline.after(retrying.CALL_TIMEOUT, context.clock)
    response = yield from answered(context, request, deadline, retrying.is_transient)
    return wire.read_message(response, request)


def request_resource(
    context: Context, consumer_id: str | None, workflow_id: str | None, task_type: str | None
) -> Flow[str]:
    """Ask for a miner; returns its id. Like a create, it is not repeated where the server may have acted."""
    request = context.sequencer.resource(consumer_id, workflow_id, task_type)
    deadline = Deadline.after(retrying.CALL_TIMEOUT, context.clock)
    response = yield from answered(context, request, deadline, retrying.is_unprocessed)
    return wire.read_miner_id(response, request)


def _remembered(context: Context, task_id: str, error: NotFoundError) -> Flow[WorkflowTaskResult]:
    """What the ledger knows of a finished task that the server has forgotten; else the server's error."""
    entry = yield from with_ledger(context, lambda ledger: ledger.find(task_id, server=context.server))
    if entry is None or entry.state != TaskStatus.FINISHED:
        raise error
    return entry.as_result()
