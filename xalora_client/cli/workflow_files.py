"""``xalora workflows``: what the server's miners run, and the check and copies of workflow files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ..config.validation import SANDBOX
from ..errors import listed, one_line
from ..workflows import AvailableWorkflow, CheckedWorkflow, Parameter, WorkflowFileError, copy_shipped, try_folder
from ..workflows import check as check_workflow
from .outcome import print_result

ANSWER_SECONDS = 60.0
"""How long ComfyUI may take: it looks through its folders of models before it answers."""

WIDEST_VALUE = 40


async def check(arguments: argparse.Namespace) -> int:
    """``xalora workflows check DIR [--comfyui URL]``: 1 when something is wrong, else 0."""
    workflows, unread = try_folder(arguments.folder)
    object_info = await _object_info(arguments.comfyui) if arguments.comfyui is not None else None
    checked = [check_workflow(workflow, object_info) for workflow in workflows]
    print_result(
        arguments,
        {"workflows": [*map(_described, checked), *map(_unread, unread)]},
        *(line for workflow in checked for line in _lines(workflow)),
        *map(str, unread),
    )
    if object_info is None and not arguments.json:
        advice = "Name a ComfyUI with --comfyui URL to check nodes, ranges and model files as well."
        print(f"xalora: checked without a ComfyUI. {advice}", file=sys.stderr)
    return 1 if unread or any(workflow.faults for workflow in checked) else 0


async def list_available(arguments: argparse.Namespace) -> int:
    """``xalora workflows list``: what connected miners run now, as far as the server tells."""
    from ..client.async_ import AsyncClient  # Imports HTTP, which the other commands here do not need.

    async with AsyncClient(workflow_url=SANDBOX if arguments.sandbox else None) as client:
        found = await client.workflows()
    available = None if found is None else [workflow.to_json() for workflow in found]
    print_result(arguments, {"workflows": available}, *(line for each in found or [] for line in _available(each)))
    if not found:
        why = "no miner is connected" if found is not None else "the server does not tell what it offers"
        print(f"xalora: {why}", file=sys.stderr)
    return 0


async def copy(arguments: argparse.Namespace) -> int:
    """``xalora workflows copy DIR [--small]``."""
    files = [str(file) for file in copy_shipped(arguments.folder, small=arguments.small)]
    print_result(arguments, {"files": files}, *files)
    return 0


def _lines(checked: CheckedWorkflow) -> Iterator[str]:
    yield checked.workflow.name
    yield from _takes(checked.parameters)
    inside = {node_id for node_id in checked.workflow.nodes if ":" in node_id}
    bound = {node_id for widgets in checked.bindings.values() for node_id, _ in widgets}
    if not checked.parameters:
        yield "  takes no parameters"
    if inside and inside.isdisjoint(bound):
        yield "  an export loses the titles of subgraph nodes: write input:NAME on a node inside"
    for node_id in checked.outputs:
        kind = f", {checked.kind}" if checked.kind else ""
        yield f"  result: node {node_id} ({one_line(checked.titles[node_id], 80)}){kind}"
    yield from (f"  {fault}" for fault in checked.faults)


def _takes(parameters: Mapping[str, Parameter]) -> Iterator[str]:
    width = max(map(len, parameters), default=0)
    for name, parameter in parameters.items():
        yield f"  {name:<{width}}  {parameter.allowed} ({_default(parameter)})"


def _available(workflow: AvailableWorkflow) -> Iterator[str]:
    yield str(workflow.key)
    yield from _takes(workflow.parameters)
    if workflow.usual_factor is not None:
        yield f"  factor: {one_line(str(workflow.usual_factor), WIDEST_VALUE)}"
    if workflow.usual_models:
        yield f"  models: {listed(workflow.usual_models)}"


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "required"
    return f"default {one_line(json.dumps(parameter.default, ensure_ascii=False), WIDEST_VALUE)}"


def _described(checked: CheckedWorkflow) -> dict[str, Any]:
    return {
        "file": checked.workflow.file.name,
        **checked.capability.to_json(),
        "outputs": list(checked.outputs),
        **({"kind": checked.kind} if checked.kind else {}),
        "faults": [fault.to_json() for fault in checked.faults],
    }


def _unread(error: WorkflowFileError) -> dict[str, Any]:
    """A file that is no workflow, with the same fields as one that is."""
    fault = {"file": error.file.name, "node_id": "", "title": "", "message": str(error)}
    return {
        "file": error.file.name, "task_type": None, "workflow_id": None, "parameters": [], "outputs": [],
        "faults": [fault],
    }  # fmt: skip


async def _object_info(address: str) -> dict[str, Any]:
    """A ComfyUI's description of its nodes. Raises ConfigurationError, NetworkError or ResponseError."""
    from ..miner.comfyui import ComfyUI  # Imports HTTP, which the other commands here do not need.

    async with ComfyUI(address, answer_seconds=ANSWER_SECONDS) as comfy:
        return await comfy.object_info()
