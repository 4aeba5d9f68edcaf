"""Accepts at the create what some miner has offered."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidParameterError
from ..protocol.miner import is_name
from ..protocol.parameters import MediaAddress
from ..protocol.tasks import CustomTask
from .catalog import Accepted
from .clock import Clock
from .dispatcher import Dispatcher
from .http import Refusal
from .offers import Offers
from .work import Work, Workflow

_ADDRESS = MediaAddress("")


class OfferCatalog:
    """Checks tasks against the miners' offers."""

    def __init__(self, offers: Offers, dispatcher: Dispatcher, clock: Clock) -> None:
        self._offers = offers
        self._dispatcher = dispatcher
        self._clock = clock

    def check(self, task_type: object, task_details: object, **options: Any) -> Accepted:
        """Refuse what nobody offers, and parameters that no miner takes."""
        parameters = task_details.get("parameters") if isinstance(task_details, dict) else None
        if not isinstance(parameters, dict):
            raise InvalidParameterError("task_details", task_details, 'an object like {"parameters": {...}}')
        workflow = self._known(task_type, options.get("workflow_id"))
        given = {name: value for name, value in parameters.items() if value is not None}
        task = CustomTask(workflow.task_type, given, **options)
        variants = self._offers.variants(workflow)
        checked: dict[str, bool] = {}
        first: InvalidParameterError | None = None
        for variant in variants:
            try:
                variant.check(given)
                checked[variant.digest] = True
            except InvalidParameterError as error:
                checked[variant.digest], first = False, first or error
        if first is not None and not any(checked.values()) and not self._offers.is_unchecked(workflow):
            raise first
        images = {
            name
            for variant in variants
            for name, parameter in variant.offer.parameters.items()
            if parameter.kind == "image" and _ADDRESS.accepts(given.get(name))
        }
        if not variants and _ADDRESS.accepts(given.get("image")):
            images.add("image")
        return Accepted(task, tuple(sorted(images)), checked)

    def miner_for(self, task_type: object, workflow_id: object) -> str:
        """A miner that is here and runs the workflow; any one, if none is named."""
        now = self._clock.time()
        alive = [miner for miner in self._dispatcher.miners.values() if miner.is_alive(now)]
        if task_type is not None:
            workflow = self._known(task_type, workflow_id)
            alive = [miner for miner in alive if miner.abilities.runs(workflow)]
        if not alive:
            raise Refusal(503, "no miner that runs this is connected at the moment; start one with `xalora miner`")
        return min(alive, key=lambda miner: len(miner.holds)).name

    def is_anybody_here_for(self, work: Work) -> bool:
        """Whether a miner is connected that takes the task's workflow and values."""
        now = self._clock.time()
        return any(miner.is_alive(now) and miner.can_run(work) for miner in self._dispatcher.miners.values())

    def _known(self, task_type: object, workflow_id: object) -> Workflow:
        offered = self._offers.names()
        if not offered:
            raise Refusal(503, "no miner has been here yet, so nothing can run; start one with `xalora miner`")
        if not is_name(task_type):
            raise InvalidParameterError("task_type", task_type, ", ".join(offered))
        if workflow_id is not None and not is_name(workflow_id):
            raise InvalidParameterError("workflow_id", workflow_id, "letters, digits, dashes and underscores")
        workflow = Workflow(str(task_type), None if workflow_id is None else str(workflow_id))
        if not self._offers.knows(workflow):
            raise Refusal(400, f"no miner offers the workflow {workflow}; offered are: {', '.join(offered)}")
        return workflow
