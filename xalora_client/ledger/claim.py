"""What to do about an intent, and the exclusive right to do it."""

from __future__ import annotations

from enum import Enum

from ..storage.file_locks import ProcessLock
from .task_record import TaskRecord


class Step(str, Enum):
    """What to do about an intent."""

    NEW = "new"
    """Send the create; the entry is written."""

    RESENT = "resend"
    """Send the create of the entry again, under its old job id: it is not known whether the first one arrived."""

    EXISTING = "attach"
    """There is a task that is waiting or running."""

    REUSED = "finished"
    """There is a result."""

    IN_PROGRESS = "busy"
    """Another run is sending the create right now: ask again in a moment."""


class Claim:
    """What to do about an intent, and for ``NEW`` and ``RESENT`` the exclusive right to do it.

    That right ends with ``Ledger.created``, ``unconfirmed`` or ``rejected``; with ``release``, which lets the next run
    send the create again; and with the claim object or the process, even if it is killed.
    """

    def __init__(self, step: Step, record: TaskRecord, lock: ProcessLock | None = None) -> None:
        self.step = step
        self.record = record
        self._lock = lock

    def __repr__(self) -> str:
        return f"<Claim {self.step.value} {self.record.job_id} {self.record.task_id or self.record.state}>"

    def release(self) -> None:
        """Let the next run send the create again. Does nothing after an outcome, and uses no database."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
