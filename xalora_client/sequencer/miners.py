"""The miners that the queue knows, what they can run, and which of those that wait gets a task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..workflows import Capability, WorkflowKey
from .clock import Clock, Watchers
from .database import Database
from .open_task import Lease, OpenTask
from .values import MinerView, NameTakenError

ALIVE_SECONDS = 30.0
"""A miner that sends nothing for longer counts as gone."""

FORGOTTEN_SECONDS = 30 * 86_400.0
"""What a miner could run that was not here for so long no longer counts."""

_KEPT_SECONDS = 86_400.0
"""A miner that was not here for so long is no longer listed."""


@dataclass(eq=False)
class MinerRecord:
    """One miner.

    Attributes:
        name: Its name, which it chose.
        instance: Which process of that name; None for the public kind, which never registers.
        capabilities: What it can run, by workflow.
        workflow_ids: What one of the public kind can run: workflows with these ids, whatever their parameters.
        software: What it runs on, for people.
        is_local: Whether it is inside this process: it can run everything, and is never lost.
        seen: When its last request came, Unix time.
        tasks: Those that it runs.
        latest: The workflow that it ran last, whose models are loaded.
        ran: When it last began each workflow.
        done: How many tasks it has finished.
        is_connected: While it waits for an answer: whether it still does. A process that was killed does not.
    """

    name: str
    instance: str | None
    capabilities: Mapping[WorkflowKey, Capability] = field(default_factory=dict)
    workflow_ids: frozenset[str] = frozenset()
    software: Mapping[str, str] = field(default_factory=dict)
    is_local: bool = False
    seen: float = 0.0
    tasks: set[OpenTask] = field(default_factory=set)
    latest: WorkflowKey | None = None
    ran: dict[WorkflowKey, float] = field(default_factory=dict)
    done: int = 0
    is_connected: Callable[[], bool] | None = None

    def runs(self, workflow: WorkflowKey) -> bool:
        """Whether it has the workflow."""
        return self.is_local or workflow in self.capabilities or workflow.workflow_id in self.workflow_ids

    def can_run(self, task: OpenTask) -> bool:
        """Whether it has the task's workflow and takes its parameters."""
        capability = self.capabilities.get(task.workflow)
        return self.runs(task.workflow) if capability is None else task.accepted.get(capability.digest, False)

    def is_alive(self, now: float) -> bool:
        """Whether it has sent something lately, and has not hung up since."""
        if self.is_connected is not None and not self.is_connected():
            return False
        return self.is_local or now - self.seen <= ALIVE_SECONDS

    def view(self, now: float) -> MinerView:
        """The miner, for people."""
        ids = (f"workflow_id {workflow_id}" for workflow_id in sorted(self.workflow_ids))
        runs = (*sorted(map(str, self.capabilities)), *ids)
        return MinerView(
            self.name, self.is_alive(now), bool(self.tasks), now - self.seen, runs, self.done, self.software
        )


class Capabilities:
    """What miners can run: remembered across restarts, and what a create is checked against.

    ``configured`` are workflows that count although no miner has announced them yet.
    """

    def __init__(self, database: Database, configured: Iterable[WorkflowKey], clock: Clock) -> None:
        self._database = database
        self._configured = set(configured)
        self._known: dict[WorkflowKey, dict[str, Capability]] = {}
        self._public_ids: set[str] = set()
        self._clock = clock
        database.run("DELETE FROM offers WHERE seen < ?", (database.steady_time(clock) - FORGOTTEN_SECONDS,))
        self._read()

    def remember(self, miner: MinerRecord) -> None:
        """Replace what is known of the miner. Of the public kind only its workflows' ids are known."""
        announced = [capability.to_json() for capability in miner.capabilities.values()]
        now = self._database.steady_time(self._clock)
        with self._database.transaction():
            self._database.run("DELETE FROM offers WHERE miner = ?", (miner.name,))
            for item in (*announced, *miner.workflow_ids):
                self._database.run(
                    "INSERT OR REPLACE INTO offers VALUES (?, ?, ?)", (miner.name, json.dumps(item), now)
                )
        self._read()

    def of(self, workflow: WorkflowKey) -> tuple[Capability, ...]:
        """Those for a workflow."""
        return tuple(self._known.get(workflow, {}).values())

    def __contains__(self, workflow: WorkflowKey) -> bool:
        return workflow in self._known or workflow in self._configured or workflow.workflow_id in self._public_ids

    def check(self, workflow: WorkflowKey, parameters: Mapping[str, Any]) -> None:
        """Raise InvalidParameterError for parameters that no miner takes.

        Where a miner only named the workflow's id, or none has announced it yet, they cannot be checked.
        """
        capabilities = self.of(workflow)
        is_unchecked = not capabilities or workflow.workflow_id in self._public_ids
        if not is_unchecked and not any(capability.accepts(parameters) for capability in capabilities):
            capabilities[0].resolve(parameters)

    def names(self) -> list[str]:
        """All workflows that can be asked for, in words."""
        known = [str(workflow) for workflow in {*self._known, *self._configured}]
        return sorted(known) + [f"workflow_id {workflow_id}" for workflow_id in sorted(self._public_ids)]

    def _read(self) -> None:
        self._known, self._public_ids = {}, set()
        for (text,) in self._database.rows("SELECT DISTINCT offer FROM offers"):
            announced = json.loads(text)
            if isinstance(announced, str):
                self._public_ids.add(announced)
            else:
                capability = Capability.from_json(announced)
                self._known.setdefault(capability.key, {})[capability.digest] = capability


class Miners:
    """The miners by name."""

    def __init__(self, capabilities: Capabilities, clock: Clock) -> None:
        self._capabilities = capabilities
        self._clock = clock
        self._by_name: dict[str, MinerRecord] = {}

    def __iter__(self) -> Iterator[MinerRecord]:
        return iter(self._by_name.values())

    def alive(self) -> list[MinerRecord]:
        """Those that are connected."""
        now = self._clock.time()
        return [miner for miner in self if miner.is_alive(now)]

    def get(self, name: str | None) -> MinerRecord | None:
        """The miner of this name."""
        return self._by_name.get(name or "")

    def find(self, name: str, instance: str | None) -> MinerRecord | None:
        """The same if it is this process, which has just sent something."""
        miner = self._by_name.get(name)
        if miner is None or miner.instance != instance:
            return None
        miner.seen = self._clock.time()
        return miner

    def mark_seen(self, name: str | None) -> None:
        """A sign of life of a miner."""
        if (miner := self.get(name)) is not None:
            miner.seen = self._clock.time()

    @contextmanager
    def listening(self, name: str | None, is_connected: Callable[[], bool]) -> Iterator[None]:
        """Wait for something to answer a miner. If it still listens afterwards, that is a sign of life."""
        miner = self.get(name)
        if miner is not None:
            miner.is_connected = is_connected
        try:
            yield
        finally:
            if miner is not None and miner.is_connected is is_connected:
                miner.is_connected = None
        if is_connected():
            self.mark_seen(name)

    def register(self, miner: MinerRecord, running: Iterable[OpenTask]) -> None:
        """Add a miner, which may be known from before. ``running`` are all tasks that run.

        Raises NameTakenError when another process with its name is here. A process that was killed has hung up, so the
        one that is started in its place gets its name at once.
        """
        miner.seen = self._clock.time()
        known = self._by_name.get(miner.name)
        if known is not None and known.instance != miner.instance and known.is_alive(miner.seen):
            raise NameTakenError(miner.name)
        if not miner.is_local:
            self._capabilities.remember(miner)
        for old in list(self):
            if miner.seen - old.seen > _KEPT_SECONDS and not old.tasks:
                del self._by_name[old.name]
        if known is not None:
            miner.latest, miner.ran, miner.done = known.latest, known.ran, known.done
        miner.tasks = {task for task in running if task.lease is not None and task.lease.miner == miner.name}
        self._by_name[miner.name] = miner


@dataclass(eq=False)
class PendingPoll:
    """A miner's request that waits for a task.

    Attributes:
        miner: The miner.
        since: When it began to wait, Unix time.
        is_connected: Whether an answer would still reach it.
        claimed: The task that it gets, once there is one.
        watchers: The request itself; wake it to end the wait.
    """

    miner: MinerRecord
    since: float
    is_connected: Callable[[], bool]
    claimed: tuple[OpenTask, Lease] | None = None
    watchers: Watchers = field(default_factory=Watchers)


def best_poll(polls: Iterable[PendingPoll], task: OpenTask) -> PendingPoll | None:
    """The waiting miner that gets the task: of those that can run it, the one that ran its workflow last.

    First one that has run nothing else since, for its models are loaded; then the one that waits longest.
    """

    def rank(poll: PendingPoll) -> tuple[bool, float, float]:
        miner = poll.miner
        return (miner.latest == task.workflow, miner.ran.get(task.workflow, 0.0), -poll.since)

    fitting = [poll for poll in polls if poll.is_connected() and poll.miner.can_run(task)]
    return max(fitting, key=rank, default=None)
