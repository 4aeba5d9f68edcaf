"""The tasks that have not ended: their place in the queue, attempts, leases and progress."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field
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
    """One attempt: the right of one miner to carry out a task.

    Attributes:
        token: What proves the right. Only its holder and this process know it.
        miner: The holder's name.
        prompt_id: The attempt's id on the miner's ComfyUI.
        attempt: 1 to 3.
        began: Unix time.
        expires_at: Unix time at which it runs out without a heartbeat. None for miners inside this process.
        acknowledged: Whether the holder has been heard of since it got the task.
        over: Why it ended: "canceled", "timed out" or "lost". None while it lasts.
        timer: The next look at whether it has run out.
        watchers: Those who wait for its end.
    """

    token: str
    miner: str
    prompt_id: str
    attempt: int
    began: float
    expires_at: float | None = None
    acknowledged: bool = False
    over: str | None = None
    timer: Timer | None = None
    watchers: Watchers = field(default_factory=Watchers)

    @classmethod
    def new(cls, miner: str, attempt: int, began: float) -> Lease:
        """A lease with a fresh token and prompt id."""
        return cls(secrets.token_urlsafe(32), miner, str(uuid.uuid4()), attempt, began)

    def derived(self, purpose: str) -> str:
        """A token for one purpose, such as the upload. It does not tell the lease's own."""
        return hashlib.sha256(f"{purpose}\n{self.token}".encode()).hexdigest()

    def end(self, reason: str) -> None:
        """End it, and tell its holder."""
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
        number: Its place in the order of arrival.
        workflow: What it needs.
        created: Unix time.
        deadline: Unix time by which it must have ended, or None.
        ready: Whether its inputs are here.
        status: "waiting" or "running"; "ended" for who still holds it.
        attempts: How many have begun.
        lease: The present attempt's, or that of the last lost one while nobody else has begun.
        upload: The name of the file that the present attempt uploaded.
        last_error: What the last miner that gave it back said of why.
        revision: Grows with each change. It is the milliseconds since the creation, so it also grows over restarts.
        progress: What the miner says, as answers show it.
        preview: Its last picture, as a ``data:`` URI.
        timer: The call at the deadline.
        accepted: For each set of parameters that miners have, by digest, whether the task's values fit.
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
    _preview_revision: int | None = None
    _is_unshown: bool = False
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
        """Note how far it is. Those who watch it learn of it at most twice a second, but always of the last."""
        self.progress = progress
        if preview is not None:
            self.preview, self._preview_revision = preview, None
        self._is_unshown = True
        if self._next_change is None:
            self._show_progress(clock)

    def progress_after(self, revision: int) -> dict[str, Any] | None:
        """Its progress, with the preview where that is newer than the revision."""
        if self.progress is None or self.preview is None:
            return self.progress
        is_newer = self._preview_revision is None or self._preview_revision > revision
        return self.progress | ({"preview": self.preview} if is_newer else {})

    def forget_progress(self) -> None:
        """Another attempt begins, or the task has ended."""
        self.progress, self.preview, self._preview_revision, self._is_unshown = None, None, None, False
        if self._next_change is not None:
            self._next_change.cancel()
            self._next_change = None

    def _show_progress(self, clock: Clock) -> None:
        self._next_change = None
        if self._is_unshown:
            self._is_unshown = False
            self.change(clock.time())
            if self.preview is not None and self._preview_revision is None:
                self._preview_revision = self.revision
            self._next_change = clock.call_later(_BETWEEN_CHANGES, self._show_progress, clock)


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
        if task in self:
            tasks = self._by_workflow[task.workflow]
            del tasks[bisect_left(tasks, task.number, key=_NUMBER)]
            if not tasks:
                del self._by_workflow[task.workflow]

    def __contains__(self, task: OpenTask) -> bool:
        tasks = self._by_workflow.get(task.workflow, [])
        index = bisect_left(tasks, task.number, key=_NUMBER)
        return index < len(tasks) and tasks[index] is task

    def oldest(self, runs: Callable[[WorkflowKey], bool], can_run: Callable[[OpenTask], bool]) -> OpenTask | None:
        """The task that came first of those whose workflow ``runs`` and which ``can_run``."""
        best: OpenTask | None = None
        for workflow, tasks in self._by_workflow.items():
            if not runs(workflow):
                continue
            for task in tasks:
                if best is not None and task.number > best.number:
                    break
                if can_run(task):
                    best = task
                    break
        return best

    def lengths(self) -> dict[WorkflowKey, int]:
        """How many tasks wait for each workflow."""
        return {workflow: len(tasks) for workflow, tasks in self._by_workflow.items()}


_NUMBER = attrgetter("number")
