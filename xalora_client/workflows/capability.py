"""What a miner can run: one workflow with one set of parameters, as the miner announces it to a sequencer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..errors import InvalidParameterError, listed, one_line
from ..protocol.miner import is_name
from .file import WorkflowKey
from .parameter import Parameter

MOST_SHOWN = 20
"""Kinds of results and files of models that a capability names: they are for people."""

FACTORS = ("factor", "scale_by", "upscale_by")
"""What widgets and parameters are called that say how many times as wide and high an image becomes."""

_LARGEST_FACTOR = 1000


@dataclass(frozen=True)
class Capability:
    """One workflow with one set of parameters. Miners with other models may run it with others.

    Attributes:
        key: Which workflow.
        parameters: What it takes, by name.
        outputs: The kinds of what comes out, such as "image"; empty where that cannot be told.
        models: The files of models that it always uses; those that can be chosen are among the parameters.
        factor: How many times as wide and high it makes an image, where that is fixed and can be told.
    """

    key: WorkflowKey
    parameters: Mapping[str, Parameter]
    outputs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    factor: float | None = None

    @cached_property
    def digest(self) -> str:
        """A hash, the same for all miners that run the workflow with the same parameters."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    @property
    def images(self) -> set[str]:
        """The names of the parameters that are images."""
        return {name for name, parameter in self.parameters.items() if parameter.kind == "image"}

    def resolve(self, values: Mapping[str, object]) -> dict[str, object]:
        """Check what was sent for one run.

        Args:
            values: What was sent. What is missing keeps the value in the file.

        Returns:
            The values to use; see ``Parameter.resolve``.

        Raises:
            InvalidParameterError: A value is not allowed, a name is not one of the workflow's, or a value is missing
                that must be sent.
        """
        resolved = {}
        for name, value in values.items():
            if name not in self.parameters:
                what = f"Workflow {self.key} does not take {one_line(name, 60)}"
                takes = listed(list(self.parameters)) or "no parameters"
                raise InvalidParameterError(name, value, takes, code="unknown_parameter").derived(what=what)
            resolved[name] = self.parameters[name].resolve(value)
        for name, parameter in self.parameters.items():
            if parameter.required and name not in values:
                what, allowed = f"Workflow {self.key} needs a value for {name}", parameter.allowed
                raise InvalidParameterError(name, None, allowed, code="parameter_missing").derived(what=what)
        return resolved

    def accepts(self, values: Mapping[str, object]) -> bool:
        """Whether it takes the ``values``."""
        try:
            self.resolve(values)
        except InvalidParameterError:
            return False
        return True

    def to_json(self) -> dict[str, object]:
        """What a miner sends."""
        found: dict[str, object] = {"outputs": list(self.outputs), "models": list(self.models), "factor": self.factor}
        parameters = [parameter.to_json() for parameter in self.parameters.values()]
        return self.key._asdict() | {"parameters": parameters} | {name: each for name, each in found.items() if each}

    @classmethod
    def from_json(cls, data: object) -> Capability:
        """Read what ``to_json`` wrote.

        Args:
            data: What came from outside, of any shape.

        Raises:
            ValueError: It is not a capability.
        """
        if not isinstance(data, Mapping):
            raise ValueError("an announced workflow is not an object")
        task_type, workflow_id, listed = data.get("task_type"), data.get("workflow_id"), data.get("parameters", [])
        if not is_name(task_type) or not (workflow_id is None or is_name(workflow_id)):
            raise ValueError(
                "the task_type or workflow_id of an announced workflow is not 1 to 100 letters, digits, dashes and"
                " underscores"
            )
        if not isinstance(listed, list):
            raise ValueError("the parameters of an announced workflow are not a list")
        parameters = [Parameter.from_json(parameter) for parameter in listed]
        return cls(
            WorkflowKey(str(task_type), workflow_id),
            {parameter.name: parameter for parameter in parameters},
            _texts(data.get("outputs")),
            _texts(data.get("models")),
            _factor(data.get("factor")),
        )


def _texts(listed: object) -> tuple[str, ...]:
    """A few texts that are only shown; what is none is left away."""
    shown = listed[:MOST_SHOWN] if isinstance(listed, list) else []
    return tuple(one_line(each) for each in shown if isinstance(each, str))


def _factor(number: object) -> float | None:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    return number if 0 < number <= _LARGEST_FACTOR else None
