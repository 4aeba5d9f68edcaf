"""The miners that the dispatcher knows, and which of them gets a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from .clock import Clock, Watchers
from .work import Lease, Work, Workflow

ALIVE_SECONDS = 30.0
"""A miner that was not heard of for longer is taken to be gone."""


class Abilities(Protocol):
    """What a miner can carry out."""

    def runs(self, workflow: Workflow) -> bool:
        """Whether it has the workflow."""

    def accepts(self, work: Work) -> bool:
        """Whether it takes the task's values; asked only for workflows that it runs."""

    def names(self) -> list[str]:
        """The workflows, for people."""


@dataclass(eq=False)
class Miner:
    """One miner.

    Attributes:
        name: Its own name for itself.
        instance: Which process of that name; None for a miner that never registered.
        lease_seconds: How long it may be silent during a task. None for a miner inside this process.
        seen: When it was last heard of, Unix time.
        software: What it says it runs on, for people.
        holds: The tasks that it carries out.
        latest: The workflow that it ran last, whose models are loaded.
        ran: When it last began each workflow.
        listens: While it waits for an answer: whether it still does. A process that was killed does not.
    """

    name: str
    abilities: Abilities
    instance: str | None = None
    lease_seconds: float | None = None
    seen: float = 0.0
    software: Mapping[str, str] = field(default_factory=dict)
    holds: set[Work] = field(default_factory=set)
    latest: Workflow | None = None
    ran: dict[Workflow, float] = field(default_factory=dict)
    done: int = 0
    listens: Callable[[], bool] | None = None

    def can_run(self, work: Work) -> bool:
        """Whether it can carry out the task."""
        return self.abilities.runs(work.workflow) and self.abilities.accepts(work)

    def is_alive(self, now: float) -> bool:
        """Whether it was heard of lately, and has not hung up since."""
        if self.listens is not None and not self.listens():
            return False
        return self.lease_seconds is None or now - self.seen <= ALIVE_SECONDS

    @contextmanager
    def listening(self, listens: Callable[[], bool]) -> Iterator[None]:
        """Wait for something to answer the miner."""
        self.listens = listens
        try:
            yield
        finally:
            if self.listens is listens:
                self.listens = None


class Place:
    """A miner's request that waits for a task. ``is_open`` says whether an answer would still reach it."""

    def __init__(self, miner: Miner, since: float, is_open: Callable[[], bool]) -> None:
        self.miner = miner
        self.since = since
        self.is_open = is_open
        self.given: tuple[Work, Lease] | None = None
        self._watchers = Watchers()

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Return when something is given, or after so many seconds."""
        await self._watchers.wait(clock, seconds)

    def leave(self) -> None:
        """End the wait without a task."""
        self._watchers.wake()

    def give(self, work: Work, lease: Lease) -> None:
        """End the wait with a task."""
        self.given = (work, lease)
        self._watchers.wake()


def best_place(places: Iterable[Place], work: Work) -> Place | None:
    """The waiting miner that gets the task: of those that can run it, the one that ran its workflow last.

    First one that has run nothing else since, for its models are loaded; then the one that waits longest.
    """

    def rank(place: Place) -> tuple[bool, float, float]:
        miner = place.miner
        return (miner.latest == work.workflow, miner.ran.get(work.workflow, 0.0), -place.since)

    fitting = [place for place in places if place.is_open() and place.miner.can_run(work)]
    return max(fitting, key=rank, default=None)
