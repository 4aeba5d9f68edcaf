"""What the client does, as generators that do no I/O: they yield effects, and a driver carries them out."""

from __future__ import annotations

import secrets

from . import policy, wire
from .effects import Flow, Sleep
from .errors import XaloraError
from .exchange import Context, answered, cancel_interrupted, logger
from .policy import Deadline
from .results import WorkflowTaskResult
from .tasks import WorkflowTask
from .waiting import OnUpdate, Wait


def new_job_id(task: WorkflowTask) -> str:
    """``{job_id_prefix or "sdk-workflow"}-{10 hex digits}``, as the reference client writes it."""
    return f"{task.job_id_prefix or 'sdk-workflow'}-{secrets.token_hex(5)}"


def execute(context: Context, task: WorkflowTask) -> Flow[str]:
    """Create the task; returns its id."""
    task_id = yield from _create(context, task, Deadline.after(policy.CALL_TIMEOUT, context.clock))
    try:
        yield Sleep(0)  # An interruption held back while the create was in flight lands here.
    except BaseException as stop:
        sequencer = context.sequencer
        request = sequencer.cancel(task_id, sequencer.credentials_of(task))
        yield from cancel_interrupted(context, request, stop)
        raise
    return task_id


def execute_and_wait(
    context: Context, task: WorkflowTask, timeout: float, interval: float | None, on_update: OnUpdate | None
) -> Flow[WorkflowTaskResult]:
    """Create the task and wait for its result. The deadline counts from the start of the create."""
    policy.poll_delays(interval, context.dice)  # A bad interval is refused before anything is paid for.
    deadline = Deadline.after(timeout, context.clock)
    task_id = yield from _create(context, task, deadline)
    credentials = context.sequencer.credentials_of(task)
    waiting = Wait(context, task_id, deadline, interval, on_update, credentials)
    return (yield from waiting.run(just_created=True))


def wait(
    context: Context, task_id: str, timeout: float, interval: float | None, on_update: OnUpdate | None
) -> Flow[WorkflowTaskResult]:
    """Wait for a task that was created before."""
    waiting = Wait(context, task_id, Deadline.after(timeout, context.clock), interval, on_update)
    return (yield from waiting.run(just_created=False))


def query(context: Context, task_id: str) -> Flow[WorkflowTaskResult]:
    """Ask once how a task stands, trying again where that may help."""
    request = context.sequencer.query(task_id)
    deadline = Deadline.after(policy.CALL_TIMEOUT, context.clock)
    response = yield from answered(context, request, deadline, policy.is_transient)
    return wire.read_result(response, request, server=context.sequencer.url)


def cancel(context: Context, task_id: str) -> Flow[str]:
    """Cancel a task; returns the server's message."""
    request = context.sequencer.cancel(task_id)
    deadline = Deadline.after(policy.CALL_TIMEOUT, context.clock)
    response = yield from answered(context, request, deadline, policy.is_transient)
    return wire.read_message(response, request)


def request_resource(
    context: Context, consumer_id: str | None, workflow_id: str | None, task_type: str | None
) -> Flow[str]:
    """Ask for a miner; returns its id. Like a create, it is not repeated where the server may have acted."""
    request = context.sequencer.resource(consumer_id, workflow_id, task_type)
    deadline = Deadline.after(policy.CALL_TIMEOUT, context.clock)
    response = yield from answered(context, request, deadline, policy.is_unprocessed)
    return wire.read_miner_id(response, request)


def _create(context: Context, task: WorkflowTask, deadline: Deadline) -> Flow[str]:
    """Send one intent, always under one job id, and never again once the server may have taken it."""
    job_id = new_job_id(task)
    request = context.sequencer.create(task, job_id)
    try:
        response = yield from answered(context, request, deadline, policy.is_unprocessed, settle=True)
    except XaloraError as error:
        if policy.is_transient(error) and not policy.is_unprocessed(error):
            error.what = f"{error.what.rstrip('.')}, while creating job {job_id}"
            error.advice = (
                "The task may have been created and is not sent again by itself: "
                "look for the job in your account before submitting it anew."
            )
        raise
    task_id = wire.read_task_id(response, request)
    logger.info("task_create %s: task %s, job %s", response.status, task_id, job_id)
    return task_id
