"""Which miners there are: registered ones, and the public kind that only says its workflows' ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import InvalidParameterError
from .clock import Clock
from .dispatcher import LEASE_SECONDS, Dispatcher
from .http import Refusal
from .miners import Miner
from .offers import Offers, Variant
from .store import Store
from .work import Work, Workflow

_KEPT_SECONDS = 86_400.0
"""A miner that was not here for so long is no longer listed."""


class _Offered:
    """What a registered miner can run."""

    def __init__(self, variants: Iterable[Variant], store: Store) -> None:
        self._variants = {each.workflow: each for each in variants}
        self._store = store

    def runs(self, workflow: Workflow) -> bool:
        return workflow in self._variants

    def accepts(self, work: Work) -> bool:
        return self._variants[work.workflow].takes(work, self._store)

    def names(self) -> list[str]:
        return sorted(map(str, self._variants))


class _Ids:
    """What a public miner can run: workflows with these ids, whatever their parameters."""

    def __init__(self, workflow_ids: frozenset[str]) -> None:
        self.workflow_ids = workflow_ids

    def runs(self, workflow: Workflow) -> bool:
        return workflow.workflow_id in self.workflow_ids

    def accepts(self, work: Work) -> bool:
        return True

    def names(self) -> list[str]:
        return [f"workflow_id {each}" for each in sorted(self.workflow_ids)]


class Registry:
    """The miners by name, in the dispatcher's own list."""

    def __init__(self, dispatcher: Dispatcher, offers: Offers, store: Store, clock: Clock) -> None:
        self._dispatcher = dispatcher
        self._offers = offers
        self._store = store
        self._clock = clock

    def register(self, name: str, instance: str, variants: list[Variant], software: Mapping[str, str]) -> Miner:
        """Take up a miner. Raises Refusal 409 when another process with its name is here.

        A process that was killed has hung up, so the one that is started in its place gets its name at once.
        """
        now = self._clock.time()
        known = self._dispatcher.miners.get(name)
        if known is not None and known.instance != instance and known.is_alive(now):
            raise Refusal(409, f"another miner is called {name}; choose another name")
        self._offers.remember(name, variants, now)
        miner = Miner(name, _Offered(variants, self._store), instance, LEASE_SECONDS, now, software)
        self._enter(miner, known)
        self._refuse_what_nobody_takes(variants)
        return miner

    def find(self, name: str, instance: str) -> Miner | None:
        """The registered miner, which was just heard of; None if it must register (again)."""
        miner = self._dispatcher.miners.get(name)
        if miner is None or miner.instance != instance:
            return None
        miner.seen = self._clock.time()
        return miner

    def public(self, name: str, workflow_ids: frozenset[str]) -> Miner:
        """The miner that never registers. Raises Refusal 409 when a registered one has its name."""
        now = self._clock.time()
        known = self._dispatcher.miners.get(name)
        if known is not None and known.instance is not None and known.is_alive(now):
            raise Refusal(409, f"another miner is called {name}")
        if known is not None and isinstance(known.abilities, _Ids) and known.abilities.workflow_ids == workflow_ids:
            known.seen = now
            return known
        self._offers.remember_ids(name, workflow_ids, now)
        return self._enter(Miner(name, _Ids(workflow_ids), None, LEASE_SECONDS, now), known)

    def heard_of(self, name: str) -> None:
        """A sign of life of a miner."""
        if name in self._dispatcher.miners:
            self._dispatcher.miners[name].seen = self._clock.time()

    def _enter(self, miner: Miner, known: Miner | None) -> Miner:
        miners = self._dispatcher.miners
        for old in [name for name, each in miners.items() if miner.seen - each.seen > _KEPT_SECONDS and not each.holds]:
            del miners[old]
        if known is not None:
            miner.latest, miner.ran, miner.done = known.latest, known.ran, known.done
        for work in self._dispatcher.running():
            if work.lease is not None and work.lease.miner == miner.name:
                miner.holds.add(work)
        miners[miner.name] = miner
        return miner

    def _refuse_what_nobody_takes(self, variants: list[Variant]) -> None:
        """End tasks that were created before their parameters could be checked, and are not allowed."""
        fresh = {each.workflow: each for each in variants}
        for work in list(self._dispatcher.queue):
            if work.workflow not in fresh or self._offers.is_unchecked(work.workflow):
                continue
            if any(each.takes(work, self._store) for each in self._offers.variants(work.workflow)):
                continue
            try:
                fresh[work.workflow].check(self._store.details(work.task_id)["parameters"])
            except InvalidParameterError as error:
                self._dispatcher.give_up(work.task_id, "failed", "error", str(error))
