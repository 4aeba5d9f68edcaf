"""Which tasks are accepted at the create."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from ..protocol.tasks import UpscalerTask, WorkflowTask
from .kinds import build_task, check_task_type
from .work import Work


@dataclass(frozen=True)
class Accepted:
    """A task that may be created.

    Attributes:
        task: What to do.
        images: The parameters that are images, which the sequencer fetches.
        checked: As in ``Work``.
    """

    task: WorkflowTask
    images: tuple[str, ...] = ()
    checked: dict[str, bool] = field(default_factory=dict)


class Catalog(Protocol):
    """What can be asked for."""

    def check(self, task_type: object, task_details: object, **options: Any) -> Accepted:
        """Read a task; ``options`` are workflow_id and timeout_seconds.

        Raises InvalidParameterError, or Refusal when nothing can be asked for.
        """

    def miner_for(self, task_type: object, workflow_id: object) -> str:
        """The name of a miner that would take such a task. Raises InvalidParameterError or Refusal."""

    def is_anybody_here_for(self, work: Work) -> bool:
        """Whether a miner is connected that could carry out a task, now or later."""


class PreviewCatalog:
    """What the preview miner takes: the kinds of task that have classes of their own."""

    def check(self, task_type: object, task_details: object, **options: Any) -> Accepted:
        """Unknown parameters are ignored."""
        task = build_task(task_type, task_details, **options)
        return Accepted(task, ("image",) if isinstance(task, UpscalerTask) else ())

    def miner_for(self, task_type: object, workflow_id: object) -> str:
        """There is one miner."""
        if task_type is not None:
            check_task_type(task_type)
        return "sandbox"

    def is_anybody_here_for(self, work: Work) -> bool:
        """There is one miner, and it takes everything."""
        return True
