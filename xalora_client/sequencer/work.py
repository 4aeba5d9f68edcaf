"""What the dispatcher knows of a task that has not ended: its place in the queue, its attempts and its lease."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .clock import Timer, Watchers

ATTEMPTS = 3
"""How often a task is begun before it fails because its miners were lost."""


class Workflow(NamedTuple):
    """Which workflow a task needs. ``str`` gives "txt2vid.1", or "upscaler" where there is no id."""

    task_type: str
    workflow_id: str | None

    def __str__(self) -> str:
        return self.task_type if self.workflow_id is None else f"{self.task_type}.{self.workflow_id}"


@dataclass(eq=False)
class Lease:
    """One attempt: the right of one miner to carry out a task.

    Attributes:
        token: What proves the right. Only its holder and this process know it.
        miner: The holder's name.
        prompt_id: The attempt's id on the miner's ComfyUI.
        attempt: 1 to 3.
        began: Unix time.
        until: Unix time at which it runs out without a heartbeat. None for miners inside this process.
        heard: Whether the holder has been heard of since it got the task.
        over: Why it ended: "canceled", "timed out" or "lost". None while it lasts.
    """

    token: str
    miner: str
    prompt_id: str
    attempt: int
    began: float
    until: float | None = None
    heard: bool = False
    over: str | None = None
    timer: Timer | None = None
    watchers: Watchers = field(default_factory=Watchers)

    @classmethod
    def new(cls, miner: str, attempt: int, began: float) -> Lease:
        """A lease with a fresh token and prompt id."""
        return cls(secrets.token_urlsafe(32), miner, str(uuid.uuid4()), attempt, began)

    def derived(self, purpose: str) -> str:
        """A token for one purpose, such as the upload. It does not tell the lease's own."""
        return derived(self.token, purpose)

    def end(self, why: str) -> None:
        """End it, and tell its holder."""
        self.over = why
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.watchers.wake()


def derived(token: str, purpose: str) -> str:
    """A token made from another, which it does not tell."""
    return hashlib.sha256(f"{purpose}\n{token}".encode()).hexdigest()


@dataclass(eq=False)
class Work:
    """A task that has not ended.

    Attributes:
        number: Its place in the order of arrival.
        deadline: Unix time by which it must have ended, or None.
        ready: Whether its inputs are here.
        attempts: How many have begun.
        lease: The present attempt's, or that of the last lost one while nobody else has begun.
        trouble: What the last miner that gave it back said of why.
        upload: The name of the file that the present attempt uploaded.
        revision: Grows with each change. It is the milliseconds since the creation, so it also grows over restarts.
        progress: What the miner says, as answers show it; see progress.py, also for the four that follow.
        timer: The call at the deadline.
        checked: For each set of parameters that miners offer, whether the task's values fit.
    """

    task_id: str
    number: int
    workflow: Workflow
    created: float
    deadline: float | None = None
    ready: bool = False
    status: str = "waiting"
    attempts: int = 0
    lease: Lease | None = None
    upload: str | None = None
    trouble: str | None = None
    revision: int = 0
    progress: dict[str, Any] | None = None
    preview: str | None = None
    preview_revision: int | None = None
    unshown: bool = False
    pending: Timer | None = None
    timer: Timer | None = None
    checked: dict[str, bool] = field(default_factory=dict)
    watchers: Watchers = field(default_factory=Watchers)

    def change(self, now: float) -> None:
        """Count a change, and wake those who wait for one."""
        self.revision = self.next_revision(now)
        self.watchers.wake()

    def next_revision(self, now: float) -> int:
        """The revision of the next change."""
        return max(self.revision + 1, int((now - self.created) * 1000))
