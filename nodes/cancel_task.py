"""Xalora Cancel Task."""

from __future__ import annotations

import time
from typing import Any

from ..xalora_client import BadRequestError, ConflictError
from ._inputs import CATEGORY, checked_id, text
from ._remote import Remote, perform


class XaloraCancelTask:
    """Cancels a task by its id."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Cancels a task on Xalora's GPU miners. Cancelling one that has ended does no harm."
    SEARCH_ALIASES = ["cancel task", "stop", "abort", "remote gpu", "xalora"]
    FUNCTION = "cancel"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("message",)
    OUTPUT_TOOLTIPS = ("What the server says to it.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"task_id": text("The task's id, as the other Xalora nodes give it.")}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:
        """Each Run cancels again: it is what was asked for, and costs nothing."""
        return time.time()

    async def cancel(self, task_id: str) -> Any:
        """Return the server's message."""
        task_id = checked_id(task_id)

        async def work(remote: Remote) -> Any:
            try:
                message = await remote.client.cancel_task(task_id)
            except (BadRequestError, ConflictError) as error:
                # A server may refuse to cancel what has ended; for the user that is no error.
                if not (await remote.client.query_task_result(task_id)).is_final:
                    raise
                message = error.message
            remote.ending = message
            return (message,)

        return await perform(work)
