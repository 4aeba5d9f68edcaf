"""Xalora Cancel Task."""

from __future__ import annotations

import time
from typing import Any

from . import execution
from .widgets import CATEGORY, checked_id, text


class XaloraCancelTask:
    """Cancels a task by its id."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Cancels a task on Xalora's GPU miners. Canceling one that has ended does no harm."
    SEARCH_ALIASES = ["cancel task", "stop task", "abort", "remote gpu", "cloud gpu", "xalora"]
    FUNCTION = "cancel"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("message",)
    OUTPUT_TOOLTIPS = ("The server's message.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"task_id": text("The task's id, as the other Xalora nodes give it.")}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:
        """Each run cancels again, as requested; this is free."""
        return time.time()

    async def cancel(self, task_id: str) -> Any:
        """Return the server's message."""
        return (await execution.cancel(checked_id(task_id)),)
