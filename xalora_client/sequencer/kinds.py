"""The kinds of task that the sandbox accepts, checked by the SDK's own classes."""

from __future__ import annotations

from typing import Any, TypeAlias

from ..errors import InvalidParameterError
from ..protocol.parameters import is_data_uri
from ..protocol.signed_links import without_signatures
from ..protocol.tasks import FluxLoraTask, Text2VideoTask, UpscalerTask

KnownTask: TypeAlias = Text2VideoTask | UpscalerTask | FluxLoraTask

_KINDS: dict[str, type[KnownTask]] = {kind.type_name: kind for kind in (Text2VideoTask, UpscalerTask, FluxLoraTask)}
_SHOWN_DATA_URI = 200


def check_task_type(task_type: object) -> type[KnownTask]:
    """Return the class of a task type, or raise InvalidParameterError."""
    kind = _KINDS.get(task_type) if isinstance(task_type, str) else None
    if kind is None:
        raise InvalidParameterError("task_type", task_type, ", ".join(_KINDS))
    return kind


def build_task(task_type: object, task_details: object, **options: Any) -> KnownTask:
    """Build the task that a create request describes; unknown parameters are ignored.

    ``task_details`` is ``{"parameters": {...}}`` with the protocol's names; ``options`` are those of
    WorkflowTask. Raises InvalidParameterError.
    """
    kind = check_task_type(task_type)
    parameters = task_details.get("parameters") if isinstance(task_details, dict) else None
    if not isinstance(parameters, dict):
        raise InvalidParameterError("task_details", task_details, 'an object like {"parameters": {...}}')
    values: dict[str, Any] = {name: parameters.get(rule.wire_name or name) for name, rule, _ in kind.rules()}
    return kind(**values, **options)


def shortened(task_details: dict[str, Any]) -> dict[str, Any]:
    """Return the details as answers show them: without bodies of long ``data:`` URIs and signatures."""
    return {"parameters": {name: _shortened_value(value) for name, value in task_details["parameters"].items()}}


def _shortened_value(value: Any) -> Any:
    if isinstance(value, str) and is_data_uri(value) and len(value) > _SHOWN_DATA_URI:
        return f"{value[:64]}… ({len(value)} characters)"
    return without_signatures(value) if isinstance(value, str) else value
