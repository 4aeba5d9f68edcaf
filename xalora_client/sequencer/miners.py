"""The miners that the queue knows, and which of those that wait gets a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from .capabilities import Capabilities, Capability
from .clock import Clock, Watchers
from .open_task import Lease, OpenTask
from .values import MinerView, NameTakenError, Workflow

ALIVE_SECONDS = 30.0
"""A miner that was not heard of for longer is taken to be gone."""

_KEPT_SECONDS = 86_400.0
"""A miner that was not here for so long is no longer listed."""


@dataclass(eq=False)
class MinerRecord:
    """One miner.

    Attributes:
        name: Its own name for itself.
        instance: Which process of that name; None for the public kind, which never registers.
        capabilities: What it can run, by workflow.
        workflow_ids: What one of the public kind can run: workflows with these ids, whatever their parameters.
        software: What it says it runs on, for people.
        is_local: Whether it is inside this process: it can run everything, and is never lost.
        seen: When it was last heard of, Unix time.
        tasks: Those that it runs.
        latest: The workflow that it ran last, whose models are loaded.
        ran: When it last began each workflow.
        done: How many tasks it has finished.
        listens: While it waits for an answer: whether it still does. A process that was killed does not.
    """

    name: str
    instance: str | None
    capabilities: Mapping[Workflow, Capability] = field(default_factory=dict)
    workflow_ids: frozenset[str] = frozenset()
    software: Mapping[str, str] = field(default_factory=dict)
    is_local: bool = False
    seen: float = 0.0
    tasks: set[OpenTask] = field(default_factory=set)
    latest: Workflow | None = None
    ran: dict[Workflow, float] = field(default_factory=dict)
    done: int = 0
    listens: Callable[[], bool] | None = None

    def runs(self, workflow: Workflow) -> bool:
        """Whether it has the workflow."""
        return self.is_local or workflow in self.capabilities or workflow.workflow_id in self.workflow_ids

    def can_run(self, task: OpenTask) -> bool:
        """Whether it has the task's workflow and takes its parameters."""
        capability = self.capabilities.get(task.workflow)
        return self.runs(task.workflow) if capability is None else task.accepted.get(capability.digest, False)

    def is_alive(self, now: float) -> bool:
        """Whether it was heard of lately, and has not hung up since."""
        if self.listens is not None and not self.listens():
            return False
        return self.is_local or now - self.seen <= ALIVE_SECONDS

    @contextmanager
    def listening(self, listens: Callable[[], bool]) -> Iterator[None]:
        """Wait for something to answer the miner."""
        self.listens = listens
        try:
            yield
        finally:
            if self.listens is listens:
                self.listens = None

    def view(self, now: float) -> MinerView:
        """It, for people."""
        return MinerView(
            self.name, self.is_alive(now), bool(self.tasks), now - self.seen, self._names, self.done, self.software
        )

    @cached_property
    def _names(self) -> tuple[str, ...]:
        ids = (f"workflow_id {workflow_id}" for workflow_id in sorted(self.workflow_ids))
        return (*sorted(map(str, self.capabilities)), *ids)


class Miners:
    """The miners by name."""

    def __init__(self, capabilities: Capabilities, clock: Clock) -> None:
        self._capabilities = capabilities
        self._clock = clock
        self._by_name: dict[str, MinerRecord] = {}

    def __iter__(self) -> Iterator[MinerRecord]:
        return iter(self._by_name.values())

    def alive(self) -> list[MinerRecord]:
        """Those that are here."""
        now = self._clock.time()
        return [miner for miner in self if miner.is_alive(now)]

    def get(self, name: str | None) -> MinerRecord | None:
        """The miner of this name."""
        return self._by_name.get(name or "")

    def find(self, name: str, instance: str | None) -> MinerRecord | None:
        """The same if it is this process, which was just heard of."""
        miner = self._by_name.get(name)
        if miner is None or miner.instance != instance:
            return None
        miner.seen = self._clock.time()
        return miner

    def mark_seen(self, name: str | None) -> None:
        """A sign of life of a miner."""
        if (miner := self.get(name)) is not None:
            miner.seen = self._clock.time()

    def register(self, miner: MinerRecord, running: Iterable[OpenTask]) -> None:
        """Take up a miner, which may be known from before. ``running`` are all tasks that run.

        Raises NameTakenError when another process with its name is here. A process that was killed has hung up, so the
        one that is started in its place gets its name at once.
        """
        miner.seen = self._clock.time()
        known = self._by_name.get(miner.name)
        if known is not None and known.instance != miner.instance and known.is_alive(miner.seen):
            raise NameTakenError(miner.name)
        if not miner.is_local:
            self._capabilities.remember(miner.name, miner.capabilities.values(), miner.workflow_ids, miner.seen)
        for old in list(self):
            if miner.seen - old.seen > _KEPT_SECONDS and not old.tasks:
                del self._by_name[old.name]
        if known is not None:
            miner.latest, miner.ran, miner.done = known.latest, known.ran, known.done
        miner.tasks = {task for task in running if task.lease is not None and task.lease.miner == miner.name}
        self._by_name[miner.name] = miner


class PendingPoll:
    """A miner's request that waits for a task. ``listens`` says whether an answer would still reach it."""

    def __init__(self, miner: MinerRecord, since: float, listens: Callable[[], bool]) -> None:
        self.miner = miner
        self.since = since
        self.listens = listens
        self.given: tuple[OpenTask, Lease] | None = None
        self._watchers = Watchers()

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Return when something is given, or after so many seconds."""
        await self._watchers.wait(clock, seconds)

    def leave(self) -> None:
        """End the wait without a task."""
        self._watchers.wake()

    def give(self, task: OpenTask, lease: Lease) -> None:
        """End the wait with a task."""
        self.given = (task, lease)
        self._watchers.wake()


def best_poll(polls: Iterable[PendingPoll], task: OpenTask) -> PendingPoll | None:
    """The waiting miner that gets the task: of those that can run it, the one that ran its workflow last.

    First one that has run nothing else since, for its models are loaded; then the one that waits longest.
    """

    def rank(poll: PendingPoll) -> tuple[bool, float, float]:
        miner = poll.miner
        return (miner.latest == task.workflow, miner.ran.get(task.workflow, 0.0), -poll.since)

    fitting = [poll for poll in polls if poll.listens() and poll.miner.can_run(task)]
    return max(fitting, key=rank, default=None)
