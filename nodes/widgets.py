"""Inputs that several nodes share, and widgets made from the SDK's rules."""

from __future__ import annotations

from typing import Any

from ..xalora_client import InvalidParameterError, WorkflowTask

CATEGORY = "Xalora"
SEED_TOOLTIP = "The same seed and inputs give the same result. With a new seed the task is new, and is charged."


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


def switch(default: bool, tooltip: str, *, on: str, off: str, **more: Any) -> Any:
    """A switch with short words for both of its positions: Nodes 2.0 shows them side by side."""
    return "BOOLEAN", {"default": default, "label_on": on, "label_off": off, "tooltip": tooltip} | more


def timeout_seconds(tooltip: str) -> Any:
    """How long a task may take."""
    return "INT", {"default": 600, "min": 1, "max": 604_800, "tooltip": tooltip, "advanced": True}


def common_options() -> dict[str, Any]:
    """The optional inputs of every node that makes something. Few need them: ``advanced`` folds them away."""
    return {
        "timeout_seconds": timeout_seconds(
            "How many seconds the task may take. After that, run again: the task is continued, not paid for again. "
            "Or collect it later with Xalora Task Status."
        ),
        "wait": switch(
            True,
            "On: wait for the result. Off: submit the task and continue at once with its id. "
            "Collect the result later with Xalora Task Status.",
            on="for the result",
            off="submit only",
            advanced=True,
        ),
        "reuse": switch(
            True,
            "On: the same inputs give the same result again, without a second charge. "
            "Off: each run is a new task, and is charged.",
            on="earlier result",
            off="pay again",
            advanced=True,
        ),
    }


def checked_id(task_id: str) -> str:
    """The id without the white space that copying adds. Raises InvalidParameterError when nothing is left."""
    task_id = task_id.strip()
    if not task_id:
        allowed = "the id of a task, as the other Xalora nodes give it"
        raise InvalidParameterError("task_id", task_id, allowed, code="text_missing")
    return task_id
