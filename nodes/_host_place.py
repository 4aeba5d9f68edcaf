"""Which node of which workflow runs. Without ComfyUI this is not known."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from . import _host

if _host.IN_COMFYUI:
    from comfy_execution.utils import get_executing_context
    from server import PromptServer


def place() -> dict[str, str] | None:
    """The ``node`` id, its ``title`` and the ``workflow`` id of the node that runs, as far as they are known."""
    context = get_executing_context() if _host.IN_COMFYUI else None
    if context is None:
        return None
    known = {"node": str(context.node_id)}
    for _, prompt_id, prompt, extra, *_ in list(PromptServer.instance.prompt_queue.currently_running.values()):
        if prompt_id == context.prompt_id:
            # What a program sends in place of the editor has no titles, and no workflow.
            known |= _text("title", prompt, context.node_id, "_meta", "title")
            known |= _text("workflow", extra, "extra_pnginfo", "workflow", "id")
    return known


def _text(name: str, value: Any, *path: Any) -> dict[str, str]:
    with suppress(KeyError, TypeError):
        for part in path:
            value = value[part]
        return {name: str(value)[:200]}
    return {}
