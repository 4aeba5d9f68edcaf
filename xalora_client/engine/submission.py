"""From a task to its id: sent at most once for each intent, and with a ledger not at all if it was sent before."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
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
from ..ledger import Claim, Intent, Ledger, Step
from ..protocol import answers
from ..protocol.answers import Created, TaskStatus, WorkflowTaskResult
from ..protocol.parameters import Text
from ..protocol.requests import Credentials, Job
from ..protocol.tasks import WorkflowTask
from ..uploads import OnUpload
from . import timing
from .effects import Await, Call, Flow, Sleep
from .exchange import Context, OnTrouble, answered, cancel_interrupted, logger, look, with_ledger
from .timing import Deadline
from .updates import OnUpdate, TaskUpdate, trouble

SECONDS_BETWEEN_CLAIMS = 0.2
SECONDS_BETWEEN_CLAIMS_AHEAD = 1.0

LONGEST_UPLOAD = 600.0
"""Seconds after which a run that uploads or sends the same task is no longer waited for."""

_TASK_TYPE = Text("the kind of task")


@dataclass(frozen=True)
class Submission:
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


def execute(
    context: Context, task: WorkflowTask, on_update: OnUpdate | None = None, *, reuse: bool = True
) -> Flow[str]:
    """Create the task; returns its id. With a ledger and ``reuse``, take up an existing one.

    ``on_update`` is called when the create has to be tried again, and once the task exists.
    """
    started = context.clock()
    tell = retries_to(on_update, context)
    deadline = context.deadline(timing.CALL_TIMEOUT)
    submission = yield from submit(context, task, deadline, reuse=reuse, on_trouble=tell)
    try:
        if on_update is not None:
            elapsed, known = context.clock() - started, submission.result
            status = known.status if known else TaskStatus.WAITING
            on_update(TaskUpdate(submission.task_id, status, elapsed, 0.0, known, origin=submission.origin))
        yield Sleep(0)  # An interruption that was held back during the create is raised here.
    except BaseException as stop:
        yield from cancel_interrupted(context, submission.task_id, submission.credentials, stop)
        raise
    return submission.task_id


def retries_to(on_update: OnUpdate | None, context: Context) -> OnTrouble:
    """Tells ``on_update`` that a create is tried again."""
    started = context.clock()

    def tell(error: XaloraError, delay: float) -> Flow[None]:
        if on_update is not None:
            on_update(TaskUpdate("", "submitting", context.clock() - started, delay, **trouble(error)))
        yield from ()

    return tell


def submit(
    context: Context, task: WorkflowTask, deadline: Deadline, *, reuse: bool, on_trouble: OnTrouble | None = None
) -> Flow[Submission]:
    """Create the task, or with a ledger take up an existing one with the same intent.

    ``on_trouble(error, delay)`` runs before a create is sent again.

    Raises what a create raises, NotFoundError when the sequencer no longer knows the existing task, and
    StorageError when the ledger cannot be written; nothing was sent then.
    """
    _TASK_TYPE.check("task_type", task.task_type)  # A subclass of the user's may return anything.
    job = Job(task, context.sequencer.credentials_of(task), new_job_id(task))
    return (yield from _submit(context, job, deadline, on_trouble, reuse=reuse))


def upload_ahead(
    context: Context, task: WorkflowTask, on_upload: OnUpload | None = None, *, reuse: bool = True
) -> Flow[None]:
    """Claim the task and upload its inputs, unless there is a task for it already. The create takes the claim up.

    While another run has the claim, this waits, so that nobody holds a place in a queue meanwhile.
    """
    images, ledger = context.images, context.ledger
    if images is None:
        return
    job = Job(task, context.sequencer.credentials_of(task), new_job_id(task))
    key: object = id(task)
    claim: Claim | None = None

    async def claimed() -> tuple[Job, bool] | None:
        nonlocal key, claim, job
        if ledger is None:
            return job, False
        intent = await asyncio.to_thread(ledger.intent, job)
        key = intent.fingerprint
        if reuse and context.ahead.get(key):
            return None
        claim = await asyncio.to_thread(
            lambda: ledger.claim(intent, job.job_id, reuse=reuse, source=context.source, place=context.place)
        )
        if claim.step not in (Step.NEW, Step.RESEND):
            return None
        job = replace(job, job_id=claim.entry.job_id)
        return job, claim.step is Step.RESEND

    give_up = context.deadline(LONGEST_UPLOAD)
    while True:
        claim = None
        try:
            yield Await(lambda: images.upload_ahead(task, claimed, on_upload))
        except GeneratorExit:
            raise
        except BaseException as error:
            if claim is None or claim.step in (Step.NEW, Step.RESEND):
                yield from _unsent(context, [(job, claim)], error)
            raise
        if claim is None or claim.step is not Step.BUSY:
            break
        if not give_up.remaining():
            raise ConfigurationError(code="submitted_elsewhere")
        yield Sleep(SECONDS_BETWEEN_CLAIMS_AHEAD)
    if ledger is None or (claim is not None and claim.step in (Step.NEW, Step.RESEND)):
        context.ahead.setdefault(key, []).append((job, claim))


def discard_ahead(context: Context) -> Flow[None]:
    """Give up every claim whose create was never asked for, and remove what was uploaded for it."""
    held = [each for jobs in context.ahead.values() for each in jobs]
    context.ahead.clear()
    yield from _unsent(context, held, None)


def _unsent(context: Context, jobs: list[tuple[Job, Claim | None]], error: BaseException | None) -> Flow[None]:
    """Remove what was uploaded for jobs that were certainly not sent, and record the error if it is one of the SDK.

    What was given up before it was sent is forgotten.
    """
    images = context.images
    new = [job.job_id for job, claim in jobs if claim is None or claim.step is Step.NEW]
    if images is not None and new:

        async def remove() -> None:
            await asyncio.gather(*(images.remove(job_id) for job_id in new))

        yield Await(remove, settle=True)

    def record(ledger: Ledger) -> None:
        for job, claim in jobs:
            if claim is None:
                continue
            is_new = claim.step is Step.NEW  # Else, an earlier run may have sent it.
            if isinstance(error, XaloraError):
                (ledger.refused if is_new else ledger.doubtful)(claim, error.what)
            elif is_new:
                ledger.forget(job.job_id)
            claim.release()

    yield from with_ledger(context, record)


def _submit(
    context: Context, job: Job, deadline: Deadline, on_trouble: OnTrouble | None, *, reuse: bool
) -> Flow[Submission]:
    ledger = context.ledger
    if ledger is None:
        job, _ = _taken(context, id(job.task)) or (job, None)
        return (yield from _create_claimed(context, None, job, deadline, on_trouble))
    intent: Intent = yield Call(lambda: ledger.intent(job))
    ended: set[str] = set()
    while True:
        begun = context.clock()
        claim = yield from _claim(context, ledger, intent, job, reuse=reuse)
        deadline = replace(deadline, at=deadline.at + context.clock() - begun)
        if claim.step in (Step.NEW, Step.RESEND):
            claimed = replace(job, job_id=claim.entry.job_id)
            return (yield from _create_claimed(context, claim, claimed, deadline, on_trouble))
        known = claim.entry.as_result()
        submission = Submission(known.task_id, job.credentials, claim.step.value, known)
        if claim.step is Step.FINISHED:
            if claim.entry.sha256 is None:
                with suppress(XaloraError):  # Its media is still to be downloaded, and links expire.
                    known = (yield from _look(context, ledger, claim, submission, deadline)) or known
            return replace(submission, result=known)
        result = yield from _look(context, ledger, claim, submission, deadline)
        failed = result is not None and result.is_final and result.status != TaskStatus.FINISHED
        if failed and submission.task_id not in ended:
            ended.add(submission.task_id)
            continue  # It ended while no run watched. The ledger knows now, so the next claim is a new task.
        return replace(submission, result=result)


def new_job_id(task: WorkflowTask) -> str:
    """``{job_id_prefix or "sdk-workflow"}-{10 hex digits}``, as the reference client writes it."""
    return f"{task.job_id_prefix or 'sdk-workflow'}-{secrets.token_hex(5)}"


def _claim(context: Context, ledger: Ledger, intent: Intent, job: Job, *, reuse: bool) -> Flow[Claim]:
    """Ask the ledger until no other run is uploading or sending the same intent."""
    give_up = context.deadline(LONGEST_UPLOAD)
    while True:
        held = _taken(context, intent.fingerprint)
        if held is not None and held[1] is not None:
            return held[1]
        claim: Claim = yield Call(
            lambda: ledger.claim(intent, job.job_id, reuse=reuse, source=context.source, place=context.place)
        )
        if claim.step is not Step.BUSY:
            return claim
        if not give_up.remaining():
            raise ConfigurationError(code="submitted_elsewhere")
        yield Sleep(SECONDS_BETWEEN_CLAIMS)


def _taken(context: Context, key: object) -> tuple[Job, Claim | None] | None:
    """A job whose inputs were uploaded ahead, for its create."""
    held = context.ahead.get(key)
    if not held:
        return None
    found = held.pop()
    if not held:
        del context.ahead[key]
    return found


def _look(
    context: Context, ledger: Ledger, claim: Claim, submission: Submission, deadline: Deadline
) -> Flow[WorkflowTaskResult | None]:
    """The status of a task from an earlier run; None when the server cannot be asked at the moment."""
    task_id, credentials = submission.task_id, submission.credentials
    try:
        return (yield from look(context, task_id, credentials, deadline))
    except NotFoundError as error:
        submitted = claim.entry.submitted
        if submitted is not None and ledger.clock() - submitted < timing.UNKNOWN_AT_FIRST:
            return None
        raise forgotten(error, task_id) from error
    except XaloraError as error:
        if timing.is_transient(error) or isinstance(error, ResponseError):
            return None
        raise
    except BaseException as stop:
        yield from cancel_interrupted(context, task_id, credentials, stop)
        raise


def forgotten(error: NotFoundError, task_id: str) -> NotFoundError:
    """The error for a task of an earlier run that the server no longer knows."""
    return error.derived(
        code="task_unknown_to_server", params={"task_id": task_id, "message": error.message}, remedy=None
    )


def _create_claimed(
    context: Context, claim: Claim | None, job: Job, deadline: Deadline, on_trouble: OnTrouble | None
) -> Flow[Submission]:
    """Upload the inputs, send the create that was claimed, and record the outcome."""
    ledger, images, resent = context.ledger, context.images, claim is not None and claim.step is Step.RESEND
    if images is not None:
        begun = context.clock()
        try:
            job = replace(job, details=(yield Await(lambda: images.with_addresses(job, resent=resent))))
        except GeneratorExit:
            raise
        except BaseException as error:
            yield from _unsent(context, [(job, claim)], error)
            raise
        # The time that takes is not counted: a create may then be retried.
        deadline = replace(deadline, at=deadline.at + context.clock() - begun)
    try:
        created = yield from _create(context, job, deadline, on_trouble)
    except XaloraError as error:
        if resent and isinstance(error, ConflictError):
            error = error.derived(
                what=f"The server has job {job.job_id} of an earlier run, but gives no task id for it: {error.what}",
                code="job_without_task",
                params={"job_id": job.job_id},
            )
        what = error.what
        if timing.is_refusal(error) and not resent:
            yield from _unsent(context, [(job, claim)], error)
        elif claim is not None and ledger is not None:
            yield from with_ledger(context, lambda _: ledger.doubtful(claim, what))
        raise error from error.__cause__
    except BaseException:
        if claim is not None:
            logger.warning(
                "Interrupted while creating job %s, which may run; run the same task again to take it up", job.job_id
            )
            claim.release()  # It may have arrived: the next run sends it again under its job id.
            context.on_cancel(job.job_id, NetworkError("It is not known whether the task was created"))
        raise
    if images is not None and images.removes:
        context.jobs[created.task_id] = job.job_id
    if claim is not None and ledger is not None:
        try:
            yield Call(lambda: ledger.created(claim, created.task_id))
        except StorageError as error:
            logger.error("%s", error)  # The task exists and is charged: waiting for it matters more.
    step = Step.NEW if claim is None else claim.step
    return Submission(created.task_id, job.credentials, step.value, long_poll=created.long_poll)


def _create(context: Context, job: Job, deadline: Deadline, on_trouble: OnTrouble | None) -> Flow[Created]:
    """Send one intent under one job id, and never again once the server may have accepted it."""
    request = context.sequencer.create(job)
    try:
        request.content()  # Its details too.
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParameterError("task_details", job.task.task_details, "JSON values with texts as names") from error
    try:
        response = yield from answered(
            context, request, deadline, timing.is_unprocessed, settle=True, on_trouble=on_trouble
        )
        created = answers.read_created(response, request)
    except XaloraError as error:
        if not timing.is_refusal(error):
            unrecorded = context.ledger is None
            raise error.derived(
                what=f"{error.what.rstrip('.')}, while creating job {job.job_id}",
                code="create_unconfirmed_without_ledger" if unrecorded else "create_unconfirmed",
                remedy=None if unrecorded else "retry",
            ) from error
        raise
    except BaseException:
        if context.ledger is None:
            logger.warning("Interrupted while creating job %s, which may run: see your account", job.job_id)
        raise
    logger.info("task_create %s: task %s, job %s", response.status, created.task_id, job.job_id)
    return created
