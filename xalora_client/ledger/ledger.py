"""The ledger: which create may be sent, what became of it, and what is known of each task."""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path

from ..errors import InvalidParameterError, StorageError
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.requests import CreateRequest
from ..storage.file_locks import ProcessLock, is_held
from ..storage.sqlite_file import DamageError
from . import task_record as rows
from .fingerprint import TaskIdentity
from .task_record import CREATING, REJECTED, UNCONFIRMED, TaskRecord, ledger_file, storable

logger = logging.getLogger("xalora_client")


class Step(str, Enum):
    """What to do for somebody who asks for a task."""

    NEW = "new"
    """Send the create; its record is written."""

    RESENT = "resend"
    """Send the create again, under its old job id: it is not known whether the first one arrived."""

    EXISTING = "attach"
    """There is a task that is waiting or running."""

    REUSED = "finished"
    """There is a result."""

    IN_PROGRESS = "busy"
    """Another run is sending the create right now: ask again in a moment."""


class Claim:
    """What to do for somebody who asks for a task, and for ``NEW`` and ``RESENT`` the exclusive right to do it.

    That right ends with ``Ledger.created``, ``unconfirmed`` or ``rejected``; with ``release``, which lets the next run
    send the create again; and with the claim object or the process, even if it is killed.
    """

    def __init__(self, step: Step, record: TaskRecord, lock: ProcessLock | None = None) -> None:
        self.step = step
        self.record = record
        self._lock = lock

    @property
    def may_send(self) -> bool:
        """Whether its holder may send the create."""
        return self.step in (Step.NEW, Step.RESENT)

    def __repr__(self) -> str:
        return f"<Claim {self.step.value} {self.record.job_id} {self.record.task_id or self.record.state}>"

    def release(self) -> None:
        """Let the next run send the create again. Does nothing after an outcome, and uses no database."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class Ledger:
    """The tasks of one Xalora home, in ``home/ledger.sqlite3``.

    ``server`` is the lasting name of the sequencer whose tasks are meant; None means those of every server.
    Threads and processes may share one home, each with any number of Ledger objects. Every method blocks for some
    milliseconds, and up to 10 s while another process writes; a change is on the disk when its method returns. Each
    raises StorageError when the file cannot be read or written. The file is opened at the first use. ``clock`` gives
    Unix seconds.
    """

    def __init__(self, home: Path, server: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self.server = server
        self._database = ledger_file(home)
        # One locked file for each create that is being sent.
        self._owners = home / "owners"
        self.clock = clock
        self._last_open: dict[str, float] = {}
        self._unwritten: dict[str, Claim] = {}

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; another call opens it again."""
        for claim in self._unwritten.values():
            claim.release()
        self._unwritten.clear()
        self._database.close()

    def identity(self, create_request: CreateRequest) -> TaskIdentity:
        """The identity of a task at this ledger's server. Hashes the media in it, which takes a moment for large ones.

        Raises InvalidParameterError when the task's details are not JSON.
        """
        return TaskIdentity.of(self.server or "", create_request.task, create_request.credentials)

    def claim(
        self,
        identity: TaskIdentity,
        job_id: str,
        *,
        reuse: bool,
        source: str,
        caller: object = None,
        is_own: bool = False,
    ) -> Claim:
        """Decide what to do for somebody who asks for a task, in one atomic step across all threads and processes.

        What is already charged comes first: the newest task that is open or finished, then a create whose outcome is
        unknown. Otherwise a new one is recorded under ``job_id``, before this returns. With ``reuse`` off it is always
        a new one. ``source`` is "node", "cli" or "library", ``caller`` the part of it that asks.

        With ``is_own``, somebody has chosen the job id: the task that has it is the one, whatever became of it. Raises
        InvalidParameterError when that is a task with other inputs.
        """

        def action(db: sqlite3.Connection) -> Claim:
            record = rows.usable(db, identity.fingerprints) if reuse and not is_own else None
            if is_own:
                record = rows.find(db, "job_id", job_id)
                if record is not None and record.fingerprint not in identity.fingerprints:
                    raise InvalidParameterError("job_id", job_id, "one that no other task has")
            step = self._step(record)
            if record is None:
                return self._start(db, rows.new(identity, job_id, source, self.clock(), caller))
            return self._start(db, record) if step in (Step.NEW, Step.RESENT) else Claim(step, record)

        try:
            claim = self._database.run(action)
            if claim.step is Step.NEW:
                # Later changes leave the pages of one index alone. So it has the task, even if their log is damaged.
                self._database.write_through()
        except StorageError as error:
            raise error.derived(what=f"{error.what}; nothing was sent") from error
        return claim

    def plan(self, identity: TaskIdentity, *, reuse: bool) -> tuple[Step, TaskRecord | None]:
        """What ``claim`` would decide now, and for which earlier task. Changes nothing."""

        def action(db: sqlite3.Connection) -> tuple[Step, TaskRecord | None]:
            record = rows.usable(db, identity.fingerprints) if reuse else None
            return self._step(record), record

        return self._database.run(action, reading=True) if self._database.exists() else (Step.NEW, None)

    def created(self, claim: Claim, task_id: str) -> None:
        """Record that the server accepted the task.

        If that fails, the error names the task id. The next observation of the task tries again; until then the claim
        is kept, so that no other run sends the create again.
        """
        job_id, stored_id = claim.record.job_id, storable(task_id)

        def action(db: sqlite3.Connection) -> None:
            self._last_open[job_id] = now = self.clock()
            existing = rows.find(db, "job_id", job_id)
            if existing is not None and existing.task_id == stored_id:
                return  # Its other sender, presumed dead, recorded it first.
            record = replace(
                existing or claim.record,
                task_id=stored_id,
                state=TaskStatus.WAITING.value,
                owner=None,
                submitted=now,
                finished=None,
                ran=None,
            )
            if existing is None:  # Forgotten, or lost with a damaged file, but charged.
                rows.insert(db, record)
                return
            if existing.task_id is not None:
                note = f"Job {job_id} became two tasks: {existing.task_id} and {task_id}"
                logger.warning("%s", note)
                record = replace(record, message=note)
            rows.update(db, record)

        try:
            self._database.run(action)
        except StorageError as error:
            self._unwritten[task_id] = claim
            what = f"Task {task_id} is running and charged, but not recorded: {error.what}"
            raise error.derived(what=what, task_id=task_id) from error
        except BaseException:
            claim.release()
            raise
        self._unwritten.pop(task_id, None)
        claim.release()

    def unconfirmed(self, claim: Claim, message: str) -> None:
        """Record that no answer says whether the server accepted the task. The next claim sends it again."""
        self._end_create(claim, UNCONFIRMED, message)

    def rejected(self, claim: Claim, message: str) -> None:
        """Record that the server certainly did not accept the task. The next claim is a new one."""
        self._end_create(claim, REJECTED, message)

    def observed(self, task_id: str, result: WorkflowTaskResult, *, at_once: bool = False) -> None:
        """Record an answer about a task. One that is not in the ledger is ignored.

        ``at_once`` means that the server answered when the task changed, so that it was open until now.

        Pass *every* answer: only changes are written, and the time between answers shows how exactly the task's end is
        known. A final state stays, except that a result may come later, and its address may change.
        """

        def change(record: TaskRecord) -> TaskRecord:
            now = self.clock()
            seen = now if at_once else self._last_open.get(record.job_id)
            if not result.is_final:
                self._last_open[record.job_id] = now
            if record.is_final and result.status != TaskStatus.FINISHED:
                return record
            new = rows.with_answer(record, result)
            if result.is_final and record.finished is None:
                new = replace(new, finished=now, ran=rows.run_time(new, seen, now))
                self._last_open.pop(record.job_id, None)
            return new

        unwritten = self._unwritten.get(task_id)
        if unwritten is not None:
            self.created(unwritten, task_id)
        if isinstance(result.status, TaskStatus):
            self._update(task_id, change)

    def canceled(self, task_id: str) -> None:
        """Record that the server accepted a cancel, while no answer shows the task's end yet.

        The next claim asks the server first: the task may have finished all the same, and is then charged.
        """
        canceled = TaskStatus.CANCELED.value
        self._update(task_id, lambda record: record if record.is_final else replace(record, state=canceled))

    def stored(self, task_id: str, sha256: str, extension: str, size: int, number: int = 1) -> bool:
        """Record which media file holds a task's result: hash in hex, suffix with its dot, size in bytes.

        ``number`` is which one of several it is. False for a task that is not in the ledger.
        """

        def change(record: TaskRecord) -> TaskRecord:
            if number == 1:
                return replace(record, sha256=sha256, extension=extension, media_bytes=size)
            known = record.more_stored if isinstance(record.more_stored, dict) else {}
            return replace(record, more_stored=known | {str(number): sha256 + extension})

        return self._update(task_id, change)

    def find(self, task_id: str) -> TaskRecord | None:
        """The newest record with this task id."""
        return self._database.run(lambda db: rows.find(db, "task_id", task_id, self.server))

    def forget(self, task_or_job_id: str) -> list[TaskRecord]:
        """Remove the records with this id; returns them. The task itself continues and is charged."""

        def action(db: sqlite3.Connection) -> list[TaskRecord]:
            key = storable(task_or_job_id)
            found = db.execute(f"{rows.SELECT} WHERE task_id = ?1 OR job_id = ?1", (key,)).fetchall()
            records = [rows.from_row(row) for row in found]
            if any(key not in (record.task_id, record.job_id) for record in records):
                raise DamageError(rows.CONTRADICTION)
            db.executemany("DELETE FROM tasks WHERE number = ?", [(record.number,) for record in records])
            return records

        return self._database.run(action)

    def durations(self, task_type: str, workflow_id: str | None, limit: int = 100) -> list[float]:
        """Seconds from submitted to finished of the server's newest ``limit`` tasks of a kind whose end was watched."""
        return self._database.run(lambda db: rows.durations(db, self.server, task_type, workflow_id or None, limit))

    def _update(self, task_id: str, change: Callable[[TaskRecord], TaskRecord]) -> bool:
        """Change the record of a task, if there is one."""

        def action(db: sqlite3.Connection) -> bool:
            record = rows.find(db, "task_id", task_id, self.server)
            if record is not None and (changed := change(record)) != record:
                rows.update(db, changed)
            return record is not None

        return self._database.run(action)

    def _step(self, record: TaskRecord | None) -> Step:
        """What to do for somebody who asks for a task for which there is this record."""
        if record is not None and record.task_id is not None:
            return Step.REUSED if record.state == TaskStatus.FINISHED else Step.EXISTING
        if record is not None and record.owner is not None and is_held(self._owners / record.owner):
            return Step.IN_PROGRESS
        return Step.RESENT if record is not None and record.tries > 0 else Step.NEW

    def _start(self, db: sqlite3.Connection, record: TaskRecord) -> Claim:
        lock = ProcessLock.acquire(self._owners / uuid.uuid4().hex)
        if lock is None:  # Nobody else has this name.
            raise PermissionError(errno.EACCES, "the file system allows no locks")
        step = self._step(record)
        try:
            record = replace(record, state=CREATING, owner=lock.path.name, tries=record.tries + 1, message=None)
            if step is Step.RESENT:
                rows.update(db, record)
            else:
                rows.insert(db, record)
        except BaseException:
            lock.release()
            raise
        return Claim(step, record, lock)

    def _end_create(self, claim: Claim, state: str, message: str) -> None:
        def action(db: sqlite3.Connection) -> None:
            existing = rows.find(db, "job_id", claim.record.job_id)
            ended = replace(existing or claim.record, state=state, message=storable(message), owner=None)
            if existing is None:
                if state == UNCONFIRMED:  # Forgotten, or lost with a damaged file, but perhaps charged.
                    rows.insert(db, ended)
            elif existing.task_id is None and existing.owner == claim.record.owner:
                rows.update(db, ended)

        try:
            self._database.run(action)
        finally:
            claim.release()
