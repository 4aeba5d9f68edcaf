"""What there is to run at a server: what its connected miners take together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from .capability import FACTORS, MOST_SHOWN, Capability
from .parameter import Parameter
from .validation import is_model_file

MOST_CHOICES = 5000
"""Choices of one parameter that are listed."""


@dataclass(frozen=True)
class AvailableWorkflow(Capability):
    """A workflow that connected miners run now, and what they take together: each choice that one of them has.

    The ``key``, ``parameters``, ``outputs``, ``models`` and ``factor`` are those of Capability.

    Attributes:
        others: Whether more may be taken than what is listed: by miners that are away, or do not tell what they take.
    """

    others: bool = False

    @property
    def task_type(self) -> str:
        """The kind of task."""
        return self.key.task_type

    @property
    def workflow_id(self) -> str | None:
        """Its id among those of its kind; None for the one without."""
        return self.key.workflow_id

    @property
    def usual_models(self) -> tuple[str, ...]:
        """The files of models that it uses where a task chooses no others."""
        chosen = [
            parameter.default
            for name, parameter in self.parameters.items()
            if parameter.default is not None and (name == "model" or is_model_file(parameter.default))
        ]
        return (*map(str, chosen), *self.models)

    @property
    def usual_factor(self) -> float | str | None:
        """How many times as wide and high it makes an image where a task chooses no other; None if not known."""
        defaults = [self.parameters[name].default for name in FACTORS if name in self.parameters]
        return next((default for default in defaults if isinstance(default, int | float | str)), self.factor)

    @classmethod
    def of(cls, capability: Capability) -> AvailableWorkflow:
        """What one miner takes, as its ``capability`` says."""
        return cls(*(getattr(capability, field.name) for field in fields(Capability))).joined(capability)

    def joined(self, other: Capability) -> AvailableWorkflow:
        """What this takes, or an ``other`` one for the same workflow."""
        parameters, others = dict(self.parameters), self.others
        for name, parameter in other.parameters.items():
            known = parameters.get(name, parameter)
            parameters[name] = _either(known, parameter)
            others |= known.kind != parameter.kind or len(parameters[name].choices) < len(
                {*known.choices, *parameter.choices}
            )
        return replace(
            self,
            parameters=parameters,
            outputs=_all_of(self.outputs, other.outputs),
            models=_all_of(self.models, other.models),
            factor=self.factor if self.factor == other.factor else None,
            others=others,
        )

    def to_json(self) -> dict[str, object]:
        """What a sequencer sends."""
        return super().to_json() | {"others": self.others}

    @classmethod
    def from_json(cls, data: object) -> AvailableWorkflow:
        """Read ``data`` that ``to_json`` wrote, of any shape. Raises ValueError."""
        others = isinstance(data, Mapping) and data.get("others") is not False
        return replace(cls.of(Capability.from_json(data)), others=others)


@dataclass(frozen=True)
class WorkflowList:
    """The answer to ``workflow_list``.

    Attributes:
        workflows: What connected miners run now.
        away: The names of others that a task may ask for: it waits until a miner with them is here.
        left_off: How many more of both there are: an answer is short.
        left_out: What a connected miner lacks for the one that was asked for, in words; None where none has told.
        miners: How many are connected; None where that is not told.
    """

    workflows: tuple[AvailableWorkflow, ...]
    away: tuple[str, ...] = ()
    left_off: int = 0
    left_out: str | None = None
    miners: int | None = None

    @property
    def names(self) -> list[str]:
        """What may be asked for, as far as it is listed."""
        return [str(workflow.key) for workflow in self.workflows] + list(self.away)

    def to_json(self) -> dict[str, object]:
        """What a sequencer sends."""
        told = {name: value for name, value in vars(self).items() if value is not None}
        return told | {"workflows": [workflow.to_json() for workflow in self.workflows]}

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> WorkflowList:
        """Read what ``to_json`` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        workflows = tuple(map(AvailableWorkflow.from_json, answer["workflows"]))
        left_out, miners = answer.get("left_out"), answer.get("miners")
        return cls(
            workflows,
            tuple(map(str, answer["away"])),
            int(answer["left_off"]),
            left_out and str(left_out),
            None if miners is None else int(miners),
        )


def _either(first: Parameter, second: Parameter) -> Parameter:
    """What one or the other takes; of two kinds the first."""
    if first.kind != second.kind:
        return first
    lows = [each.minimum for each in (first, second) if each.minimum is not None]
    highs = [each.maximum for each in (first, second) if each.maximum is not None]
    return replace(
        first,
        default=second.default if first.default is None else first.default,
        minimum=min(lows) if len(lows) == 2 else None,
        maximum=max(highs) if len(highs) == 2 else None,
        step=first.step if (first.step, first.minimum) == (second.step, second.minimum) else None,
        choices=tuple(dict.fromkeys((*first.choices, *second.choices)))[:MOST_CHOICES],
    )


def _all_of(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))[:MOST_SHOWN]
