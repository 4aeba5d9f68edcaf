"""Which workflows a miner offers: those of its files that its ComfyUI can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..workflows import CheckedWorkflow, Workflow, check, read_folder, ready_folder

Abilities = Mapping[tuple[str, str | None], CheckedWorkflow]
"""By task type and workflow id."""


class NothingToRunError(ConfigurationError):
    """This ComfyUI can run none of the workflows."""

    default_advice = "Mend the workflows that are named above, or name another folder after --workflows."


def own_workflows(folder: Path | None, of_sequencer: Mapping[str, Any]) -> list[Workflow]:
    """The workflows to try: those of the folder, else the sequencer's, else the ones that come with the project.

    Raises ConfigurationError for files that cannot be read as workflows.
    """
    if folder is not None:
        return read_folder(folder)
    if of_sequencer:
        return [Workflow.from_nodes(Path(str(name)).name, nodes) for name, nodes in of_sequencer.items()]
    return read_folder(ready_folder())


def abilities(workflows: list[Workflow], object_info: Mapping[str, Any], log: Callable[[str], None]) -> Abilities:
    """Those that this ComfyUI can run. The others are logged, with what is wrong.

    Raises NothingToRunError when there are none.
    """
    found: dict[tuple[str, str | None], CheckedWorkflow] = {}
    for workflow in workflows:
        checked = check(workflow, object_info)
        if checked.faults:
            for fault in checked.faults:
                log(f"left out: {fault}")
        else:
            found[workflow.task_type, workflow.workflow_id] = checked
    if not found:
        raise NothingToRunError("This ComfyUI can run none of the workflows")
    return found
