"""The miners that the queue knows, what they can run, and which of those that wait gets a task."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import listed
from ..workflows import Capability, WorkflowKey
from .clock import Clock, Watchers
from .database import Database
from .open_task import Group, Lease, OpenTask
from .values import MinerView, NameTakenError, Occupied, TooManyError

ALIVE_SECONDS = 30.0
"""A miner that sends nothing for longer counts as gone."""

FORGOTTEN_SECONDS = 30 * 86_400.0
"""What a miner could run that was not here for so long no longer counts."""

_KEPT_SECONDS = 86_400.0
"""A miner that was not here for so long is no longer listed."""

_MOST_MINERS = 10_000
"""Miners that are listed. When there are more, those that are gone are forgotten at once."""

_FAILURES = 3
"""After so many attempts in a row without a result, a miner rests before the next."""

_SHORTEST_REST = 5.0
_LONGEST_REST = 300.0


@dataclass(eq=False)
class MinerRecord:
    """One miner.

    Attributes:
        name: Its name, which it chose.
        instance: Which process of that name; None for the public kind, which never registers.
        capabilities: What it can run, by workflow.
        workflow_ids: What one of the public kind can run: workflows with these ids, whatever their parameters.
        software: What it runs on, for people.
        left_out: What is missing there for other workflows, in its words.
        is_local: Whether it is inside this process: it can run everything, and is never lost.
        seen: When its last request came, by the clock that never jumps.
        tasks: Those that it runs.
        latest: The workflow that it ran last, whose models are loaded.
        ran: When it last began each workflow.
        done: How many tasks it has finished.
        failed: How many of its last attempts had no result.
        rests_until: While it rests, others get what they can run as well, by the same clock.
        occupied: Why it does not ask for tasks; None while it does or runs one.
        is_connected: While it waits for an answer: whether it still does. A process that was killed does not.
    """

    name: str
    instance: str | None
    capabilities: Mapping[WorkflowKey, Capability] = field(default_factory=dict)
    workflow_ids: frozenset[str] = frozenset()
    software: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[tuple[str, str | None], str] = field(default_factory=dict)
    is_local: bool = False
    seen: float = 0.0
    tasks: set[OpenTask] = field(default_factory=set)
    latest: WorkflowKey | None = None
    ran: dict[WorkflowKey, float] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    rests_until: float = 0.0
    occupied: Occupied | None = None
    is_connected: Callable[[], bool] | None = None

    def runs(self, workflow: WorkflowKey) -> bool:
        """Whether it has the workflow."""
        return self.is_local or workflow in self.capabilities or workflow.workflow_id in self.workflow_ids

    def can_run(self, task: OpenTask) -> bool:
        """Whether it has the task's workflow and takes its parameters."""
        capability = self.capabilities.get(task.workflow)
        return self.runs(task.workflow) if capability is None else task.accepted.get(capability.digest, False)

    def fits(self, group: Group) -> bool:
        """Whether it can run the tasks of a group."""
        workflow, digests = group
        capability = self.capabilities.get(workflow)
        return self.runs(workflow) if capability is None else capability.digest in digests

    def count_failure(self, now: float) -> None:
        """An attempt had no result. After several in a row it rests, each time for longer."""
        self.failed += 1
        if not self.is_well and not self.is_local:
            longer = 2.0 ** min(self.failed - _FAILURES, 10)
            self.rests_until = now + min(_SHORTEST_REST * longer, _LONGEST_REST)

    def forgive_failure(self) -> None:
        """An attempt without a result was not its fault."""
        self.failed = max(0, self.failed - 1)
        if self.is_well:
            self.rests_until = 0.0

    def count_result(self) -> None:
        """An attempt had a result."""
        self.done += 1
        self.failed, self.rests_until = 0, 0.0

    @property
    def is_well(self) -> bool:
        """Whether one of its last attempts had a result, or there were few."""
        return self.failed < _FAILURES

    @property
    def is_reliable(self) -> bool:
        """Whether what fails here is believed to be the fault of the task."""
        return self.failed < _FAILURES - 1

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
            self.name,
            self.is_alive(now),
            self.is_well,
            bool(self.tasks),
            now - self.seen,
            runs,
            self.done,
            self.failed,
            self.software,
        )


class Capabilities:
    """What miners can run: remembered across restarts, and what a create is checked against.

    ``configured`` are workflows that count although no miner has announced them yet.
    """

    def __init__(self, database: Database, configured: Iterable[WorkflowKey], clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._configured = set(configured)
        self._known: dict[WorkflowKey, dict[str, Capability]] = {}
        self._public_ids: set[str] = set()
        self._of_miner: dict[str, set[str]] = {}
        self._announced: dict[str, Capability | str] = {}
        self._counts = Counter[str]()
        database.run("DELETE FROM offers WHERE seen < ?", (database.steady_time(clock) - FORGOTTEN_SECONDS,))
        for miner, text in database.rows("SELECT miner, offer FROM offers"):
            self._of_miner.setdefault(miner, set()).add(text)
            announced = json.loads(text)
            self._add(text, announced if isinstance(announced, str) else Capability.from_json(announced))

    def remember(self, miner: MinerRecord) -> set[WorkflowKey]:
        """Replace what is known of the miner. Of the public kind only its workflows' ids are known.

        Returns the workflows that have capabilities now that no miner had before.
        """
        announced: dict[str, Capability | str] = {json.dumps(each): each for each in miner.workflow_ids}
        announced |= {json.dumps(capability.to_json()): capability for capability in miner.capabilities.values()}
        before, now = self._of_miner.get(miner.name, set()), self._database.steady_time(self._clock)
        old, new = before - announced.keys(), announced.keys() - before
        with self._database.transaction():
            if old:
                delete = "DELETE FROM offers WHERE miner = ? AND offer IN (SELECT value FROM json_each(?))"
                self._database.run(delete, (miner.name, json.dumps([*old])))
            if new:
                insert = "INSERT INTO offers SELECT ?, value, ? FROM json_each(?)"
                self._database.run(insert, (miner.name, now, json.dumps([*new])))
            self._database.run("UPDATE offers SET seen = ? WHERE miner = ?", (now, miner.name))
        self._of_miner[miner.name] = set(announced)
        self.__dict__.pop("names", None)  # It is computed again.
        added = {self._add(text, announced[text]) for text in new}
        for text in old:
            self._remove(text)
        return {workflow for workflow in added if workflow is not None}

    def of(self, workflow: WorkflowKey) -> tuple[Capability, ...]:
        """Those for a workflow."""
        return tuple(self._known.get(workflow, {}).values())

    async def announced_by(self, miners: Iterable[str]) -> set[str]:
        """What some miners announced, as texts. There may be very many: others get their turns meanwhile."""
        texts = set[str]()
        for name in miners:
            texts |= self._of_miner.get(name, set())
            await asyncio.sleep(0)
        return texts

    async def workflows_in(
        self, texts: Container[str], task_type: str | None, workflow_id: str | None
    ) -> set[WorkflowKey]:
        """The workflows in these texts; of one task type or workflow id, unless that is None."""
        found = set[WorkflowKey]()
        for number, workflow in enumerate([*self._known]):
            is_wanted = task_type in (None, workflow[0]) and workflow_id in (None, workflow[1])
            if is_wanted and any(text in texts for text in self._known.get(workflow, ())):
                found.add(workflow)
            if number % 1000 == 0:
                await asyncio.sleep(0)
        return found

    def in_texts(self, workflow: WorkflowKey, texts: Container[str]) -> tuple[list[tuple[str, Capability]], bool]:
        """Those for a workflow, each with its text; and whether there are others, or some that are not known."""
        known = self._known.get(workflow, {})
        found = sorted(each for each in known.items() if each[0] in texts)
        return found, len(found) < len(known) or workflow.workflow_id in self._public_ids

    def names_besides(self, found: Container[WorkflowKey], task_type: str | None, workflow_id: str | None) -> list[str]:
        """The names of what else may be asked for, of one task type or workflow id, unless that is None."""
        if task_type is not None and workflow_id is not None:
            asked = WorkflowKey(task_type, workflow_id)
            return [str(asked)] if asked in self and asked not in found else []
        others = (
            str(workflow)
            for workflow in {*self._known, *self._configured}
            if workflow not in found and task_type in (None, workflow[0]) and workflow_id in (None, workflow[1])
        )
        ids = (f"workflow_id {each}" for each in sorted(self._public_ids) if workflow_id in (None, each))
        return [*sorted(others), *ids]

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

    @cached_property
    def names(self) -> str:
        """The workflows that can be asked for, as a list in words."""
        return listed(self.names_besides((), None, None))

    def _add(self, text: str, announced: Capability | str) -> WorkflowKey | None:
        """Count an announcement; its workflow if it is a capability that was not known."""
        self._counts[text] += 1
        if self._counts[text] > 1:
            return None
        self._announced[text] = announced
        if isinstance(announced, str):
            self._public_ids.add(announced)
            return None
        self._known.setdefault(announced.key, {})[text] = announced
        return announced.key

    def _remove(self, text: str) -> None:
        self._counts[text] -= 1
        if self._counts[text] > 0:
            return
        del self._counts[text]
        announced = self._announced.pop(text)
        if isinstance(announced, str):
            self._public_ids.discard(announced)
            return
        del self._known[announced.key][text]
        if not self._known[announced.key]:
            del self._known[announced.key]


class Miners:
    """The miners by name."""

    def __init__(self, capabilities: Capabilities, clock: Clock) -> None:
        self._capabilities = capabilities
        self._clock = clock
        self._by_name: dict[str, MinerRecord] = {}
        self._tasks: dict[str, set[OpenTask]] = {}

    def __iter__(self) -> Iterator[MinerRecord]:
        return iter(self._by_name.values())

    def alive(self) -> list[MinerRecord]:
        """Those that are connected."""
        now = self._clock.monotonic()
        return [miner for miner in self if miner.is_alive(now)]

    def tasks_of(self, name: str) -> set[OpenTask]:
        """The tasks that the miner of this name runs, whether or not it is here."""
        return self._tasks.setdefault(name, set())

    def running(self) -> Iterator[OpenTask]:
        """All tasks that run."""
        return (task for tasks in self._tasks.values() for task in tasks)

    def gets(self, miner: MinerRecord, fits: Callable[[MinerRecord], bool], task: OpenTask | None = None) -> bool:
        """Whether a miner gets tasks that it can run, for which ``fits`` asks. Given a task, that one.

        Not while it rests or the task avoids it, if another one is here that fits, and is neither resting, avoided nor
        busy.
        """
        now = self._clock.monotonic()

        def is_better(other: MinerRecord) -> bool:
            is_avoided = task is not None and task.avoided.get(other.name, 0.0) > now
            return not is_avoided and other.rests_until <= now and other.occupied is None

        return is_better(miner) or not any(
            other is not miner and is_better(other) and fits(other) and other.is_alive(now) for other in self
        )

    def get(self, name: str | None) -> MinerRecord | None:
        """The miner of this name."""
        return self._by_name.get(name or "")

    def find(self, name: str, instance: str | None) -> MinerRecord | None:
        """The same if it is this process, which has just sent something."""
        miner = self._by_name.get(name)
        if miner is None or miner.instance != instance:
            return None
        miner.seen = self._clock.monotonic()
        return miner

    def mark_seen(self, name: str | None) -> None:
        """A sign of life of a miner."""
        if (miner := self.get(name)) is not None:
            miner.seen = self._clock.monotonic()

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

    def register(self, miner: MinerRecord) -> set[WorkflowKey]:
        """Add a miner, which may be known from before. Returns the workflows with new capabilities.

        Raises NameTakenError when another process with its name is here, and TooManyError. A process that was
        killed has hung up, so the one that is started in its place gets its name at once.
        """
        miner.seen = self._clock.monotonic()
        known = self._by_name.get(miner.name)
        if known is not None and known.instance != miner.instance and known.is_alive(miner.seen):
            raise NameTakenError(miner.name)
        is_full = len(self._by_name) >= _MOST_MINERS
        for old in list(self):
            is_old = miner.seen - old.seen > _KEPT_SECONDS or (is_full and not old.is_alive(miner.seen))
            if is_old and old is not known and not old.tasks:
                del self._by_name[old.name], self._tasks[old.name]
        if known is None and len(self._by_name) >= _MOST_MINERS:
            raise TooManyError(f"{_MOST_MINERS} miners are here, the most that there may be")
        added = set() if miner.is_local else self._capabilities.remember(miner)
        if known is not None:
            miner.latest, miner.ran, miner.done = known.latest, known.ran, known.done
            miner.failed, miner.rests_until = known.failed, known.rests_until
        miner.tasks = self.tasks_of(miner.name)
        self._by_name[miner.name] = miner
        return added


@dataclass(eq=False)
class PendingPoll:
    """A miner's request that waits for a task.

    Attributes:
        miner: The miner.
        since: When it began to wait, by the clock that never jumps.
        is_connected: Whether an answer would still reach it.
        claimed: The task that it gets, once there is one.
        watchers: The request itself; wake it to end the wait.
    """

    miner: MinerRecord
    since: float
    is_connected: Callable[[], bool]
    claimed: tuple[OpenTask, Lease] | None = None
    watchers: Watchers = field(default_factory=Watchers)


def best_poll(polls: Iterable[PendingPoll], task: OpenTask, miners: Miners) -> PendingPoll | None:
    """The waiting miner that gets the task: of those that can run it, the one that ran its workflow last.

    First one that has run nothing else since, for its models are loaded; then the one that waits longest.
    """

    def rank(poll: PendingPoll) -> tuple[bool, float, float]:
        miner = poll.miner
        return (miner.latest == task.workflow, miner.ran.get(task.workflow, 0.0), -poll.since)

    fitting = [
        poll
        for poll in polls
        if poll.is_connected()
        and poll.miner.can_run(task)
        and miners.gets(poll.miner, lambda other: other.can_run(task), task)
    ]
    return max(fitting, key=rank, default=None)
