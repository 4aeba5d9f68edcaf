"""The tasks that wait for a miner: whose turn it is among the consumers, which of theirs comes first, how many may be.

Turns are by start-time fair queueing: each task begun moves its consumer's next turn one step on, so a consumer's only
task does not wait behind the thousand of another. Among a consumer's own tasks, the one with the highest priority comes
first, then the oldest. A task that comes back after a lost attempt has had its turn, and comes before all of these.

However many tasks wait, a step takes about as long: no more than a heap needs.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter

from ..workflows import WorkflowKey
from .open_task import Group, OpenTask
from .values import TooManyError

_MOST_RETURNED = 100
"""Tasks that came back and are looked at for one miner: one that gives everything back must not make this long."""

_MOST_BYTES = 4 * 2**30
"""Of the parameters of an owner's tasks, with the ``data:`` URIs that came in them."""

_NUMBER = attrgetter("number")


@dataclass
class _Tasks:
    """The tasks of one group: those that came back, a heap for each owner, and a heap of the owners by their starts.

    Heaps may hold entries that are out of date, which are dropped or renewed when they come up.
    """

    returned: list[OpenTask] = field(default_factory=list)
    by_owner: dict[bytes, list[tuple[int, int, OpenTask]]] = field(default_factory=dict)
    owners: list[tuple[float, int, bytes]] = field(default_factory=list)
    length: int = 0


class WaitingTasks:
    """The tasks that wait for a miner.

    Time is counted in turns: ``_starts`` is when each owner's next one is, ``_time`` when the last one began.
    """

    def __init__(self) -> None:
        self._groups: dict[Group, _Tasks] = {}
        self._starts: dict[bytes, float] = {}
        self._time = 0.0

    def add(self, task: OpenTask) -> None:
        """Add a task that waits and is not here."""
        task.group = (task.workflow, frozenset(digest for digest, accepts in task.accepted.items() if accepts))
        group = self._groups.setdefault(task.group, _Tasks())
        group.length += 1
        if task.was_begun:
            insort(group.returned, task, key=_NUMBER)
            return
        if task.owner not in group.by_owner:
            group.by_owner[task.owner] = []
            heapq.heappush(group.owners, (self._start_of(task.owner), task.number, task.owner))
        heapq.heappush(group.by_owner[task.owner], (-task.priority, task.number, task))

    def discard(self, task: OpenTask) -> None:
        """Remove a task if it is here."""
        if task.group is None:
            return
        group = self._groups[task.group]
        group.length -= 1
        task.group = None
        index = bisect_left(group.returned, task.number, key=_NUMBER)
        if group.returned[index : index + 1] == [task]:
            del group.returned[index]

    def next(self, runs: Callable[[Group], bool], can_retry: Callable[[OpenTask], bool]) -> OpenTask | None:
        """The task that is next for a miner. It stays here.

        ``runs`` is whether the miner gets tasks of this group, ``can_retry`` whether it gets one that came back.
        """
        groups = {key: group for key, group in list(self._groups.items()) if self._is_here(key, group) and runs(key)}
        returned = (task for group in groups.values() for task in islice(group.returned, _MOST_RETURNED))
        if (again := min(filter(can_retry, returned), key=_NUMBER, default=None)) is not None:
            return again
        firsts = [first for key, group in groups.items() if (first := self._first_owner(key, group)) is not None]
        if not firsts:
            return None
        _, _, owner = min(firsts)
        own = [group.by_owner[owner][0] for key, group in groups.items() if _has_task(key, group, owner)]
        return min(own)[2]

    def count_start(self, owner: bytes) -> None:
        """A task of this owner begins."""
        self._time = self._start_of(owner)
        self._starts[owner] = self._time + 1

    def lengths(self) -> dict[WorkflowKey, int]:
        """How many tasks wait for each workflow."""
        lengths = Counter[WorkflowKey]()
        for (workflow, _), group in self._groups.items():
            lengths[workflow] += group.length
        return {workflow: length for workflow, length in lengths.items() if length}

    def _start_of(self, owner: bytes) -> float:
        return max(self._time, self._starts.get(owner, 0.0))

    def _is_here(self, key: Group, group: _Tasks) -> bool:
        if group.length == 0:
            del self._groups[key]
        return group.length > 0

    def _first_owner(self, key: Group, group: _Tasks) -> tuple[float, int, bytes] | None:
        """The owner in a group whose turn is first: when it is, a task's number, and the owner."""
        while group.owners:
            start, number, owner = group.owners[0]
            if not _has_task(key, group, owner):
                del group.by_owner[owner]
                heapq.heappop(group.owners)
            elif (now := self._starts.get(owner, 0.0)) > start:
                heapq.heapreplace(group.owners, (now, group.by_owner[owner][0][1], owner))
            else:
                return start, number, owner
        return None


def _has_task(key: Group, group: _Tasks, owner: bytes) -> bool:
    tasks = group.by_owner.get(owner, [])
    while tasks and (tasks[0][2].group != key or tasks[0][2].was_begun):
        heapq.heappop(tasks)
    return bool(tasks)


class Amounts:
    """How much of each owner waits. ``most`` is how many tasks may."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count_of = Counter[bytes]()
        self._bytes_of = Counter[bytes]()

    def check(self, owner: bytes) -> None:
        """Raise TooManyError where another task would be too much."""
        waiting, size = self._count_of[owner], self._bytes_of[owner]
        if waiting >= self._most or size >= _MOST_BYTES:
            raise TooManyError(
                f"{waiting} tasks of this key wait, and their parameters take {size // 2**20} MiB: that is the most "
                "that may wait here at a time. Send this again when some of them have begun"
            )

    def count(self, task: OpenTask, change: int) -> None:
        """A task waits from now on (1), or does no longer (-1)."""
        self._count_of[task.owner] += change
        self._bytes_of[task.owner] += change * task.size
        if not self._count_of[task.owner]:
            del self._count_of[task.owner], self._bytes_of[task.owner]
