"""One parameter that sets several widgets: what all of them allow."""

from __future__ import annotations

import math
from dataclasses import replace

from .parameter import Parameter


class MergeError(ValueError):
    """No value would do for all of the widgets; the message says why."""


def merge(first: Parameter, second: Parameter) -> Parameter:
    """The parameter that both widgets take. The first one's default is shown; each keeps its own when none is sent.

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
        both = tuple(each for each in first.choices if each in second.choices)
        if first.choices and second.choices and not both:
            raise MergeError("the two widgets have no choice in common")
        return replace(first, choices=both, default=first.default if first.default in both else None)
    if first.kind not in ("whole", "number"):
        return first
    low: float | None = max((each for each in (first.minimum, second.minimum) if each is not None), default=None)
    high: float | None = min((each for each in (first.maximum, second.maximum) if each is not None), default=None)
    step: int | None = None
    if first.kind == "whole":
        low, step = _common_steps(first, second, low)
    if low is not None and high is not None and low > high:
        raise MergeError(f"one widget takes {first.allowed}, the other {second.allowed}")
    return replace(first, minimum=low, maximum=high, step=step)


def _common_steps(first: Parameter, second: Parameter, low: float | None) -> tuple[float | None, int | None]:
    """The least value on both grids from ``low``, and the step from there."""
    steps = [each.step or 1 for each in (first, second)]
    step = math.lcm(*steps)
    if step == 1:
        return low, None
    start = 0 if low is None else int(low)
    for value in range(start, start + step):
        if all((value - int(each.minimum or 0)) % own == 0 for each, own in zip((first, second), steps, strict=True)):
            return value, step
    raise MergeError(f"one widget takes {first.allowed}, the other {second.allowed}")
