"""The tasks that have not ended: their attempts, leases and progress."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from ..workflows import WorkflowKey
from .clock import Clock, Timer, Watchers
from .values import RunningTask

Group: TypeAlias = "tuple[WorkflowKey, frozenset[str]]"
"""The workflow of tasks, and the capabilities that accept their values: the same miners can run them."""

ATTEMPTS = 3
"""How often a task is begun before it fails because its miners were lost."""

_BETWEEN_CHANGES = 0.5
"""Seconds between two changes of a task that are only progress."""


@dataclass(eq=False)
class Lease:
    """One attempt: the right of one miner to run a task.

    Attributes:
        miner: The miner's name.
        attempt: 1 to 3.
        began: Unix time.
        since: The same by the clock that never jumps.
        token: What proves the right. Only the miner and this process know it.
        prompt_id: The attempt's id on the miner's ComfyUI.
        expires_at: When it ends without a heartbeat, by that clock. None for miners inside this process.
        acknowledged: Whether the miner has sent anything since it got the task.
        over: Why it ended: "canceled", "timed out" or "lost". None while it lasts.
        timer: The next check whether it has expired.
        watchers: Those who wait for its end.
    """

    miner: str
    attempt: int
    began: float
    since: float
    token: str = field(default_factory=partial(secrets.token_urlsafe, 32))
    prompt_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    expires_at: float | None = None
    acknowledged: bool = False
    over: str | None = None
    timer: Timer | None = None
    watchers: Watchers = field(default_factory=Watchers)

    def derived(self, purpose: str) -> str:
        """A token for one purpose, such as the upload. It does not reveal the lease's own."""
        return hashlib.sha256(f"{purpose}\n{self.token}".encode()).hexdigest()

    def end(self, reason: str) -> None:
        """End it, and wake its miner's requests."""
        self.over = reason
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.watchers.wake()


@dataclass(eq=False)
class OpenTask:
    """A task that has not ended.

    Attributes:
        task_id: The task.
        number: Grows in the order of arrival.
        owner: Who created it.
        workflow: What it needs.
        created: Unix time.
        timeout_seconds: Within how many seconds from its creation it must end, or None.
        priority: Among the tasks of its owner that wait, higher ones come first.
        size: Bytes that its parameters take in the database.
        deadline: When it must have ended, by the clock that never jumps, or None.
        ready: Whether its inputs are here.
        status: "waiting" or "running"; "ended" once it is no longer open.
        attempts: How many have begun.
        lease: The present attempt's, or that of the last lost one while nobody else has begun.
        uploads: The names of the files that the present attempt uploaded.
        last_error: Why the last miner gave it back.
        was_begun: Whether an attempt began and did not end it.
        returns: How often it was given back without a reason that counts.
        deaths: How often a ComfyUI ended while it ran this.
        was_unable: Whether a miner could not run it, so that another gets it once.
        avoided: The miners that it came back from, and until when it rather goes to others.
        revision: Grows with each change. It is the milliseconds since the creation, so it also grows over restarts.
        progress: How far it is, as answers show it.
        preview: Its last picture, as a ``data:`` URI.
        timer: The call at the deadline.
        accepted: For each capability that miners have, by digest, whether it accepts the task's values.
        group: While it is in the queue, which part of it that is.
        watchers: Those who wait for a change.
    """

    task_id: str
    number: int
    owner: bytes
    workflow: WorkflowKey
    created: float
    timeout_seconds: int | None = None
    priority: int = 0
    size: int = 0
    deadline: float | None = None
    ready: bool = False
    status: str = "waiting"
    attempts: int = 0
    lease: Lease | None = None
    uploads: tuple[str, ...] = ()
    last_error: str | None = None
    was_begun: bool = False
    returns: int = 0
    deaths: int = 0
    was_unable: bool = False
    avoided: dict[str, float] = field(default_factory=dict)
    revision: int = 0
    progress: dict[str, Any] | None = None
    preview: str | None = None
    timer: Timer | None = None
    accepted: dict[str, bool] = field(default_factory=dict)
    group: Group | None = None
    watchers: Watchers = field(default_factory=Watchers)
    _preview_revision: int = 0
    _has_news: bool = False
    _next_change: Timer | None = None

    def view(self, lease: Lease, now: float) -> RunningTask:
        """The task, for people, while a miner runs it. ``now`` is by the clock that never jumps."""
        return RunningTask(self.task_id, self.workflow, lease.miner, lease.attempt, now - lease.since, self.progress)

    def change(self, now: float) -> None:
        """Count a change, and wake those who wait for one."""
        self.revision = self.next_revision(now)
        self.watchers.wake()

    def next_revision(self, now: float) -> int:
        """The revision of the next change."""
        return max(self.revision + 1, int((now - self.created) * 1000))

    def report(self, progress: dict[str, Any], preview: str | None, clock: Clock) -> None:
        """Note how far it is. Watchers are woken at most twice a second, but always for the last report."""
        self.progress = progress
        if preview is not None:
            self.preview, self._preview_revision = preview, self.revision + 1
        self._has_news = True
        if self._next_change is None:
            self._change_progress(clock)

    def progress_after(self, revision: int) -> dict[str, Any] | None:
        """Its progress, with the preview where that is newer than the revision."""
        if self.progress is None or self.preview is None or self._preview_revision <= revision:
            return self.progress
        return self.progress | {"preview": self.preview}

    def forget_progress(self) -> None:
        """Another attempt begins, or the task has ended."""
        self.progress, self.preview, self._has_news = None, None, False
        if self._next_change is not None:
            self._next_change.cancel()
            self._next_change = None

    def _change_progress(self, clock: Clock) -> None:
        self._next_change = None
        if self._has_news:
            self._has_news = False
            self.change(clock.time())
            self._next_change = clock.call_later(_BETWEEN_CHANGES, self._change_progress, clock)
