"""What a sequencer knows of a workflow that a miner can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from .parameter import Parameter

_LONGEST_WORD = 100


@dataclass(frozen=True)
class Offer:
    """A workflow as a miner announced it.

    Attributes:
        task_type: The kind of task.
        workflow_id: Its id among those of its kind, or None.
        parameters: What it takes, by name.
    """

    task_type: str
    workflow_id: str | None
    parameters: Mapping[str, Parameter]

    @property
    def name(self) -> str:
        """For example "txt2vid.1" or "upscaler"."""
        return self.task_type if self.workflow_id is None else f"{self.task_type}.{self.workflow_id}"

    def to_json(self) -> dict[str, Any]:
        """The same object that ``CheckedWorkflow.announcement`` makes."""
        return {
            "task_type": self.task_type,
            "workflow_id": self.workflow_id,
            "parameters": [each.to_json() for each in self.parameters.values()],
        }

    @classmethod
    def from_json(cls, data: object) -> Offer:
        """Read an announcement.

        Args:
            data: What came from outside, of any shape.

        Raises:
            ValueError: It is not an announcement.
        """
        if not isinstance(data, Mapping):
            raise ValueError("an announced workflow is not an object")
        task_type, workflow_id, listed = data.get("task_type"), data.get("workflow_id"), data.get("parameters", [])
        if not _is_word(task_type) or not (workflow_id is None or _is_word(workflow_id)):
            raise ValueError(
                "an announced workflow has no task_type of 1 to 100 printable characters, or a bad workflow_id"
            )
        if not isinstance(listed, list):
            raise ValueError("the parameters of an announced workflow are not a list")
        parameters = [Parameter.from_json(each) for each in listed]
        return cls(task_type, workflow_id, {each.name: each for each in parameters})


def _is_word(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_WORD and value.isprintable()
