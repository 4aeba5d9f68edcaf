"""The tasks that wait for a miner, by workflow and in order of arrival."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from .work import Work, Workflow


class WaitingQueue:
    """A task that comes back after a lost attempt has kept its number, so it is at the head again."""

    def __init__(self) -> None:
        self._by_workflow: dict[Workflow, list[Work]] = {}

    def add(self, work: Work) -> None:
        """Add a task."""
        insort(self._by_workflow.setdefault(work.workflow, []), work, key=_number)

    def discard(self, work: Work) -> None:
        """Remove a task if it is there."""
        queue = self._by_workflow.get(work.workflow, [])
        place = bisect_left(queue, work.number, key=_number)
        if place < len(queue) and queue[place] is work:
            del queue[place]
            if not queue:
                del self._by_workflow[work.workflow]

    def oldest(self, runs: Callable[[Workflow], bool], accepts: Callable[[Work], bool]) -> Work | None:
        """The task that came first of those whose workflow ``runs`` and which ``accepts``."""
        best: Work | None = None
        for workflow, queue in self._by_workflow.items():
            if not runs(workflow):
                continue
            for work in queue:
                if best is not None and work.number > best.number:
                    break
                if accepts(work):
                    best = work
                    break
        return best

    def lengths(self) -> dict[Workflow, int]:
        """How many tasks wait for each workflow."""
        return {workflow: len(queue) for workflow, queue in self._by_workflow.items()}

    def __iter__(self) -> Iterator[Work]:
        for queue in self._by_workflow.values():
            yield from queue

    def __len__(self) -> int:
        return sum(map(len, self._by_workflow.values()))


def _number(work: Work) -> int:
    return work.number
