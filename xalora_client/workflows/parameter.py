"""What a workflow takes: one Parameter for each name that its titles bind, and the check of its values."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import InvalidParameterError, listed
from ..protocol.parameters import MAX_SEED, MediaAddress, Number, Rule, Text, Whole, number_text

_VALUE_TYPES = ("text", "whole", "number", "flag", "choice", "image")

MODEL_EXTENSION = ".safetensors"
"""Appended to a choice that matches nothing without it, as the protocol's public miner does for LoRAs."""

_LONGEST_NAME = 100
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Parameter:
    """What one parameter of a workflow may be.

    Attributes:
        name: The parameter's name in the protocol.
        kind: "text", "whole", "number", "flag", "choice" or "image".
        default: The widget's value in the file. None means that a value must be sent.
        minimum: The least value of a "whole" or "number"; None is no limit.
        maximum: The greatest value of a "whole" or "number"; None is no limit.
        step: A "whole" is ``minimum`` (or 0) plus a multiple of this. None is 1. Of no meaning for other kinds.
        choices: What a "choice" may be.
    """

    name: str
    kind: str
    default: object = None
    minimum: float | None = None
    maximum: float | None = None
    step: int | None = None
    choices: tuple[object, ...] = ()

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
            return f"one of {listed(self.choices)}" if self.choices else "nothing, the list is empty"
        if self.kind == "number" and (self.minimum is None or self.maximum is None):
            least = "" if self.minimum is None else f" of at least {number_text(self.minimum)}"
            return f"a number{least}" if self.maximum is None else f"a number of at most {number_text(self.maximum)}"
        return self._rule.allowed

    def resolve(self, value: object) -> object:
        """Check a value. An "image" is an address here, not yet a file of ComfyUI.

        Args:
            value: The value as it came in JSON.

        Returns:
            The value to use: a choice gets ``.safetensors`` appended, or the other slashes, where only that matches.

        Raises:
            InvalidParameterError: The value is not allowed.
        """
        if self.kind == "text":
            # Unlike the parameters of known tasks, it may be blank.
            accepted = isinstance(value, str) and (not value.strip() or Text("").accepts(value))
        elif self.kind == "flag":
            accepted = isinstance(value, bool)
        elif self.kind == "choice":
            accepted = self._match(value) is not None
        else:
            accepted = self._rule.accepts(value)
        if not accepted:
            raise InvalidParameterError(self.name, value, self.allowed)
        return self._match(value) if self.kind == "choice" else value

    def to_json(self) -> dict[str, object]:
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
        if kind not in _VALUE_TYPES:
            raise ValueError(f"the kind of {name} is none of {', '.join(_VALUE_TYPES)}")
        if not isinstance(choices, list) or not all(isinstance(choice, str | int | float) for choice in choices):
            raise ValueError(f"the choices of {name} are not a list of texts and numbers")
        limits = {field: data.get(field) for field in ("minimum", "maximum", "step")}
        for field, limit in limits.items():
            of_kind = int if kind == "whole" or field == "step" else int | float
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

    def _match(self, value: object) -> object:
        """The choice that a value means, or None. True is not 1."""
        meanings: list[object] = [value]
        if isinstance(value, str):
            meanings = [f"{name}{extension}" for extension in ("", MODEL_EXTENSION) for name in spellings(value)]
        for meant in meanings:
            for choice in self.choices:
                if choice == meant and isinstance(choice, bool) == isinstance(meant, bool):
                    return choice
        return None


def spellings(name: str) -> tuple[str, str, str]:
    """A file's name as it is, with ``/``, and with ``\\``, which Windows puts between folder and file."""
    return name, name.replace("\\", "/"), name.replace("/", "\\")


class MergeError(ValueError):
    """No value fits all of the widgets; the message says why."""


def merge(first: Parameter, second: Parameter) -> Parameter:
    """The parameter that both widgets take. It has the first one's default; without a value both keep their own.

    Raises:
        MergeError: Nothing is allowed by both.
    """
    kinds = {first.kind, second.kind}
    if kinds == {"whole", "number"}:
        whole, other = (first, second) if first.kind == "whole" else (second, first)
        least = None if other.minimum is None else math.ceil(other.minimum)
        most = None if other.maximum is None else math.floor(other.maximum)
        inside = replace(whole, minimum=least, maximum=most, step=None)
        return replace(merge(whole, inside), default=first.default)
    if len(kinds) == 2:
        raise MergeError(f"one widget takes {first.allowed}, the other {second.allowed}")
    if first.kind == "choice":
        both = tuple(choice for choice in first.choices if choice in second.choices)
        if first.choices and second.choices and not both:
            raise MergeError("the two widgets have no choice in common")
        return replace(first, choices=both, default=first.default if first.default in both else None)
    if first.kind not in ("whole", "number"):
        return first
    low: float | None = max((limit for limit in (first.minimum, second.minimum) if limit is not None), default=None)
    high: float | None = min((limit for limit in (first.maximum, second.maximum) if limit is not None), default=None)
    step: int | None = None
    if first.kind == "whole":
        low, step = _common_steps(first, second, low)
    if low is not None and high is not None and low > high:
        raise MergeError(f"one widget takes {first.allowed}, the other {second.allowed}")
    return replace(first, minimum=low, maximum=high, step=step)


def _common_steps(first: Parameter, second: Parameter, low: float | None) -> tuple[float | None, int | None]:
    """The least value on both grids from ``low``, and the step from there."""
    grids = [(int(parameter.minimum or 0), parameter.step or 1) for parameter in (first, second)]
    step = math.lcm(*(step for _, step in grids))
    if step == 1:
        return low, None
    start = 0 if low is None else int(low)
    for value in range(start, start + step):
        if all((value - least) % own == 0 for least, own in grids):
            return value, step
    raise MergeError(f"one widget takes {first.allowed}, the other {second.allowed}")
