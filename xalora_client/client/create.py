"""From a task to its id: sent at most once for each intent, and with a ledger not at all if it was sent before."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace

from ..errors import (
    ConflictError,
    InvalidParameterError,
    NetworkError,
    NotFoundError,
    ResponseError,
    StorageError,
    XaloraError,
)
from ..http.retry import backoff, if_not_processed, retry
from ..ledger import Claim, Ledger, Step, TaskIdentity
from ..protocol.answers import TaskStatus, WorkflowTaskResult, read_created, read_miner_id
from ..protocol.parameters import Text
from ..protocol.requests import CreateRequest, Credentials
from ..protocol.tasks import WorkflowTask
from .claims import claim, new_create_request, record_unsent, take_ahead
from .portal import Unbreakable, finish, wait_until_done
from .query import cancel_interrupted, check
from .session import Deadline, ReportRetry, Session, in_thread, logger
from .updates import OnUpdate, TaskUpdate, error_fields

UNKNOWN_AT_FIRST = 30.0
"""Seconds after the create in which a server may not know the task yet: its parts may not learn of it at once."""

_TASK_TYPE = Text("the kind of task")


@dataclass(frozen=True)
class CreatedTask:
    """A task that exists at the sequencer, with its credentials.

    ``origin`` says where it comes from: "new", "resend" (sent again under its old job id), "attach" (created by an
    earlier run), "finished" (its result is known) or "given" (by its id). ``result`` is the last answer about it, or
    None. ``long_poll`` is what the create's answer announced: the revision, and the seconds that a query may wait.
    """

    task_id: str
    credentials: Credentials
    origin: str = Step.NEW.value
    result: WorkflowTaskResult | None = None
    long_poll: tuple[int, float] | None = None


async def execute(
    session: Session, task: WorkflowTask, on_update: OnUpdate | None = None, *, reuse: bool = True
) -> str:
    """Create the task; returns its id. With a ledger and ``reuse``, take up an existing one.

    ``on_update`` is called when the create has to be tried again, and once the task exists.
    """
    started = session.clock()
    deadline = session.call_deadline()
    created = await create(session, task, deadline, reuse=reuse, on_update=on_update)
    if on_update is not None:
        known = created.result
        status = known.status if known else TaskStatus.WAITING
        update = TaskUpdate(created.task_id, status, session.clock() - started, 0.0, known, origin=created.origin)
        try:
            on_update(update)
        except BaseException as stop:
            await cancel_interrupted(session, created.task_id, created.credentials, stop)
            raise
    return created.task_id


def _retries_to(on_update: OnUpdate | None, session: Session) -> ReportRetry | None:
    """Tells ``on_update`` that a create is tried again."""
    if on_update is None:
        return None
    started = session.clock()

    def report(error: XaloraError, delay: float) -> None:
        on_update(TaskUpdate("", "submitting", session.clock() - started, delay, **error_fields(error)))

    return report


async def create(
    session: Session, task: WorkflowTask, deadline: Deadline, *, reuse: bool, on_update: OnUpdate | None = None
) -> CreatedTask:
    """Create the task, or with a ledger take up an existing one with the same fingerprint.

    ``on_update`` is called before a create is sent again, and when it was interrupted and has become a task.

    Raises what a create raises, NotFoundError when the sequencer no longer knows the existing task, and
    StorageError when the ledger cannot be written; nothing was sent then.
    """
    _TASK_TYPE.check("task_type", task.task_type)  # A subclass of the user's may return anything.
    create_request, ledger = new_create_request(session, task), session.ledger
    if ledger is None:
        create_request, _ = take_ahead(session, id(task)) or (create_request, None)
        return await _send_claimed(session, None, create_request, deadline, on_update)
    identity: TaskIdentity = await in_thread(lambda: ledger.identity(create_request))
    ended: set[str] = set()
    while True:
        begun = session.clock()
        claimed = await claim(session, ledger, identity, create_request, reuse=reuse)
        deadline = replace(deadline, at=deadline.at + session.clock() - begun)
        if claimed.step in (Step.NEW, Step.RESENT):
            create_request = replace(create_request, job_id=claimed.record.job_id)
            return await _send_claimed(session, claimed, create_request, deadline, on_update)
        known = claimed.record.as_result()
        created = CreatedTask(known.task_id, create_request.credentials, claimed.step.value, known)
        if claimed.step is Step.REUSED:
            if claimed.record.sha256 is None:
                with suppress(XaloraError):  # Its media is still to be downloaded, and links expire.
                    known = await _check_earlier(session, ledger, claimed, created, deadline) or known
            return replace(created, result=known)
        result = await _check_earlier(session, ledger, claimed, created, deadline)
        failed = result is not None and result.is_final and result.status != TaskStatus.FINISHED
        if failed and created.task_id not in ended:
            ended.add(created.task_id)
            continue  # It ended while no run watched. The ledger knows now, so the next claim is a new task.
        return replace(created, result=result)


async def _check_earlier(
    session: Session, ledger: Ledger, claim: Claim, created: CreatedTask, deadline: Deadline
) -> WorkflowTaskResult | None:
    """The status of a task from an earlier run; None when the server cannot be asked at the moment."""
    task_id, credentials = created.task_id, created.credentials
    try:
        return await check(session, task_id, credentials, deadline)
    except NotFoundError as error:
        submitted = claim.record.submitted
        if submitted is not None and ledger.clock() - submitted < UNKNOWN_AT_FIRST:
            return None
        raise unknown_to_server(error, task_id) from error
    except XaloraError as error:
        if error.transient or isinstance(error, ResponseError):
            return None
        raise
    except BaseException as stop:
        await cancel_interrupted(session, task_id, credentials, stop)
        raise


def unknown_to_server(error: NotFoundError, task_id: str) -> NotFoundError:
    """The error for a task of an earlier run that the server no longer knows."""
    params = {"task_id": task_id, "message": error.message}
    return error.derived(what=None, code="task_unknown_to_server", params=params, remedy=None)


async def _send_claimed(
    session: Session,
    claimed: Claim | None,
    create_request: CreateRequest,
    deadline: Deadline,
    on_update: OnUpdate | None,
) -> CreatedTask:
    """Upload the inputs, send the create that was claimed, and record the outcome."""
    resent = claimed is not None and claimed.step is Step.RESENT
    if session.uploads is not None:
        begun = session.clock()
        try:
            create_request = replace(
                create_request, details=await session.uploads.with_addresses(create_request, resent=resent)
            )
        except GeneratorExit:  # A coroutine that is being closed may not await.
            raise
        except BaseException as error:
            await record_unsent(session, [(create_request, claimed)], error)
            raise
        # The time that takes is not counted: a create may then be retried.
        deadline = replace(deadline, at=deadline.at + session.clock() - begun)
    try:
        created = await _send(session, create_request, deadline, on_update, claimed)
    except XaloraError as error:
        if resent and isinstance(error, ConflictError):
            job_id = create_request.job_id
            what = f"The server has job {job_id} of an earlier run, but gives no task id for it: {error.what}"
            error = error.derived(what=what, code="job_without_task", params={"job_id": job_id})
        await _record_failure(session, create_request, claimed, error)
        raise error from error.__cause__
    return created if claimed is None else replace(created, origin=claimed.step.value)


async def _record_failure(
    session: Session, create_request: CreateRequest, claimed: Claim | None, error: XaloraError
) -> None:
    if error.sent == "no" and (claimed is None or claimed.step is Step.NEW):
        await record_unsent(session, [(create_request, claimed)], error)
    elif claimed is not None:
        await session.with_ledger(lambda ledger: ledger.unconfirmed(claimed, error.what))


async def _send(
    session: Session, create_request: CreateRequest, deadline: Deadline, on_update: OnUpdate | None, claim: Claim | None
) -> CreatedTask:
    """Send one intent under one job id, and never again once the server may have accepted it."""
    request = session.sequencer.create(create_request)
    try:
        request.content()  # Its details too.
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParameterError(
            "task_details", create_request.task.task_details, "JSON values with texts as names"
        ) from error
    sending: asyncio.Task[CreatedTask] | None = None

    async def send_and_record() -> CreatedTask:
        response = await session.send(request)
        task_id, long_poll = read_created(response, request)
        logger.info("task_create %s: task %s, job %s", response.status, task_id, create_request.job_id)
        if session.uploads is not None and session.uploads.removes:
            session.job_ids[task_id] = create_request.job_id
        if claim is not None and (ledger := session.ledger) is not None:
            try:
                await asyncio.to_thread(ledger.created, claim, task_id)
            except StorageError as error:
                logger.error("%s", error)  # The task exists and is charged: waiting for it matters more.
        return CreatedTask(task_id, create_request.credentials, long_poll=long_poll)

    async def attempt() -> CreatedTask:
        nonlocal sending
        await session.pace(deadline)
        sending = Unbreakable(send_and_record())
        return await asyncio.shield(sending)

    try:
        return await retry(
            attempt,
            may_repeat=if_not_processed,
            remaining=deadline.remaining,
            delays=backoff(session.rng),
            sleep=session.sleep,
            report=_retries_to(on_update, session),
        )
    except XaloraError as error:
        if error.sent == "no":
            raise
        raise error.derived(
            what=f"{error.what.rstrip('.')}, while creating job {create_request.job_id}",
            code="create_unconfirmed" if claim else "create_unconfirmed_without_ledger",
            remedy="retry" if claim else None,
        ) from error
    except GeneratorExit:  # A coroutine that is being closed may not await.
        raise
    except BaseException as stop:
        await _stopped(session, create_request, claim, sending, stop, on_update)
        raise


async def _stopped(
    session: Session,
    create_request: CreateRequest,
    claim: Claim | None,
    sending: asyncio.Task[CreatedTask] | None,
    stop: BaseException,
    on_update: OnUpdate | None,
) -> None:
    """After an interruption: find out how the create in flight ends, and cancel the task if there is one.

    For example, Cancel is pressed 0.1 s after a create was sent, and the answer needs 0.5 s:

    * 0.0 s: ``sending`` sends the create, and will write the task's id into the ledger.
    * 0.1 s: ``CancelledError`` is raised where ``attempt`` waits for it. ``sending`` itself goes on.
    * 0.5 s: the answer is there, and the id is written down. Only then ``wait_until_done`` returns.
    * The task is canceled remotely, and then the interruption goes on.
    """
    if sending is not None:
        was_in_flight = not sending.done()
        await wait_until_done(sending)
        error = None if sending.cancelled() else sending.exception()
        if not sending.cancelled() and error is None:
            created = sending.result()
            if on_update is not None:
                with suppress(BaseException):  # It is told of the task; what it says to that comes too late.
                    on_update(TaskUpdate(created.task_id, TaskStatus.WAITING, 0.0, 0.0))
            await cancel_interrupted(session, created.task_id, created.credentials, stop)
            return
        if was_in_flight and isinstance(error, XaloraError):
            await finish(_record_failure(session, create_request, claim, error))
            return
    logger.warning(
        "Interrupted while creating job %s, which may run; %s",
        create_request.job_id,
        "see your account" if claim is None else "run the same task again to take it up",
    )
    if claim is not None:
        claim.release()  # It may have arrived: the next run sends it again under its job id.
        session.on_cancel(create_request.job_id, NetworkError("It is not known whether the task was created"))


async def request_resource(
    session: Session, consumer_id: str | None, workflow_id: str | None, task_type: str | None
) -> str:
    """Ask for a miner; returns its id. Like a create, it is not sent again if the server may have acted on it."""
    request = session.sequencer.resource(consumer_id, workflow_id, task_type)
    deadline = session.call_deadline()

    async def attempt() -> str:
        await session.pace(deadline)
        return read_miner_id(await finish(session.send(request)), request)

    return await retry(
        attempt,
        may_repeat=if_not_processed,
        remaining=deadline.remaining,
        delays=backoff(session.rng),
        sleep=session.sleep,
    )
