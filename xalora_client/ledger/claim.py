"""The answer to "what is to be done about this intent?"."""

from __future__ import annotations

import uuid
from enum import Enum
from pathlib import Path

from ..files.process_lock import ProcessLock, is_held
from .entry import Entry


class Step(str, Enum):
    """What to do about an intent."""

    NEW = "new"
    """Send the create; the entry is written."""

    RESEND = "resend"
    """Send the create of the entry again, under its old job id: nobody knows whether the first one arrived."""

    ATTACH = "attach"
    """There is a task that is waiting or running."""

    FINISHED = "finished"
    """There is a result."""

    BUSY = "busy"
    """Somebody else is sending the create at this moment: ask again in a moment."""


class Claim:
    """What to do about an intent, and for ``NEW`` and ``RESEND`` the right to be the only one who does it.

    That right ends with ``Ledger.created``, ``doubtful`` or ``refused``; with ``release``, which leaves the create
    to be re-sent by the next who asks; and with the claim object or the process, however that ends.
    """

    def __init__(self, step: Step, entry: Entry, lock: ProcessLock | None = None) -> None:
        self.step = step
        self.entry = entry
        self._lock = lock

    def __repr__(self) -> str:
        return f"<Claim {self.step.value} {self.entry.job_id} {self.entry.task_id or self.entry.state}>"

    def release(self) -> None:
        """Let the next who asks re-send the create. Does nothing once it was answered. Touches no database."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class Owners:
    """A locked file for each create that is being sent, in ``home/owners``."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "owners"

    def new(self) -> tuple[str, ProcessLock]:
        """Become the owner of a create: the name to write down, and the lock that proves it. Raises OSError."""
        while True:
            name = uuid.uuid4().hex
            lock = ProcessLock.acquire(self._folder / name)
            if lock is not None:
                return name, lock

    def is_alive(self, name: str) -> bool:
        """Whether the create is still being sent. Raises OSError when that cannot be told."""
        return is_held(self._folder / name)
