"""The tasks that have not ended: their order in the queue, attempts, leases and progress."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

from ..workflows import WorkflowKey
from .clock import Clock, Timer, Watchers
from .values import RunningTask

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
        token: What proves the right. Only the miner and this process know it.
        prompt_id: The attempt's id on the miner's ComfyUI.
        expires_at: Unix time at which it ends without a heartbeat. None for miners inside this process.
        acknowledged: Whether the miner has sent anything since it got the task.
        over: Why it ended: "canceled", "timed out" or "lost". None while it lasts.
        timer: The next check whether it has expired.
        watchers: Those who wait for its end.
    """

    miner: str
    attempt: int
    began: float
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
        workflow: What it needs.
        created: Unix time.
        deadline: Unix time by which it must have ended, or None.
        ready: Whether its inputs are here.
        status: "waiting" or "running"; "ended" once it is no longer open.
        attempts: How many have begun.
        lease: The present attempt's, or that of the last lost one while nobody else has begun.
        upload: The name of the file that the present attempt uploaded.
        last_error: Why the last miner gave it back.
        revision: Grows with each change. It is the milliseconds since the creation, so it also grows over restarts.
        progress: How far it is, as answers show it.
        preview: Its last picture, as a ``data:`` URI.
        timer: The call at the deadline.
        accepted: For each capability that miners have, by digest, whether it accepts the task's values.
        watchers: Those who wait for a change.
    """

    task_id: str
    number: int
    workflow: WorkflowKey
    created: float
    deadline: float | None = None
    ready: bool = False
    status: str = "waiting"
    attempts: int = 0
    lease: Lease | None = None
    upload: str | None = None
    last_error: str | None = None
    revision: int = 0
    progress: dict[str, Any] | None = None
    preview: str | None = None
    timer: Timer | None = None
    accepted: dict[str, bool] = field(default_factory=dict)
    watchers: Watchers = field(default_factory=Watchers)
    _preview_revision: int = 0
    _has_news: bool = False
    _next_change: Timer | None = None

    def view(self, lease: Lease, now: float) -> RunningTask:
        """The task, for people, while a miner runs it."""
        return RunningTask(self.task_id, self.workflow, lease.miner, lease.attempt, now - lease.began, self.progress)

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


class WaitingTasks:
    """The tasks that wait for a miner, by workflow and in order of arrival.

    A task that comes back after a lost attempt has kept its number, so it is at the head again.
    """

    def __init__(self) -> None:
        self._by_workflow: dict[WorkflowKey, list[OpenTask]] = {}

    def add(self, task: OpenTask) -> None:
        """Add a task."""
        insort(self._by_workflow.setdefault(task.workflow, []), task, key=_NUMBER)

    def discard(self, task: OpenTask) -> None:
        """Remove a task if it is there."""
        tasks = self._by_workflow.get(task.workflow, [])
        index = bisect_left(tasks, task.number, key=_NUMBER)
        if tasks[index : index + 1] == [task]:
            del tasks[index]
            if not tasks:
                del self._by_workflow[task.workflow]

    def oldest(self, runs: Callable[[WorkflowKey], bool], can_run: Callable[[OpenTask], bool]) -> OpenTask | None:
        """The task that came first of those whose workflow ``runs`` and which ``can_run``."""
        oldest: OpenTask | None = None
        for workflow, tasks in self._by_workflow.items():
            if runs(workflow):
                older = tasks if oldest is None else tasks[: bisect_left(tasks, oldest.number, key=_NUMBER)]
                oldest = next(filter(can_run, older), oldest)
        return oldest

    def lengths(self) -> dict[WorkflowKey, int]:
        """How many tasks wait for each workflow."""
        return {workflow: len(tasks) for workflow, tasks in self._by_workflow.items()}


_NUMBER = attrgetter("number")
