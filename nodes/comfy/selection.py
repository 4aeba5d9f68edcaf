"""Which of our nodes a prompt runs: not those that only a branch needs which a lazy switch may not take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from importlib import import_module
from typing import Any

from . import IN_COMFYUI, at_prompt

if IN_COMFYUI:
    from comfy_execution.graph import get_input_info
    from comfy_execution.graph_utils import is_link

Graph = dict[str, Any]


def run_selected_only(classes: Collection[str]) -> None:
    """Have each prompt run its nodes of these classes where what runs needs them, or nothing does.

    ComfyUI runs every output node, also one in the branch that a lazy switch does not take, which would be paid for.
    """
    at_prompt(partial(_with_targets, set(classes)))


def _with_targets(classes: set[str], request: dict[str, Any]) -> dict[str, Any]:
    """The request of a prompt, with the output nodes to run where those are not all. The switch decides on the rest."""
    graph: Graph = request.get("prompt", {})
    known = import_module("nodes").NODE_CLASS_MAPPINGS

    def is_lazy(node: dict[str, Any], name: str) -> bool:
        node_class = known.get(node.get("class_type"))
        return node_class is not None and bool((get_input_info(node_class, name)[2] or {}).get("lazy"))

    outputs = {
        number for number, node in graph.items() if getattr(known.get(node.get("class_type")), "OUTPUT_NODE", False)
    }
    in_the_middle = _sources(graph, outputs, lambda *_: True)
    roots = {
        number for number in outputs if graph[number].get("class_type") not in classes or number not in in_the_middle
    }
    targets = outputs & (roots | _sources(graph, roots, lambda node, name: not is_lazy(node, name)))
    if targets != outputs and request.get("partial_execution_targets") is None:  # Else somebody has chosen.
        request["partial_execution_targets"] = list(targets)
    return request


def _sources(graph: Graph, roots: Iterable[str], follow: Callable[[dict[str, Any], str], bool]) -> set[str]:
    """The nodes from which links lead to these, as far as they are followed."""
    found: set[str] = set()
    pending = list(roots)
    while pending:
        node = graph[pending.pop()]
        for name, value in node.get("inputs", {}).items():
            if is_link(value) and value[0] in graph and value[0] not in found and follow(node, name):
                found.add(value[0])
                pending.append(value[0])
    return found
