"""What ComfyUI's ``/object_info`` says about the widgets of a node class, of V1 and V3 nodes alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..protocol.parameters import MAX_SEED
from .parameter import Parameter

_DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
_NUMBERS = {"INT": "whole", "FLOAT": "number"}


def is_link(value: object) -> bool:
    """Whether an input's value is another node's output: ``[node id, number]``."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def declared(groups: Mapping[str, Any], inputs: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, bool]]:
    """The inputs that a class declares.

    Args:
        groups: The ``input`` of the class in ``/object_info``, or of one of its choices.
        inputs: The node's values: some choices bring more inputs, named after them, such as "format.codec".
        prefix: For the inputs of a choice: what their names begin with.

    Yields:
        Each input's name, its declaration, and whether it must have a value.
    """
    for group in ("required", "optional"):
        for name, declaration in (groups.get(group) or {}).items():
            full = f"{prefix}{name}"
            # ComfyUI accepts and runs prompts without what a choice brings, such as exports of older versions.
            yield full, declaration, group == "required" and not prefix
            kind, options = read(declaration)
            if kind == _DYNAMIC:
                for option in options.get("options") or []:
                    if option.get("key") == inputs.get(full):
                        yield from declared(option.get("inputs") or {}, inputs, f"{full}.")


def read(declaration: Any) -> tuple[str, Mapping[str, Any]]:
    """A declaration's type and options. A V1 list of choices becomes a "COMBO" with ``options``, as V3 has it."""
    kind, *rest = declaration if isinstance(declaration, list) and declaration else ["*"]
    options = rest[0] if rest and isinstance(rest[0], Mapping) else {}
    if isinstance(kind, list):
        return "COMBO", {**options, "options": kind}
    return str(kind), options


def parameter(name: str, value: Any, declaration: Any, *, sent: bool = True) -> Parameter | None:
    """The parameter that a widget makes.

    Args:
        name: The parameter's name.
        value: The widget's value in the file, the default.
        declaration: What the class declares.
        sent: Whether it is for values that are sent. Such whole numbers stop at 2**53 - 1 and follow the widget's
            steps, as those typed into the editor do. The steps of other numbers are only those of the editor's arrows.

    Returns:
        The parameter, or None where the declaration does not say what is allowed.
    """
    kind, options = read(declaration)
    if kind in _NUMBERS:
        low, high, step = (_number(options.get(field)) for field in ("min", "max", "step"))
        if kind == "FLOAT":
            # Limits beyond what floats distinguish are no limits.
            low = None if low is None or low <= -MAX_SEED else low
            high = None if high is None or high >= MAX_SEED else high
        elif sent:
            low = -MAX_SEED if low is None else max(int(low), -MAX_SEED)
            high = MAX_SEED if high is None else min(int(high), MAX_SEED)
        step = int(step) if kind == "INT" and sent and step is not None and step > 1 else None
        return Parameter(name, _NUMBERS[kind], value, low, high, step)
    if kind == "STRING":
        return Parameter(name, "text", value)
    if kind == "BOOLEAN":
        return Parameter(name, "flag", value)
    if kind in ("COMBO", _DYNAMIC):
        if options.get("image_upload"):
            return Parameter(name, "image")
        if options.get("multiselect") or "remote" in options:
            return None
        choices = options.get("options") or []
        if kind == _DYNAMIC:
            choices = [choice.get("key") for choice in choices]
        choices = tuple(choice for choice in choices if isinstance(choice, str | int | float))
        return Parameter(name, "choice", value, choices=choices)
    return None


def guessed(name: str, value: Any, class_type: str, widget: str) -> Parameter | None:
    """The parameter that a widget's value suggests, where its class declares nothing."""
    if widget == "image" and class_type.startswith("LoadImage"):
        return Parameter(name, "image")
    if isinstance(value, bool):
        return Parameter(name, "flag", value)
    if isinstance(value, int | float):  # An export writes 1.0 as 1.
        return Parameter(name, "number", value)
    return Parameter(name, "text", value) if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
