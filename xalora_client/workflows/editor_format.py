"""The editor's own format: which titles are lost when such a workflow is exported for the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from ..errors import one_line

_MODES = {2: "muted", 4: "bypassed"}
_GROUPS = ("workflow>", "workflow/")
_ONLY_IN_EDITOR = {"Reroute", "PrimitiveNode"}


def lost_titles(graph: Mapping[str, Any], binds: Callable[[str], bool]) -> list[str]:
    """What is wrong with the nodes whose titles bind something, and which an export leaves out.

    Args:
        graph: A workflow as the editor saves it, of any shape.
        binds: Whether a title has words that bind.

    Returns:
        A text for each, with its title and what to do.
    """
    definitions = _field(graph, "definitions")
    subgraphs = {each["id"]: each for each in _listed(definitions, "subgraphs") if isinstance(each.get("id"), str)}
    found, entered = list[str](), set[str]()
    active = [("", graph, "", "")]
    inactive = active[1:]
    for entering, inside, prefix, around in chain(active, inactive):
        if entering in entered:  # A subgraph may be there several times: one that is switched on is exported.
            continue
        entered.add(entering)
        for node in _listed(inside, "nodes"):
            kind, mode, name = str(node.get("type")), _mode(node), f"{prefix}{node.get('id')}"
            subgraph = subgraphs.get(kind)
            title = node.get("title") or (subgraph or {}).get("name")
            why = around or _why_lost(kind, mode, subgraph is not None)
            if why and isinstance(title, str) and binds(title):
                found.append(f"node {one_line(name, 40)} ({one_line(title, 80)}) {why}")
            if subgraph is not None:
                left_out = f"is in the {mode} node {one_line(name, 40)}: switch that on" if mode else around
                (inactive if left_out else active).append((kind, subgraph, f"{name}:", left_out))
    return found


def _mode(node: Mapping[str, Any]) -> str:
    """What keeps a node from running; empty where nothing does."""
    mode = node.get("mode")
    return _MODES.get(mode, "") if isinstance(mode, int) else ""


def _why_lost(kind: str, mode: str, is_subgraph: bool) -> str:
    if mode:
        return f"is {mode}: switch it on, or remove the word from its title"
    if is_subgraph or kind.startswith(_GROUPS):
        return f"is a {'subgraph' if is_subgraph else 'group node'}: title the nodes inside it"
    return f"is only in the editor ({kind}): title the node that it leads to" if kind in _ONLY_IN_EDITOR else ""


def _field(found: object, name: str) -> Any:
    return found.get(name) if isinstance(found, Mapping) else None


def _listed(found: object, name: str) -> Iterator[Mapping[str, Any]]:
    listed = _field(found, name)
    return (each for each in (listed if isinstance(listed, list) else []) if isinstance(each, Mapping))
