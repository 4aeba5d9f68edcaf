"""Workflow files: their names, their format, and folders of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, one_line

_FILE_NAME = re.compile(r"([A-Za-z0-9_-]{1,100})(?:\.([A-Za-z0-9_-]{1,100}))?\.json", re.ASCII)
_EXPORT = "In ComfyUI, open the workflow and use File → Export (API)"


class WorkflowFileError(ConfigurationError):
    """A file is not a workflow that can be read.

    Attributes:
        file: That file.
    """

    def __init__(self, file: Path, what: str, advice: str) -> None:
        super().__init__(f"{one_line(file.name, 120)}: {what}", advice=advice)
        self.file = file


@dataclass(frozen=True)
class Workflow:
    """One workflow file, read and of the right form, not yet compared with a ComfyUI.

    Attributes:
        task_type: The kind of task it does, such as "txt2vid".
        workflow_id: The workflow's id among those of its kind, or None.
        file: Where it was read from, or its bare name.
        nodes: The prompt in ComfyUI's API format: for each node id, ``class_type``, ``inputs`` and ``_meta``.
    """

    task_type: str
    workflow_id: str | None
    file: Path
    nodes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For example "txt2vid.1" or "upscaler"."""
        return self.task_type if self.workflow_id is None else f"{self.task_type}.{self.workflow_id}"

    @classmethod
    def from_nodes(cls, file: Path | str, nodes: object) -> Workflow:
        """Make a workflow from the contents of a file.

        Args:
            file: The file, named ``<task_type>.<workflow_id>.json`` or ``<task_type>.json``.
            nodes: What it contains, of any shape.

        Raises:
            WorkflowFileError: The name or the contents are not those of a workflow.
        """
        file = Path(file)
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            raise WorkflowFileError(
                file,
                "the name is not that of a workflow",
                "Name it <task_type>.<workflow_id>.json, or <task_type>.json.",
            )
        if isinstance(nodes, Mapping) and isinstance(nodes.get("nodes"), list):
            raise WorkflowFileError(file, "this is a workflow in the editor's format", f"{_EXPORT}.")
        if not isinstance(nodes, Mapping) or not nodes:
            raise WorkflowFileError(file, "this is not a workflow", f"{_EXPORT}.")
        for node_id, node in nodes.items():
            if not (
                isinstance(node, Mapping)
                and isinstance(node.get("class_type"), str)
                and isinstance(node.get("inputs"), Mapping)
                and isinstance(node.get("_meta", {}), Mapping)
            ):
                where = one_line(str(node_id), 40)
                raise WorkflowFileError(file, f"{where!r} is not a node with class_type and inputs", f"{_EXPORT}.")
        return cls(match[1], match[2], file, nodes)


def read_workflow(file: Path) -> Workflow:
    """Read one workflow file.

    Raises:
        WorkflowFileError: It cannot be read, or is not a workflow.
    """
    try:
        nodes = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except OSError as error:
        raise WorkflowFileError(file, f"it cannot be read: {error.strerror}", "Make the file readable.") from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else one_line(str(error), 120)
        raise WorkflowFileError(file, f"this is not JSON: {reason}", f"{_EXPORT}.") from error
    return Workflow.from_nodes(file, nodes)


def try_folder(folder: Path) -> tuple[list[Workflow], list[WorkflowFileError]]:
    """Read every ``*.json`` of a folder, except hidden ones.

    Args:
        folder: The folder.

    Returns:
        The workflows, ordered by name, and an error for each file that is none.

    Raises:
        ConfigurationError: There is no such folder, or it has no ``*.json``.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"There is no folder {folder}", advice="Name a folder of workflow files.")
    workflows: list[Workflow] = []
    faults: list[WorkflowFileError] = []
    for file in sorted(folder.glob("*.json")):
        if file.name.startswith("."):
            continue
        try:
            workflows.append(read_workflow(file))
        except WorkflowFileError as fault:
            faults.append(fault)
    if not workflows and not faults:
        advice = "Put workflow files there, named <task_type>.<workflow_id>.json, or run `xalora workflows copy DIR`."
        raise ConfigurationError(f"The folder {folder} has no workflow files", advice=advice)
    return workflows, faults


def read_folder(folder: Path) -> list[Workflow]:
    """Read every workflow file of a folder, ordered by name.

    Raises:
        ConfigurationError: There are none, or a file is not a workflow; every such file is named.
    """
    workflows, faults = try_folder(folder)
    if faults:
        what = "; ".join(fault.what for fault in faults)
        raise ConfigurationError(what, advice=" ".join(dict.fromkeys(fault.advice for fault in faults)))
    return workflows


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number that JSON has")
