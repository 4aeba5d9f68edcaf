"""What ComfyUI's ``/object_info`` says about the widgets of a node class, of V1 and V3 nodes alike."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ..protocol.parameters import MAX_SEED
from .parameter import Parameter

_DYNAMIC, _SLOT, _AUTOGROW = "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICSLOT_V3", "COMFY_AUTOGROW_V3"
_NUMBERS = {"INT": "whole", "FLOAT": "number"}
CHOICES = ("COMBO", _DYNAMIC)

_FILE = re.compile(
    r".+\.(a?png|jpe?g|jfif|webp|gif|bmp|tiff?|avif|hei[cf]|ico|tga|psd|svg|exr|hdr|mp4|m4v|webm|mkv|mov|avi|mpe?g|wmv"
    r"|flv|ogv|wav|mp3|flac|og[ga]|opus|m4a|aac|aiff?|wma|latent|glb|gltf|obj|fbx|stl|ply|splat|k?spz|usdz?|txt|csv|json"
    r"|pdf|zip|np[yz]|srt|vtt)( \[\w+\])?",
    re.IGNORECASE,
)
"""A file of ComfyUI's input, output or temp folder, as choices name it; none has these endings for a model."""

_FOLDER_WORD = re.compile(r".*(?:folder|dir|directory)s?|directories")
_PATH_WORD = re.compile(rf"{_FOLDER_WORD.pattern}|.*(?:path|url|filename)s?|files?|uris?|prefix")
"""Words in the names of widgets that hold a path or an address."""

_MEDIA = re.compile(r"(?:image|mask|video|audio|latent|picture|photo)s?", re.IGNORECASE)


def is_link(value: object) -> bool:
    """Whether an input's value is another node's output: ``[node id, number]``."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def declared(groups: Mapping[str, Any], inputs: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, bool]]:
    """The inputs that a class declares, as ComfyUI expands them for these values.

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
            kind, options = read(declaration)
            if kind == _AUTOGROW:
                yield from _grown(full, options["template"])
            elif kind in (_DYNAMIC, _SLOT):
                # ComfyUI does not look at one that is missing or unknown: exports of older versions are without some.
                chosen = options.get("options") or [] if kind == _DYNAMIC else [{**options, "key": inputs.get(full)}]
                for choice in chosen:
                    if full in inputs and choice.get("key") == inputs[full]:
                        yield full, declaration, True
                        yield from declared(choice.get("inputs") or {}, inputs, f"{full}.")
            else:
                yield full, declaration, group == "required"


def _grown(name: str, template: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """The inputs of a node that grows another one whenever the last is connected: the first few must have values."""
    names = template.get("names") or [f"{template['prefix']}{number}" for number in range(template["max"])]
    group, inputs = next((group, inputs) for group, inputs in template["input"].items() if inputs)
    (declaration, *_) = inputs.values()
    for number, each in enumerate(names):
        yield f"{name}.{each}", declaration, group == "required" and number < template["min"]


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
    is_upload = any(option.endswith("_upload") and is_on for option, is_on in options.items())
    if is_upload and kind in (*CHOICES, "STRING"):
        return Parameter(name, "image")
    if kind == "STRING":
        return Parameter(name, "text", value)
    if kind == "BOOLEAN":
        return Parameter(name, "flag", value)
    if kind in CHOICES:
        if options.get("multiselect") or "remote" in options:
            return None
        choices = options.get("options") or []
        if kind == _DYNAMIC:
            choices = [choice.get("key") for choice in choices]
        choices = tuple(choice for choice in choices if isinstance(choice, str) or _number(choice) is not None)
        return Parameter(name, "choice", value, choices=choices)
    return None


def names_file(class_type: str, widget: str, declaration: Any) -> bool:
    """Whether a widget's value is the name, path or address of a file that its node reads or writes.

    Args:
        class_type: The node's class.
        widget: The widget.
        declaration: What the class declares of it; None where that is not known.
    """
    kind, options = read(declaration)
    if kind in (*_NUMBERS, "BOOLEAN"):
        return False
    word = _FOLDER_WORD if options.get("options") else _PATH_WORD  # A choice by its file may be a model.
    return lists_files(class_type, widget, declaration) or any(map(word.fullmatch, re.split(r"[\W_]+", widget.lower())))


def lists_files(class_type: str, widget: str, declaration: Any) -> bool:
    """Whether a widget, which is neither number nor flag, takes files of ComfyUI's input, output or temp folder."""
    choices = read(declaration)[1].get("options") or []
    return bool(_MEDIA.fullmatch(widget) and "load" in class_type.lower()) or any(
        isinstance(choice, str) and _FILE.fullmatch(choice) for choice in choices
    )


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
    """The number, or None for what is none: no JSON that is sent may have NaN or Infinity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return value if is_number else None
