"""The exclusive right to create a task: taken before anything is uploaded or sent, and given up when that fails."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace

from ..errors import ConfigurationError, XaloraError
from ..ledger import Claim, Intent, Ledger, Step
from ..protocol.requests import Job
from ..protocol.tasks import WorkflowTask
from ..uploads import OnUpload
from .session import Session, in_thread
from .unbreakable import finish

SECONDS_BETWEEN_CLAIMS = 0.2
SECONDS_BETWEEN_CLAIMS_AHEAD = 1.0

LONGEST_UPLOAD = 600.0
"""Seconds after which a run that uploads or sends the same task is no longer waited for."""


def new_job(session: Session, task: WorkflowTask) -> Job:
    """A job for the task: ``{job_id_prefix or "sdk-workflow"}-{10 hex digits}``, as the reference client writes it."""
    job_id = f"{task.job_id_prefix or 'sdk-workflow'}-{secrets.token_hex(5)}"
    return Job(task, session.sequencer.credentials_of(task), job_id)


async def claim(session: Session, ledger: Ledger, intent: Intent, job: Job, *, reuse: bool) -> Claim:
    """Ask the ledger until no other run is uploading or sending the same task."""
    give_up = session.deadline(LONGEST_UPLOAD)
    while True:
        held = take_ahead(session, intent.fingerprint)
        if held is not None and held[1] is not None:
            return held[1]
        found = await in_thread(lambda: _claim_now(session, ledger, intent, job, reuse=reuse))
        if found.step is not Step.IN_PROGRESS:
            return found
        if not give_up.remaining():
            raise ConfigurationError(code="submitted_elsewhere")
        await session.sleep(SECONDS_BETWEEN_CLAIMS)


def _claim_now(session: Session, ledger: Ledger, intent: Intent, job: Job, *, reuse: bool) -> Claim:
    return ledger.claim(intent, job.job_id, reuse=reuse, source=session.source, caller=session.caller)


def take_ahead(session: Session, key: object) -> tuple[Job, Claim | None] | None:
    """A job whose inputs were uploaded ahead, for its create."""
    held = session.ahead.get(key)
    if not held:
        return None
    found = held.pop()
    if not held:
        del session.ahead[key]
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
    job = new_job(session, task)
    key: object = id(task)
    found: Claim | None = None

    async def claimed() -> tuple[Job, bool] | None:
        nonlocal key, found, job
        if ledger is None:
            return job, False
        intent = await asyncio.to_thread(ledger.intent, job)
        key = intent.fingerprint
        if reuse and session.ahead.get(key):
            return None
        found = await asyncio.to_thread(lambda: _claim_now(session, ledger, intent, job, reuse=reuse))
        if found.step not in (Step.NEW, Step.RESENT):
            return None
        job = replace(job, job_id=found.entry.job_id)
        return job, found.step is Step.RESENT

    give_up = session.deadline(LONGEST_UPLOAD)
    while True:
        found = None
        try:
            await uploads.upload_ahead(task, claimed, on_upload)
        except GeneratorExit:  # A coroutine that is being closed may not await.
            raise
        except BaseException as error:
            if found is None or found.step in (Step.NEW, Step.RESENT):
                await record_unsent(session, [(job, found)], error)
            raise
        if found is None or found.step is not Step.IN_PROGRESS:
            break
        if not give_up.remaining():
            raise ConfigurationError(code="submitted_elsewhere")
        await session.sleep(SECONDS_BETWEEN_CLAIMS_AHEAD)
    if ledger is None or (found is not None and found.step in (Step.NEW, Step.RESENT)):
        session.ahead.setdefault(key, []).append((job, found))


async def discard_ahead(session: Session) -> None:
    """Give up every claim whose create was never asked for, and remove what was uploaded for it."""
    held = [each for jobs in session.ahead.values() for each in jobs]
    session.ahead.clear()
    if held:
        await record_unsent(session, held, None)


async def record_unsent(
    session: Session, jobs: Sequence[tuple[Job, Claim | None]], error: BaseException | None
) -> None:
    """Remove what was uploaded for jobs that were certainly not sent, and record the error if it is one of the SDK.

    What was given up before it was sent is forgotten.
    """
    uploads = session.uploads
    new = [job.job_id for job, claim in jobs if claim is None or claim.step is Step.NEW]
    if uploads is not None and new:

        async def remove() -> None:
            await asyncio.gather(*(uploads.remove(job_id) for job_id in new))

        await finish(remove())

    def record(ledger: Ledger) -> None:
        for job, claim in jobs:
            if claim is None:
                continue
            is_new = claim.step is Step.NEW  # Else, an earlier run may have sent it.
            if isinstance(error, XaloraError):
                (ledger.refused if is_new else ledger.unconfirmed)(claim, error.what)
            elif is_new:
                ledger.forget(job.job_id)
            claim.release()

    await session.with_ledger(record)
