"""Creating a task: never sent again once the server may have it, and with a ledger not at all if it was sent before.

The exclusive right to create a task is claimed before anything is uploaded or sent, and released when that fails.
``_send`` has the critical section: an interruption does not stop a create in flight.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace

from ..errors import (
    ConfigurationError,
    ConflictError,
    InvalidParameterError,
    NetworkError,
    NotFoundError,
    ResponseError,
    StorageError,
    XaloraError,
)
from ..http.retry import if_not_processed
from ..ledger import Claim, Ledger, Step, TaskIdentity
from ..protocol.answers import TaskStatus, WorkflowTaskResult, read_created, read_miner_id
from ..protocol.parameters import Text
from ..protocol.requests import CreateRequest, Credentials
from ..protocol.tasks import WorkflowTask
from ..uploads import OnUpload
from .available import check_available
from .portal import Unbreakable, finish, wait_until_done
from .session import Deadline, PendingCreate, ReportRetry, Session, cancel_interrupted, check, in_thread, logger
from .updates import OnUpdate, TaskUpdate, error_fields
from .waiters import Waiter

UNKNOWN_AT_FIRST = 30.0
"""Seconds after the create in which a server may not know the task yet: its parts may not learn of it at once."""

SECONDS_BETWEEN_CLAIMS = 0.2
SECONDS_BETWEEN_CLAIMS_AHEAD = 1.0

LONGEST_WAIT_FOR_OTHER_RUN = 600.0
"""Seconds to wait while another run uploads or sends the same task."""

_TASK_TYPE, _JOB_ID = Text("the kind of task"), Text("the task's own name")


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
    session: Session,
    task: WorkflowTask,
    on_update: OnUpdate | None = None,
    *,
    reuse: bool = True,
    job_id: str | None = None,
) -> str:
    """Create the task; returns its id. With a ledger and ``reuse``, an existing task is used instead.

    A ``job_id`` of the caller's own stands for one task: with a ledger it is created once, whatever becomes of it.
    ``on_update`` is called when the create has to be tried again, and once the task exists.
    """
    started = session.clock()
    with Waiter(session.name) as waiter:
        created = await create(
            session, task, session.call_deadline(), waiter, reuse=reuse, on_update=on_update, job_id=job_id
        )
        if on_update is not None:
            known = created.result
            status = known.status if known else TaskStatus.WAITING
            update = TaskUpdate(created.task_id, status, session.clock() - started, 0.0, known, origin=created.origin)
            try:
                on_update(update)
            except BaseException as stop:
                await cancel_interrupted(session, waiter, created.task_id, created.credentials, stop)
                raise
        return created.task_id


async def create(
    session: Session,
    task: WorkflowTask,
    deadline: Deadline,
    waiter: Waiter,
    *,
    reuse: bool,
    on_update: OnUpdate | None = None,
    job_id: str | None = None,
) -> CreatedTask:
    """Create the task, or with a ledger and ``reuse`` find an existing one with the same fingerprint.

    ``on_update`` is called before a create is sent again, and when it was interrupted and has become a task.

    Raises what a create raises, NotFoundError when the sequencer no longer knows the existing task, and
    StorageError when the ledger cannot be written; nothing was sent then.
    """
    request, ledger = _new_request(session, task, job_id), session.ledger
    _TASK_TYPE.check("task_type", task.task_type)  # A subclass of the user's may return anything.
    if ledger is None:
        pending = _take_uploaded(session, id(task)) or PendingCreate(request)
        return await _upload_and_send(session, pending, deadline, waiter, on_update)
    identity = await in_thread(ledger.identity, request)
    ended: set[str] = set()
    while True:
        begun = session.clock()
        if reuse:
            waiter.waits_for(identity.fingerprints[0])
        claim = await _claim(session, ledger, identity, request, reuse=reuse, is_own=job_id is not None)
        deadline = deadline.excluding_time_since(begun)
        if claim.may_send:
            return await _upload_and_send(session, _pending(request, identity, claim), deadline, waiter, on_update)
        known = claim.record.as_result()
        created = CreatedTask(known.task_id, request.credentials, claim.step.value, known)
        if claim.step is Step.REUSED:
            if None in (claim.record.media, *claim.record.more_media):
                with suppress(XaloraError):  # Its media is still to be downloaded, and links expire.
                    known = await _check_earlier(session, ledger, claim, created, deadline, waiter, on_update) or known
            return replace(created, result=known)
        result = await _check_earlier(session, ledger, claim, created, deadline, waiter, on_update)
        failed = result is not None and result.is_final and result.status != TaskStatus.FINISHED
        if failed and created.task_id not in ended:
            ended.add(created.task_id)
            continue  # It ended while no run watched. The ledger knows now, so the next claim is a new task.
        return replace(created, result=result)


async def upload_ahead(
    session: Session, task: WorkflowTask, on_upload: OnUpload | None = None, *, reuse: bool = True
) -> None:
    """Claim the task and upload its inputs, unless there is a task for it already. The create then uses the claim.

    While another run has the claim, this waits without an upload slot.
    """
    uploads, ledger = session.uploads, session.ledger
    if uploads is None:
        return
    request = _new_request(session, task)
    pending: PendingCreate | None = None
    is_busy = False

    async def claim_now() -> tuple[CreateRequest, bool] | None:
        nonlocal pending, is_busy
        if ledger is None:
            pending = PendingCreate(request, key=id(task))
        else:
            identity = await asyncio.to_thread(ledger.identity, request)
            if reuse and any(other.key == identity.fingerprints[0] for other in session.uploaded_ahead):
                return None
            claim = await _claim_once(session, ledger, identity, request, reuse)
            is_busy = claim.step is Step.IN_PROGRESS
            pending = _pending(request, identity, claim) if claim.may_send else None
        if pending is not None and pending.is_new:
            await check_available(session, task)
        return None if pending is None else (pending.request, not pending.is_new)

    deadline = session.deadline(LONGEST_WAIT_FOR_OTHER_RUN)
    while True:
        is_busy = False
        try:
            await uploads.upload_ahead(task, claim_now, on_upload)
        except BaseException as error:
            if pending is not None:
                await _close_without_task(session, [pending], error)
            raise
        if not is_busy:
            break
        await _wait_for_other(session, deadline, SECONDS_BETWEEN_CLAIMS_AHEAD)
    if pending is not None:
        session.uploaded_ahead.append(pending)


async def discard_ahead(session: Session) -> None:
    """Release the claims whose creates were never asked for, and remove what was uploaded for them."""
    unsent, session.uploaded_ahead = session.uploaded_ahead, []
    await _close_without_task(session, unsent, None)


async def request_resource(
    session: Session, consumer_id: str | None, workflow_id: str | None, task_type: str | None
) -> str:
    """Ask for a miner; returns its id. Like a create, it is not sent again if the server may have acted on it."""
    request = session.sequencer.resource(consumer_id, workflow_id, task_type)

    async def attempt() -> str:
        return read_miner_id(await finish(session.send(request)), request)

    return await session.retry(request, attempt, session.call_deadline(), if_not_processed)


def unknown_to_server(error: NotFoundError, task_id: str) -> NotFoundError:
    """The error for a task of an earlier run that the server no longer knows."""
    params = {"task_id": task_id, "message": error.message}
    return error.derived(what=None, code="task_unknown_to_server", params=params, remedy=None)


def _new_request(session: Session, task: WorkflowTask, job_id: str | None = None) -> CreateRequest:
    """The create of a task. Unless one is given, its job id is ``{job_id_prefix or "sdk-workflow"}-{10 hex digits}``.

    That is the reference client's form.
    """
    if not isinstance(task, WorkflowTask):
        raise InvalidParameterError("task", task, "a WorkflowTask, such as Text2VideoTask(prompt)")
    if job_id is None:
        job_id = f"{task.job_id_prefix or 'sdk-workflow'}-{secrets.token_hex(5)}"
    _JOB_ID.check("job_id", job_id)
    return CreateRequest(task, session.sequencer.credentials_of(task), job_id)


def _pending(request: CreateRequest, identity: TaskIdentity, claim: Claim) -> PendingCreate:
    """The create that a claim allows. One that may have been sent before is sent as it was, under its job id."""
    task, record = request.task, claim.record
    if record.fingerprint == identity.also:
        task = copy(task)
        task.workflow_id = record.workflow_id
    return PendingCreate(replace(request, task=task, job_id=record.job_id), claim, identity.fingerprints[0])


def _take_uploaded(session: Session, key: object) -> PendingCreate | None:
    """A create whose inputs were uploaded ahead, to be sent now."""
    pending = next((other for other in session.uploaded_ahead if other.key == key), None)
    if pending is not None:
        session.uploaded_ahead.remove(pending)
    return pending


async def _claim(
    session: Session, ledger: Ledger, identity: TaskIdentity, request: CreateRequest, *, reuse: bool, is_own: bool
) -> Claim:
    """Ask the ledger until no other run is uploading or sending the same task."""
    deadline = session.deadline(LONGEST_WAIT_FOR_OTHER_RUN)
    while True:
        uploaded = _take_uploaded(session, identity.fingerprints[0])
        if uploaded is not None and uploaded.claim is not None:
            return uploaded.claim
        claim = await _claim_once(session, ledger, identity, request, reuse, is_own)
        if claim.step is not Step.IN_PROGRESS:
            return claim
        await _wait_for_other(session, deadline, SECONDS_BETWEEN_CLAIMS)


async def _claim_once(
    session: Session,
    ledger: Ledger,
    identity: TaskIdentity,
    request: CreateRequest,
    reuse: bool,
    is_own: bool = False,
) -> Claim:
    """Ask the ledger. An interruption meanwhile gives the claim up again."""
    claims: list[Claim] = []

    def claim() -> None:
        source, caller = session.options.source, session.options.caller
        claims.append(ledger.claim(identity, request.job_id, reuse=reuse, source=source, caller=caller, is_own=is_own))

    try:
        await in_thread(claim)
    except BaseException as error:
        await _close_without_task(
            session, [_pending(request, identity, made) for made in claims if made.may_send], error
        )
        raise
    return claims[0]


async def _wait_for_other(session: Session, deadline: Deadline, pause: float) -> None:
    """Give another run that has the claim some time. Raises ConfigurationError at the deadline."""
    if not deadline.remaining():
        raise ConfigurationError(code="submitted_elsewhere")
    await session.sleep(pause)


async def _check_earlier(
    session: Session,
    ledger: Ledger,
    claim: Claim,
    created: CreatedTask,
    deadline: Deadline,
    waiter: Waiter,
    on_update: OnUpdate | None,
) -> WorkflowTaskResult | None:
    """The status of a task from an earlier run; None when the server cannot be asked at the moment."""
    task_id, credentials = created.task_id, created.credentials
    waiter.waits_for(task_id)
    report = _reporting(session, on_update, task_id, TaskStatus.WAITING, created.origin)
    try:
        return await check(session, task_id, credentials, deadline, report)
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
        await cancel_interrupted(session, waiter, task_id, credentials, stop)
        raise


def _reporting(
    session: Session, on_update: OnUpdate | None, task_id: str, status: str, origin: str
) -> ReportRetry | None:
    """A function that reports failed requests before there is a wait."""
    if on_update is None:
        return None
    started = session.clock()

    def report(error: XaloraError, delay: float) -> None:
        elapsed = session.clock() - started
        on_update(TaskUpdate(task_id, status, elapsed, delay, origin=origin, **error_fields(error)))

    return report


async def _upload_and_send(
    session: Session, pending: PendingCreate, deadline: Deadline, waiter: Waiter, on_update: OnUpdate | None
) -> CreatedTask:
    """Upload the inputs, unless that was done ahead, and send the create."""
    begun = session.clock()
    try:
        if pending.is_new:
            await check_available(session, pending.request.task)
        if session.uploads is not None:
            details = await session.uploads.with_addresses(pending.request, resent=not pending.is_new)
            pending = replace(pending, request=replace(pending.request, details=details))
    except BaseException as error:
        await _close_without_task(session, [pending], error)
        raise
    deadline = deadline.excluding_time_since(begun)  # A create may be retried for as long after a slow upload.
    return await _send(session, pending, deadline, waiter, on_update)


async def _send(
    session: Session, pending: PendingCreate, deadline: Deadline, waiter: Waiter, on_update: OnUpdate | None
) -> CreatedTask:
    """Send the create under its job id, and never again once the server may have accepted it. Record the outcome."""
    create_request, claim = pending.request, pending.claim
    request = session.sequencer.create(create_request)
    origin = (Step.NEW if pending.is_new else Step.RESENT).value
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
        return CreatedTask(task_id, create_request.credentials, origin, long_poll=long_poll)

    async def attempt() -> CreatedTask:
        nonlocal sending
        # The critical section: an interruption is raised here, but the task sends on and writes the id down.
        sending = Unbreakable(send_and_record())
        return await asyncio.shield(sending)

    report = _reporting(session, on_update, "", "submitting", origin)
    try:
        try:
            request.content()  # The details may be anything.
        except (TypeError, ValueError, RecursionError) as error:
            details = create_request.task.task_details
            raise InvalidParameterError("task_details", details, "JSON values with texts as names") from error
        return await session.retry(request, attempt, deadline, if_not_processed, report)
    except XaloraError as error:
        if error.sent == "no":
            await _close_without_task(session, [pending], error)
            raise
        unconfirmed = _unconfirmed(pending, error)
        await _close_without_task(session, [pending], unconfirmed)
        raise unconfirmed from error
    except BaseException as stop:
        await _stopped(session, pending, sending, stop, waiter, on_update)
        raise


def _unconfirmed(pending: PendingCreate, error: XaloraError) -> XaloraError:
    """The error of a create that the server may have processed."""
    job_id = pending.request.job_id
    if not pending.is_new and isinstance(error, ConflictError):
        what = f"The server has job {job_id} of an earlier run, but gives no task id for it: {error.what}"
        return error.derived(what=what, code="job_without_task", params={"job_id": job_id}, remedy="retry")
    return error.derived(
        what=f"{error.what.rstrip('.')}, while creating job {job_id}",
        code="create_unconfirmed" if pending.claim else "create_unconfirmed_without_ledger",
        remedy="retry" if pending.claim else None,
    )


async def _stopped(
    session: Session,
    pending: PendingCreate,
    sending: asyncio.Task[CreatedTask] | None,
    stop: BaseException,
    waiter: Waiter,
    on_update: OnUpdate | None,
) -> None:
    """After an interruption: find out how the create in flight ends, and cancel the task if there is one.

    For example, Cancel is pressed 0.1 s after a create was sent, and the answer needs 0.5 s:

    * 0.0 s: ``sending`` sends the create, and will write the task's id into the ledger.
    * 0.1 s: ``CancelledError`` is raised where ``attempt`` waits for it. ``sending`` itself continues.
    * 0.5 s: the answer is there, and the id is written down. Only then ``wait_until_done`` returns.
    * The task is canceled remotely, unless another call waits for it, and then the interruption is raised again.
    """
    if isinstance(stop, GeneratorExit):  # A coroutine that is being closed may not await.
        return
    if sending is not None:
        await wait_until_done(sending)
        error = None if sending.cancelled() else sending.exception()
        if not sending.cancelled() and error is None:
            created = sending.result()
            if on_update is not None:
                with suppress(BaseException):  # It learns of the task, but is interrupted already.
                    on_update(TaskUpdate(created.task_id, TaskStatus.WAITING, 0.0, 0.0))
            await cancel_interrupted(session, waiter, created.task_id, created.credentials, stop)
            return
        if isinstance(error, XaloraError):  # Of the create in flight, or of the last one before a pause.
            await _close_without_task(session, [pending], error)
            return
    job_id = pending.request.job_id
    advice = "look for it in your account" if pending.claim is None else "run the same task again to continue it"
    logger.warning("Interrupted while creating job %s, which may have been created; %s", job_id, advice)
    if pending.claim is not None:
        pending.claim.release()  # It may have arrived: the next run sends it again under its job id.
        session.options.on_cancel(job_id, NetworkError("It is not known whether the task was created"))


async def _close_without_task(session: Session, failed: Sequence[PendingCreate], error: BaseException | None) -> None:
    """Record creates that became no task. ``error`` says why; without an error of ours they were dropped unsent.

    For those that the server certainly did not accept, what was uploaded is removed.
    """
    if isinstance(error, GeneratorExit):  # A coroutine that is being closed may not await.
        return
    reason = error if isinstance(error, XaloraError) else None
    not_accepted = [pending for pending in failed if pending.is_new and (reason is None or reason.sent == "no")]

    def record(ledger: Ledger) -> None:
        for pending in failed:
            if pending.claim is None:
                continue
            if reason is not None:
                (ledger.rejected if pending in not_accepted else ledger.unconfirmed)(pending.claim, reason.what)
            elif pending in not_accepted:
                ledger.forget(pending.request.job_id)
            pending.claim.release()

    async def remove_and_record() -> None:
        if session.uploads is not None:
            await asyncio.gather(*(session.uploads.remove(pending.request.job_id) for pending in not_accepted))
        await session.with_ledger(record)

    if failed:
        await finish(remove_and_record())
