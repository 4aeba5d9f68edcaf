"""The exclusive right to create a task: taken before anything is uploaded or sent, and given up when that fails."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace

from ..errors import ConfigurationError, XaloraError
from ..ledger import Claim, Ledger, Step, TaskIdentity
from ..protocol.requests import CreateRequest
from ..protocol.tasks import WorkflowTask
from ..uploads import OnUpload
from .portal import finish
from .session import Session, in_thread

SECONDS_BETWEEN_CLAIMS = 0.2
SECONDS_BETWEEN_CLAIMS_AHEAD = 1.0

LONGEST_UPLOAD = 600.0
"""Seconds after which a run that uploads or sends the same task is no longer waited for."""


def new_create_request(session: Session, task: WorkflowTask) -> CreateRequest:
    """A job for the task: ``{job_id_prefix or "sdk-workflow"}-{10 hex digits}``, as the reference client writes it."""
    job_id = f"{task.job_id_prefix or 'sdk-workflow'}-{secrets.token_hex(5)}"
    return CreateRequest(task, session.sequencer.credentials_of(task), job_id)


async def claim(
    session: Session, ledger: Ledger, identity: TaskIdentity, create_request: CreateRequest, *, reuse: bool
) -> Claim:
    """Ask the ledger until no other run is uploading or sending the same task."""
    deadline = session.deadline(LONGEST_UPLOAD)
    while True:
        held = take_ahead(session, identity.fingerprint)
        if held is not None and held[1] is not None:
            return held[1]
        found = await in_thread(lambda: _claim_now(session, ledger, identity, create_request, reuse=reuse))
        if found.step is not Step.IN_PROGRESS:
            return found
        if not deadline.remaining():
            raise ConfigurationError(code="submitted_elsewhere")
        await session.sleep(SECONDS_BETWEEN_CLAIMS)


def _claim_now(
    session: Session, ledger: Ledger, identity: TaskIdentity, create_request: CreateRequest, *, reuse: bool
) -> Claim:
    return ledger.claim(identity, create_request.job_id, reuse=reuse, source=session.source, caller=session.caller)


def take_ahead(session: Session, key: object) -> tuple[CreateRequest, Claim | None] | None:
    """A job whose inputs were uploaded ahead, for its create."""
    held = session.uploaded_ahead.get(key)
    if not held:
        return None
    found = held.pop()
    if not held:
        del session.uploaded_ahead[key]
    return found


async def upload_ahead(
    session: Session, task: WorkflowTask, on_upload: OnUpload | None = None, *, reuse: bool = True
) -> None:
    """Claim the task and upload its inputs, unless there is a task for it already. The create takes the claim up.

    While another run has the claim, this waits, so that nobody holds a place in a queue meanwhile.
    """
    uploads, ledger = session.uploads, session.ledger
    if uploads is None:
        return
    create_request = new_create_request(session, task)
    key: object = id(task)
    found: Claim | None = None

    async def claimed() -> tuple[CreateRequest, bool] | None:
        nonlocal key, found, create_request
        if ledger is None:
            return create_request, False
        identity = await asyncio.to_thread(ledger.identity, create_request)
        key = identity.fingerprint
        if reuse and session.uploaded_ahead.get(key):
            return None
        found = await asyncio.to_thread(lambda: _claim_now(session, ledger, identity, create_request, reuse=reuse))
        if found.step not in (Step.NEW, Step.RESENT):
            return None
        create_request = replace(create_request, job_id=found.record.job_id)
        return create_request, found.step is Step.RESENT

    deadline = session.deadline(LONGEST_UPLOAD)
    while True:
        found = None
        try:
            await uploads.upload_ahead(task, claimed, on_upload)
        except GeneratorExit:  # A coroutine that is being closed may not await.
            raise
        except BaseException as error:
            if found is None or found.step in (Step.NEW, Step.RESENT):
                await record_unsent(session, [(create_request, found)], error)
            raise
        if found is None or found.step is not Step.IN_PROGRESS:
            break
        if not deadline.remaining():
            raise ConfigurationError(code="submitted_elsewhere")
        await session.sleep(SECONDS_BETWEEN_CLAIMS_AHEAD)
    if ledger is None or (found is not None and found.step in (Step.NEW, Step.RESENT)):
        session.uploaded_ahead.setdefault(key, []).append((create_request, found))


async def discard_ahead(session: Session) -> None:
    """Give up every claim whose create was never asked for, and remove what was uploaded for it."""
    held = [each for create_requests in session.uploaded_ahead.values() for each in create_requests]
    session.uploaded_ahead.clear()
    if held:
        await record_unsent(session, held, None)


async def record_unsent(
    session: Session, create_requests: Sequence[tuple[CreateRequest, Claim | None]], error: BaseException | None
) -> None:
    """Remove what was uploaded for jobs that were certainly not sent, and record the error if it is one of the SDK.

    What was given up before it was sent is forgotten.
    """
    uploads = session.uploads
    new = [
        create_request.job_id for create_request, claim in create_requests if claim is None or claim.step is Step.NEW
    ]
    if uploads is not None and new:

        async def remove() -> None:
            await asyncio.gather(*(uploads.remove(job_id) for job_id in new))

        await finish(remove())

    def record(ledger: Ledger) -> None:
        for create_request, claim in create_requests:
            if claim is None:
                continue
            is_new = claim.step is Step.NEW  # Else, an earlier run may have sent it.
            if isinstance(error, XaloraError):
                (ledger.rejected if is_new else ledger.unconfirmed)(claim, error.what)
            elif is_new:
                ledger.forget(create_request.job_id)
            claim.release()

    await session.with_ledger(record)
