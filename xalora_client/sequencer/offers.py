"""What miners offer: remembered across restarts, and what a create is checked against."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidParameterError, one_line
from ..protocol.miner import is_name, read_workflows
from ..workflows import Offer, check_parameters
from .http import Refusal
from .store import Store
from .work import Work, Workflow

FORGOTTEN_SECONDS = 30 * 86_400.0
"""An offer of a miner that was not here for so long no longer counts."""


@dataclass(frozen=True)
class Variant:
    """One workflow with one set of parameters. Miners with other models may offer it with others."""

    workflow: Workflow
    offer: Offer
    digest: str

    @classmethod
    def of(cls, offer: Offer) -> Variant:
        """The variant that an offer is."""
        text = json.dumps(offer.to_json(), sort_keys=True)
        workflow = Workflow(offer.task_type, offer.workflow_id)
        return cls(workflow, offer, hashlib.sha256(text.encode()).hexdigest())

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise InvalidParameterError for parameters that it does not take."""
        check_parameters(self.offer.parameters, parameters, name=self.offer.name)

    def takes(self, work: Work, store: Store) -> bool:
        """Whether it takes the parameters of a task; looked at once for each task."""
        if self.digest not in work.checked:
            try:
                self.check(store.details(work.task_id)["parameters"])
                work.checked[self.digest] = True
            except InvalidParameterError:
                work.checked[self.digest] = False
        return work.checked[self.digest]


def read_variants(body: Mapping[str, Any]) -> list[Variant]:
    """The workflows that a miner announces."""
    try:
        offers = [Offer.from_json(announced) for announced in read_workflows(body)]
        for offer in offers:
            if not is_name(offer.task_type) or not (offer.workflow_id is None or is_name(offer.workflow_id)):
                raise ValueError("a name has more than letters, digits, dashes and underscores")
        return [Variant.of(offer) for offer in offers]
    except InvalidParameterError:
        raise
    except (ValueError, OverflowError) as error:
        raise Refusal(400, f"workflows cannot be read: {one_line(str(error))}") from None


class Offers:
    """All offers that count. ``named`` are workflows that count although no miner has offered them yet."""

    def __init__(self, db: sqlite3.Connection, named: Iterable[Workflow], now: float) -> None:
        self._db = db
        self._named = set(named)
        self._variants: dict[Workflow, dict[str, Variant]] = {}
        self._public_ids: set[str] = set()
        db.execute("DELETE FROM offers WHERE seen < ?", (now - FORGOTTEN_SECONDS,))
        self._read()

    def remember(self, miner: str, variants: Iterable[Variant], now: float) -> None:
        """These are all that the miner offers from now on."""
        self._write(miner, [json.dumps(each.offer.to_json()) for each in variants], now)

    def remember_ids(self, miner: str, workflow_ids: Iterable[str], now: float) -> None:
        """The same for a miner that only says its workflows' ids."""
        self._write(miner, [json.dumps(each) for each in workflow_ids], now)

    def variants(self, workflow: Workflow) -> list[Variant]:
        """What is offered of a workflow."""
        return list(self._variants.get(workflow, {}).values())

    def knows(self, workflow: Workflow) -> bool:
        """Whether the workflow is offered, or named by the folder of workflows."""
        return workflow in self._variants or workflow in self._named or workflow.workflow_id in self._public_ids

    def is_unchecked(self, workflow: Workflow) -> bool:
        """Whether parameters cannot be checked, because some miner only named the workflow's id."""
        return workflow.workflow_id in self._public_ids

    def names(self) -> list[str]:
        """All workflows that can be asked for, in words."""
        known = [str(workflow) for workflow in {*self._variants, *self._named}]
        return sorted(known) + [f"workflow_id {each}" for each in sorted(self._public_ids)]

    def _write(self, miner: str, offers: list[str], now: float) -> None:
        self._db.execute("BEGIN")
        try:
            self._db.execute("DELETE FROM offers WHERE miner = ?", (miner,))
            self._db.executemany(
                "INSERT OR REPLACE INTO offers VALUES (?, ?, ?)", [(miner, each, now) for each in offers]
            )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._read()

    def _read(self) -> None:
        self._variants, self._public_ids = {}, set()
        for (text,) in self._db.execute("SELECT DISTINCT offer FROM offers"):
            said = json.loads(text)
            if isinstance(said, str):
                self._public_ids.add(said)
            else:
                variant = Variant.of(Offer.from_json(said))
                self._variants.setdefault(variant.workflow, {})[variant.digest] = variant
