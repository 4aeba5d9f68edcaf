"""What ComfyUI itself says about a prompt: the rules of ``validate_inputs`` in its ``execution.py``, and no others."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..errors import one_line
from .object_info import lists_files, parameter, read
from .parameter import Parameter, spellings

Declarations = Mapping[str, tuple[Any, bool]]
"""Of each input of a node its declaration, and whether it must have a value."""

_TYPES: Mapping[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
_ANY = {"*", "COMFY_MATCHTYPE_V3"}
_WIDGETS = ("INT", "FLOAT", "BOOLEAN", "COMBO")
_RESULTS = {
    "IMAGE": "image", "MASK": "image", "VIDEO": "video", "AUDIO": "audio", "MESH": "3D", "VOXEL": "3D", "SPLAT": "3D",
    "SVG": "SVG", "STRING": "text", "LATENT": "latent", "MODEL": "model", "CLIP": "model", "VAE": "model",
    "LORA_MODEL": "model",
}  # fmt: skip
_MOVING = re.compile("video|webm|gif|animat|apng", re.IGNORECASE)
_MODEL_FILE = re.compile(r".*\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx)", re.IGNORECASE)
# Files whose folder /object_info does not list. ComfyUI looks whether they are there; from here it cannot be told.
_UNLISTED = re.compile(r"(?!/|[A-Za-z]:|(.*/)?\.\./)(.*\[(input|output|temp)\]|.*/.*)", re.DOTALL)
_JUDGED_BY_ITSELF = {
    "CustomCombo": None, "Load3D": None, "Load3DAdvanced": None, "ModelAttentionBackend": "attention",
    "SelectModelDevice": "device", "SelectCLIPDevice": "device", "SelectVAEDevice": "device",
}  # fmt: skip
"""Nodes of ComfyUI that take any value for this input, or for all (None): ``/object_info`` does not say so."""


def converted(value: Any, declaration: Any) -> Any:
    """A value as its node gets it: without ``{"__value__": …}``, and of the declared type.

    Raises:
        TypeError, ValueError, OverflowError: It cannot be made one of that type.
    """
    if isinstance(value, Mapping) and "__value__" in value:
        value = value["__value__"]
    convert = _TYPES.get(read(declaration)[0])
    return value if convert is None else convert(value)


def as_listed(class_type: str, name: str, value: Any, declaration: Any) -> Any:
    """A value, with the slashes of the list that it is from; a file that is in no list gets ``/``, good everywhere."""
    kind, options = read(declaration)
    if kind != "COMBO":
        return value
    if isinstance(value, list):
        return [as_listed(class_type, name, each, declaration) for each in value]
    if isinstance(value, Mapping):
        return {key: as_listed(class_type, name, each, declaration) for key, each in value.items()}
    choices = options.get("options") or []
    if not isinstance(value, str) or value in choices:
        return value
    unlisted = value.replace("\\", "/") if lists_files(class_type, name, declaration) else value
    return next((spelling for spelling in spellings(value) if spelling in choices), unlisted)


def is_model_file(value: object) -> bool:
    """Whether a choice is the name of a model's file."""
    return isinstance(value, str) and _MODEL_FILE.fullmatch(value) is not None


def is_filled_by_editor(class_type: str, value: object, choices: Sequence[Any]) -> bool:
    """Whether only the editor knows a list, such as that of Custom Combo: it is empty here, and not one of files."""
    return not choices and not is_model_file(value) and "load" not in class_type.lower()


def needed(
    nodes: Mapping[str, Any], declared: Mapping[str, Declarations], outputs: Iterable[str]
) -> dict[str, set[str]]:
    """The nodes that some outputs need, each with those that it needs itself.

    Args:
        nodes: The prompt in API format.
        declared: What the nodes' classes declare. Links of other inputs are not followed.
        outputs: The ids of the outputs.
    """
    found: dict[str, set[str]] = {}
    waiting = list(outputs)
    while waiting:
        node_id = waiting.pop()
        if node_id not in found:
            links = [nodes[node_id]["inputs"].get(name) for name in declared[node_id]]
            found[node_id] = {link[0] for link in links if is_sound(link) and link[0] in nodes}
            waiting += found[node_id]
    return found


def circle(sources: Mapping[str, set[str]]) -> list[str]:
    """The nodes of a circle among those that ``needed`` found; empty where there is none."""
    try:
        graphlib.TopologicalSorter(sources).prepare()
    except graphlib.CycleError as error:
        return sorted(set(error.args[1]))
    return []


def is_sound(link: object) -> bool:
    """Whether it is a list that can name another node and one of its outputs."""
    return isinstance(link, list) and len(link) == 2 and isinstance(link[0], str)


def link_problem(
    name: str, link: list[Any], declaration: Any, nodes: Mapping[str, Any], object_info: Mapping[str, Any] | None
) -> str | None:
    """What is wrong with an input that comes from another node."""
    if not is_sound(link):
        return f"{name} is {one_line(repr(link), 80)}, which is not an output of a node: export again"
    source, slot = link
    if source not in nodes:
        return f"{name} comes from node {source}, which is not in the file: export again"
    given = outputs_of(nodes[source]["class_type"], object_info)
    if given is None:
        return None
    try:
        received = given[slot]
    except (IndexError, TypeError):
        slot = one_line(repr(slot), 40)
        return f"{name} comes from output {slot} of node {source}, which has {len(given)}: export again"
    taken = declaration[0] if isinstance(declaration, list) and declaration else "*"
    if _fits(received, taken):
        return None
    return f"{name} takes {_type(taken)}, and output {slot} of node {source} is {_type(received)}: connect another"


def outputs_of(class_type: str, object_info: Mapping[str, Any] | None) -> list[Any] | None:
    """The types of a class's outputs; None where they are not known."""
    described = (object_info or {}).get(class_type)
    given = described.get("output") if isinstance(described, Mapping) else None
    return given if isinstance(given, list) else None


def result_kind(
    class_type: str,
    inputs: Mapping[str, Any],
    declared: Declarations,
    nodes: Mapping[str, Any],
    object_info: Mapping[str, Any] | None,
) -> str:
    """What an output node makes a file of: "image", "video", "audio", "3D", "SVG", "text", "latent" or "model".

    It is told by the types of what leads to the node. "" is what cannot be told.
    """
    kinds = []
    for name, (declaration, _) in declared.items():
        link: Any = inputs.get(name)
        given = outputs_of(nodes[link[0]]["class_type"], object_info) if is_sound(link) and link[0] in nodes else None
        if given is None or name == "filename_prefix" or link_problem(name, link, declaration, nodes, object_info):
            continue
        received = given[link[1]]
        if received not in _WIDGETS:
            kinds.append(_kind(f"{received},{read(declaration)[0]}"))
    known = [kind for kind in kinds if kind not in ("", "text")]
    kind = known[0] if known else "text" if kinds and "" not in kinds else ""
    return "video" if kind == "image" and _MOVING.search(class_type) else kind


def _kind(types: str) -> str:
    """The kind of the first type that has one; of a text only where there is no other: it may be a file's path."""
    found = ["3D" if each.startswith("FILE_3D") else _RESULTS.get(each, "") for each in re.split(r"\s*,\s*", types)]
    return next((kind for kind in found if kind not in ("", "text")), "text" if "text" in found else "")


def _fits(received: Any, taken: Any) -> bool:
    if received == taken or "*" in (received, taken) or (isinstance(received, list) and taken == "COMBO"):
        return True
    if not isinstance(received, str) or not isinstance(taken, str):
        return False
    one, other = ({each.strip() for each in types.split(",")} for types in (received, taken))
    return not one.isdisjoint(other) or not _ANY.isdisjoint(one | other)


def _type(declared: Any) -> str:
    return one_line(declared, 80) if isinstance(declared, str) else "one of a list"


def value_problem(class_type: str, name: str, value: Any, declaration: Any) -> str | None:
    """What is wrong with the value of an input."""
    kind, options = read(declaration)
    rule = parameter(name, value, declaration, sent=False) or Parameter(name, "text")
    refused = f"{name} is {one_line(repr(value), 80)}; allowed: {rule.allowed}"
    try:
        value = converted(value, declaration)
    except (TypeError, ValueError, OverflowError):
        return refused
    if _JUDGED_BY_ITSELF.get(class_type, "") in (None, name):
        return None
    choices = options.get("options") or []
    if kind == "COMBO" and (rule.kind == "image" or lists_files(class_type, name, declaration)):
        if value in choices or (isinstance(value, str) and (not value or _UNLISTED.fullmatch(value))):
            return None
        return f"this ComfyUI has no image {one_line(str(value), 120)}: put it into its input folder"
    if ("min" in options and value < options["min"]) or ("max" in options and value > options["max"]):
        return refused
    if kind != "COMBO" or "remote" in options:
        return None
    chosen = value if options.get("multiselect") and isinstance(value, list) else [value]
    unknown = [each for each in chosen if each not in choices]
    if not unknown or is_filled_by_editor(class_type, value, choices):
        return None
    text = one_line(str(unknown[0]), 120)
    if is_model_file(unknown[0]):
        return f"this ComfyUI has no model file {text} for {name}: put it into its models folder, or choose another"
    return f"{name} is {text}; allowed: {rule.allowed}"
