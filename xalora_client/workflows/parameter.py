"""What a workflow takes: one Parameter for each name its titles bind, and the check of values that are sent."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidParameterError, one_line
from ..protocol.parameters import MAX_SEED, MediaAddress, Number, Rule, Whole

KINDS = ("text", "whole", "number", "flag", "choice", "image")

MODEL_EXTENSION = ".safetensors"
"""Appended to a choice that matches nothing without it, as the protocol's public miner does for LoRAs."""

_MOST_CHOICES_SHOWN = 20
_LONGEST_NAME = 100
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Parameter:
    """What one parameter of a workflow may be.

    Attributes:
        name: The parameter's name in the protocol.
        kind: One of ``KINDS``.
        default: The widget's value in the file. None means that a value must be sent.
        minimum: The least value of a "whole" or "number"; None is no limit.
        maximum: The greatest value of a "whole" or "number"; None is no limit.
        step: A "whole" is ``minimum`` (or 0) plus a multiple of this. None is 1. Of no meaning for other kinds.
        choices: What a "choice" may be.
    """

    name: str
    kind: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: int | None = None
    choices: tuple[Any, ...] = ()

    @property
    def required(self) -> bool:
        """Whether a value must be sent."""
        return self.default is None

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        if self.kind == "text":
            return "a text"
        if self.kind == "flag":
            return "true or false"
        if self.kind == "choice":
            shown = ", ".join(one_line(str(each), 80) for each in self.choices[:_MOST_CHOICES_SHOWN])
            more = len(self.choices) - _MOST_CHOICES_SHOWN
            return f"one of {shown}{f' and {more} more' if more > 0 else ''}" if shown else "nothing, the list is empty"
        if self.kind == "number" and (self.minimum is None or self.maximum is None):
            least = "" if self.minimum is None else f" of at least {self.minimum:g}"
            return f"a number{least}" if self.maximum is None else f"a number of at most {self.maximum:g}"
        return self._rule.allowed

    def check(self, value: object) -> None:
        """Refuse a value that is not allowed. An "image" is an address here, not yet a file of ComfyUI.

        Args:
            value: The value as it came in JSON.

        Raises:
            InvalidParameterError: The value is not allowed.
        """
        if self.kind == "text":
            accepted = isinstance(value, str) and _encodable(value)
        elif self.kind == "flag":
            accepted = isinstance(value, bool)
        elif self.kind == "choice":
            accepted = self._match(value) is not None
        else:
            accepted = self._rule.accepts(value)
        if not accepted:
            raise InvalidParameterError(self.name, value, self.allowed)

    def resolve(self, value: Any) -> Any:
        """The value to use: for a choice, with ``.safetensors`` appended where only that matches.

        Raises:
            InvalidParameterError: The value is not allowed.
        """
        self.check(value)
        return self._match(value) if self.kind == "choice" else value

    def to_json(self) -> dict[str, Any]:
        """The parameter as a JSON object, without what is not set."""
        fields = {name: getattr(self, name) for name in ("name", "kind", "default", "minimum", "maximum", "step")}
        found = {name: value for name, value in fields.items() if value is not None}
        return found | {"choices": list(self.choices)} if self.kind == "choice" else found

    @classmethod
    def from_json(cls, data: object) -> Parameter:
        """Read what ``to_json`` wrote.

        Args:
            data: What came from outside, of any shape.

        Raises:
            ValueError: It is not a parameter.
        """
        if not isinstance(data, Mapping):
            raise ValueError("a parameter is not an object")
        name, kind, choices = data.get("name"), data.get("kind"), data.get("choices", [])
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise ValueError(f"a parameter has no name of 1 to {_LONGEST_NAME} printable characters")
        if kind not in KINDS:
            raise ValueError(f"the kind of {name} is none of {', '.join(KINDS)}")
        if not isinstance(choices, list) or not all(isinstance(each, str | int | float) for each in choices):
            raise ValueError(f"the choices of {name} are not a list of texts and numbers")
        limits = {each: data.get(each) for each in ("minimum", "maximum", "step")}
        for each, limit in limits.items():
            of_kind = int if kind == "whole" or each == "step" else int | float
            if limit is None:
                continue
            if not isinstance(limit, of_kind) or isinstance(limit, bool) or not abs(limit) <= _LARGEST:
                raise ValueError(f"a limit of {name} is not a number of its kind")
        if limits["step"] is not None and limits["step"] < 1:
            raise ValueError(f"the step of {name} is not positive")
        return cls(name, kind, data.get("default"), choices=tuple(choices), **limits)

    @property
    def _rule(self) -> Rule:
        if self.kind == "image":
            return MediaAddress("")
        if self.kind == "whole":
            minimum = -MAX_SEED if self.minimum is None else int(self.minimum)
            maximum = MAX_SEED if self.maximum is None else int(self.maximum)
            step = self.step or 1
            remainder = 0 if self.minimum is None else minimum % step
            return Whole("", minimum=minimum, maximum=maximum, step=step, remainder=remainder)
        return Number(
            "",
            minimum=-_LARGEST if self.minimum is None else self.minimum,
            maximum=_LARGEST if self.maximum is None else self.maximum,
        )

    def _match(self, value: object) -> Any:
        """The choice that a value means, or None. True is not 1."""
        for meant in (value, f"{value}{MODEL_EXTENSION}" if isinstance(value, str) else value):
            for choice in self.choices:
                if choice == meant and isinstance(choice, bool) == isinstance(meant, bool):
                    return choice
        return None


def check_parameters(parameters: Mapping[str, Parameter], values: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """Check what was sent for one run of a workflow.

    Args:
        parameters: What the workflow takes.
        values: What was sent. What is missing keeps the value in the file.
        name: The workflow's name, such as "txt2vid.1", for the errors.

    Returns:
        The values to use; see ``Parameter.resolve``.

    Raises:
        InvalidParameterError: A value is not allowed, a name is not one of the workflow's, or a value is missing that
            must be sent.
    """
    takes = ", ".join(parameters) or "no parameters"
    resolved = {}
    for each, value in values.items():
        if each not in parameters:
            raise _refused(
                each, value, "", f"Workflow {name} does not take {one_line(each, 60)}", f"It takes: {takes}."
            )
        resolved[each] = parameters[each].resolve(value)
    for each, parameter in parameters.items():
        if parameter.required and each not in values:
            allowed = parameter.allowed
            raise _refused(each, None, allowed, f"Workflow {name} needs a value for {each}", f"Allowed: {allowed}.")
    return resolved


def _refused(field: str, value: object, allowed: str, what: str, advice: str) -> InvalidParameterError:
    return InvalidParameterError(field, value, allowed).derived(what=what, advice=advice)


def _encodable(value: str) -> bool:
    """Whether it can be sent as UTF-8: JSON can hold lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
