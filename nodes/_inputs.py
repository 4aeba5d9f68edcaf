"""Inputs that several nodes share, and widgets made from the SDK's rules."""

from __future__ import annotations

from typing import Any

from ..xalora_client import InvalidParameterError, WorkflowTask

CATEGORY = "Xalora"


def widget(task: type[WorkflowTask], name: str, default: Any, tooltip: str, **more: Any) -> Any:
    """A number widget whose range is that of the task's parameter."""
    rule: Any = next(rule for field, rule, _ in task.rules() if field == name)
    kind = "INT" if isinstance(default, int) else "FLOAT"
    options = {"default": default, "min": rule.minimum, "max": rule.maximum, "tooltip": tooltip}
    if getattr(rule, "step", 1) > 1:
        options["step"] = rule.step
    return kind, options | more


def text(tooltip: str, **more: Any) -> Any:
    """A text widget."""
    return "STRING", {"default": "", "tooltip": tooltip} | more


def timeout_seconds() -> Any:
    """How long the sequencer gives a task."""
    tooltip = (
        "How many seconds the task may take on the miner; the node waits a little longer. After a timeout, queue again "
        "with reuse on, or collect the task by its id with Xalora Task Status."
    )
    return "INT", {"default": 600, "min": 1, "max": 604_800, "tooltip": tooltip}


def common_options() -> dict[str, Any]:
    """The optional inputs of every node that makes something."""
    return {
        "timeout_seconds": timeout_seconds(),
        "wait": (
            "BOOLEAN",
            {
                "default": True,
                "tooltip": "Off: submit and continue with the task id; collect it later with Xalora Task Status.",
            },
        ),
        "reuse": (
            "BOOLEAN",
            {
                "default": True,
                "tooltip": "Reuse a task or result with exactly these inputs instead of paying for it again. "
                "Off: every execution of this node is a new task and is charged.",
            },
        ),
    }


def checked_id(task_id: str) -> str:
    """The id without the white space that copying adds. Raises InvalidParameterError when nothing is left."""
    task_id = task_id.strip()
    if not task_id:
        raise InvalidParameterError("task_id", task_id, "the id of a task, as the other Xalora nodes give it")
    return task_id
