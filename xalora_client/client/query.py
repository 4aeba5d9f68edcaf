"""Asking about a task, and canceling it: by request, or because its caller was interrupted.

An error of the SDK means that a call did not work. Anything else that ends a wait is an interruption: Ctrl-C, the
cancellation of an asyncio task, ComfyUI's Cancel. The caller no longer waits for the task, so it is canceled remotely
before the interruption goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import NotFoundError, XaloraError
from ..protocol import answers
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.requests import Credentials
from .portal import finish, interruption
from .session import CANCEL_TIMEOUT, Deadline, ReportRetry, Session, logger


async def query(session: Session, task_id: str) -> WorkflowTaskResult:
    """Ask for a task's status, with retries.

    For a finished task that the server has forgotten, the ledger's record is returned.
    """
    deadline = session.call_deadline()
    try:
        return await check(session, task_id, session.sequencer.credentials, deadline)
    except NotFoundError as error:
        return await remembered(session, task_id, error)


async def cancel(session: Session, task_id: str) -> str:
    """Cancel a task; returns the server's message."""
    credentials = session.sequencer.credentials
    request = session.sequencer.cancel(task_id, credentials)
    response = await session.ask(request, session.call_deadline())
    await _record_canceled(session, task_id, credentials)
    return answers.read_message(response, request)


async def check(
    session: Session,
    task_id: str,
    credentials: Credentials,
    deadline: Deadline,
    report: ReportRetry | None = None,
    waiting: Mapping[str, float] | None = None,
) -> WorkflowTaskResult:
    """Ask for a task's status until there is an answer, and record it in the ledger.

    ``waiting`` makes the first try a long poll, which is answered as soon as the task changes.
    """
    request = session.sequencer.query(task_id, credentials, **(waiting or {}))
    at_once = bool(waiting)

    def failed(error: XaloraError, delay: float) -> None:
        nonlocal at_once
        at_once = False
        if report is not None:
            report(error, delay)

    response = await session.ask(request, deadline, failed)
    result = answers.read_result(response, request, server=session.sequencer.url)
    await _record(session, task_id, result, at_once=at_once)
    return result


async def remembered(session: Session, task_id: str, error: NotFoundError) -> WorkflowTaskResult:
    """The ledger's record of a finished task that the server has forgotten. Without one, raises the server's error."""
    record = await session.with_ledger(lambda ledger: ledger.find(task_id))
    if record is None or record.state != TaskStatus.FINISHED:
        raise error
    return record.as_result()


async def cancel_interrupted(session: Session, task_id: str, credentials: Credentials, stop: BaseException) -> None:
    """Send one short cancel because of an interruption, if the client wants that. Its own failure is only logged."""
    # A coroutine that is being closed may not await.
    if not isinstance(stop, GeneratorExit) and session.should_cancel(interruption(stop)):
        # More interruptions may follow: a loop that is torn down cancels each task more than once.
        await finish(_cancel_once(session, task_id, credentials))


async def _cancel_once(session: Session, task_id: str, credentials: Credentials) -> None:
    try:
        await session.send(session.sequencer.cancel(task_id, credentials), CANCEL_TIMEOUT)
    except XaloraError as error:
        logger.warning("Task %s may still be running, because canceling it failed: %s", task_id, error)
        session.on_cancel(task_id, error)
    else:
        session.on_cancel(task_id, None)
        logger.info("Task %s was canceled after an interruption", task_id)
        await _record_canceled(session, task_id, credentials)


async def _record_canceled(session: Session, task_id: str, credentials: Credentials) -> None:
    """Record in the ledger how a cancel ended, and remove the task's images if that was its end.

    The server is asked, because the task may have finished just before, and its result is then charged.
    """
    record = await session.with_ledger(lambda ledger: ledger.find(task_id))
    removes = session.uploads is not None and session.uploads.removes
    if (record is None and not removes) or (record is not None and record.is_final):
        return
    request = session.sequencer.query(task_id, credentials)
    try:
        response = await session.send(request, CANCEL_TIMEOUT)
        result = answers.read_result(response, request, server=session.sequencer.url)
    except XaloraError as error:
        logger.info("The status of task %s after the cancel is not known: %s", task_id, error.what)
    else:
        await _record(session, task_id, result)
        if result.is_final:
            return
    await session.with_ledger(lambda ledger: ledger.canceled(task_id))


async def _record(session: Session, task_id: str, result: WorkflowTaskResult, *, at_once: bool = False) -> None:
    """Record an answer in the ledger. The first that shows the task's end is also the end of its images."""
    uploads = session.uploads
    if uploads is not None and uploads.removes and result.is_final:
        record = await session.with_ledger(lambda ledger: ledger.find(task_id))
        if record is None or not record.is_final:
            # Before it is recorded: if this run is killed in between, the next one finds the task open, and does it.
            job_id = session.job_ids.pop(task_id, None) if record is None else record.job_id
            if job_id is not None:
                await finish(uploads.remove(job_id, None if record is None else record.parameters))
    await session.with_ledger(lambda ledger: ledger.observed(task_id, result, at_once=at_once))
