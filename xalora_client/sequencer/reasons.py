"""Why a task waits although miners are here, and who hears of it."""

from __future__ import annotations

from itertools import islice

from ..status_parts import StatusPart
from ..workflows import WorkflowKey
from .clock import Clock, Timer
from .miners import Miners
from .open_task import Group, OpenTask
from .values import Occupied

NOBODY = StatusPart.WORDS["no_miner"]
LOST = StatusPart.WORDS["miner_lost"]

_BETWEEN_REPORTS = 0.5

_BETWEEN_CHECKS = 2.0
"""A miner that is lost does not say so: while somebody watches tasks that wait, this checks every so many seconds."""

_MOST_LOOKED_AT = 100
"""Workflows of which one answer says what is missing: with many miners, all would hold up everybody else."""


class Reasons:
    """Why no miner takes a task. Those who watch one hear of another reason within three seconds."""

    def __init__(self, miners: Miners, clock: Clock) -> None:
        self._miners = miners
        self._clock = clock
        self._watched: dict[OpenTask, str | None] = {}
        self._reporting: Timer | None = None
        self._checking: Timer | None = None

    def of(self, task: OpenTask) -> tuple[str | None, tuple[str, ...] | None]:
        """Why no miner takes a task that waits, and the prompts that keep all from it; None where one does or will."""
        occupied: list[tuple[str, Occupied]] = []
        for miner in self._miners.alive():
            if miner.can_run(task):
                if miner.occupied is None:
                    return None, None
                occupied.append((miner.name, miner.occupied))
        if not occupied:
            why = self.left_out(task.workflow)
            return f"no connected miner runs this with these values; {why}" if why else NOBODY, None
        name, first = occupied[0]
        prompts = {each.prompt_id for _, each in occupied}
        blocked_by = None if None in prompts else tuple(sorted(filter(None, prompts)))
        return f"no miner that runs this is free; {name}: {first.reason}", blocked_by

    def left_out(self, workflow: WorkflowKey) -> str | None:
        """What a connected miner lacks for a workflow; None where none has told."""
        told = ((miner.name, miner.left_out.get(workflow)) for miner in self._miners.alive())
        return next((f"the miner {name} left it out: {why}" for name, why in told if why), None)

    def all_left_out(self) -> list[str]:
        """What connected miners lack for workflows that none of them runs, of the first that one of them lacks."""
        alive = list(self._miners.alive())
        lacking: dict[tuple[str, str | None], str] = {}
        for miner in alive:
            lacking |= miner.left_out
            if len(lacking) >= _MOST_LOOKED_AT:
                break
        workflows = [WorkflowKey(*each) for each in islice(lacking, _MOST_LOOKED_AT)]
        nowhere = [each for each in workflows if not any(miner.runs(each) for miner in alive)]
        return [f"{each}: {self.left_out(each)}" for each in nowhere]

    def has_news(self, task: OpenTask) -> bool:
        """Whether who watches a task from now on was told of another reason, or of none."""
        if task.group is None:
            return False
        told, (why, _) = self._watched.get(task), self.of(task)
        self._watched[task] = why
        self._check_later()
        return why != told

    def forget(self, task: OpenTask) -> None:
        """A task has ended."""
        self._watched.pop(task, None)

    def report_soon(self) -> None:
        """Let those who wait know why, if that is something else now. Miners may change that as often as they like."""
        if self._reporting is None:
            self._reporting = self._clock.call_later(_BETWEEN_REPORTS, self._report)

    def _check_later(self) -> None:
        if self._checking is None:
            self._checking = self._clock.call_later(_BETWEEN_CHECKS, self._check)

    def _check(self) -> None:
        self._checking = None
        self.report_soon()
        if any(task.status == "waiting" for task in self._watched):
            self._check_later()

    def _report(self) -> None:
        self._reporting = None
        now, found = self._clock.time(), dict[Group, str | None]()
        for task, told in list(self._watched.items()):
            if task.status != "waiting" or task.group is None:
                continue
            if task.group not in found:
                found[task.group], _ = self.of(task)
            if found[task.group] != told:
                self._watched[task] = found[task.group]
                task.change(now)
