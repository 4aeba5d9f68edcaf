"""What miners can run: remembered across restarts, and what a create is checked against."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidParameterError
from ..workflows import Offer, check_parameters
from .database import Database
from .values import Workflow

FORGOTTEN_SECONDS = 30 * 86_400.0
"""What a miner could run that was not here for so long no longer counts."""


@dataclass(frozen=True)
class Capability:
    """One workflow with one set of parameters. Miners with other models may run it with others."""

    workflow: Workflow
    offer: Offer
    digest: str

    @classmethod
    def of(cls, offer: Offer) -> Capability:
        """What a miner announced."""
        text = json.dumps(offer.to_json(), sort_keys=True)
        workflow = Workflow(offer.task_type, offer.workflow_id)
        return cls(workflow, offer, hashlib.sha256(text.encode()).hexdigest())

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise InvalidParameterError for parameters that it does not take."""
        check_parameters(self.offer.parameters, parameters, name=self.offer.name)

    def accepts(self, parameters: Mapping[str, Any]) -> bool:
        """Whether it takes the parameters."""
        try:
            self.check(parameters)
        except InvalidParameterError:
            return False
        return True


@dataclass(frozen=True)
class Offered:
    """A workflow that can be asked for.

    ``is_unchecked``: its parameters cannot be checked, because some miner only named the workflow's id.
    """

    capabilities: tuple[Capability, ...]
    is_unchecked: bool


class Capabilities:
    """All capabilities that count. ``named`` are workflows that count although no miner has been here with them yet."""

    def __init__(self, database: Database, named: Iterable[Workflow], now: float) -> None:
        self._database = database
        self._named = set(named)
        self._known: dict[Workflow, dict[str, Capability]] = {}
        self._public_ids: set[str] = set()
        database.run("DELETE FROM offers WHERE seen < ?", (now - FORGOTTEN_SECONDS,))
        self._read()

    def remember(self, miner: str, capabilities: Iterable[Capability], workflow_ids: Iterable[str], now: float) -> None:
        """These are all that the miner has from now on. Of the public kind only its workflows' ids are known."""
        announced = [capability.offer.to_json() for capability in capabilities]
        with self._database.transaction():
            self._database.run("DELETE FROM offers WHERE miner = ?", (miner,))
            for offer in (*announced, *workflow_ids):
                self._database.run("INSERT OR REPLACE INTO offers VALUES (?, ?, ?)", (miner, json.dumps(offer), now))
        self._read()

    def of(self, workflow: Workflow) -> tuple[Capability, ...]:
        """Those for a workflow."""
        return tuple(self._known.get(workflow, {}).values())

    def find(self, workflow: Workflow) -> Offered | None:
        """What is offered of a workflow; None for one that nobody has offered and the folder of workflows lacks."""
        is_unchecked = workflow.workflow_id in self._public_ids
        if workflow not in self._known and workflow not in self._named and not is_unchecked:
            return None
        return Offered(self.of(workflow), is_unchecked)

    def names(self) -> list[str]:
        """All workflows that can be asked for, in words."""
        known = [str(workflow) for workflow in {*self._known, *self._named}]
        return sorted(known) + [f"workflow_id {workflow_id}" for workflow_id in sorted(self._public_ids)]

    def _read(self) -> None:
        self._known, self._public_ids = {}, set()
        for (text,) in self._database.run("SELECT DISTINCT offer FROM offers"):
            announced = json.loads(text)
            if isinstance(announced, str):
                self._public_ids.add(announced)
            else:
                capability = Capability.of(Offer.from_json(announced))
                self._known.setdefault(capability.workflow, {})[capability.digest] = capability
