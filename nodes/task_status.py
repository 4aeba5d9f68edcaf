"""Xalora Task Status."""

from __future__ import annotations

import json
from typing import Any

from ..xalora_client import WorkflowTaskResult
from . import execution
from .comfy.prompt import is_wanted
from .widgets import CATEGORY, checked_id, switch, text, timeout_seconds


class XaloraTaskStatus:
    """The status of a task, and its result when there is one."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Shows the status of a task, and its result when there is one; with wait on, waits for the result."
    SEARCH_ALIASES = [
        "task status", "collect result", "get result", "resume task", "fetch", "remote gpu", "cloud gpu", "xalora",
    ]  # fmt: skip
    FUNCTION = "query"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "IMAGE", "VIDEO", "STRING", "STRING")
    RETURN_NAMES = ("status", "frames", "video", "result_url", "info")
    OUTPUT_TOOLTIPS = (
        "waiting, running, finished, failed or canceled.",
        "The result as a batch of images. Nodes connected here run once there is one.",
        "The result as a video. Nodes connected here run once there is one.",
        "The address of the result, empty before there is one. It may expire.",
        "Times, latencies and parameters as JSON.",
    )

    _queries: dict[str, tuple[int, set[str] | None]] = {}  # On the class, because ComfyUI asks the class.
    """For each node: the number of its last query, and the tasks (several for a list) that were still open then.

    None means a query without an answer yet.
    """

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"task_id": text("The task's id, as the other Xalora nodes give it.")},
            "optional": {
                "wait": switch(
                    False,
                    "On: wait until the task is finished. Off: check once.",
                    on="until finished",
                    off="check once",
                ),
                "timeout_seconds": timeout_seconds("How many seconds to wait. After that, the task continues."),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, unique_id: str = "", **_: Any) -> int:
        """The same number once the task has ended, so that nodes downstream do not run again; else a new one."""
        number, still_open = cls._queries.get(unique_id, (0, None))
        if still_open is None or still_open:
            number += 1
            cls._queries[unique_id] = (number, None)
        return number if is_wanted(1) else ~number  # Frames that were not decoded may be needed later.

    async def query(self, task_id: str, wait: bool = False, timeout_seconds: int = 600, unique_id: str = "") -> Any:
        """Return status, frames [F, H, W, 3] (0..1), video, the media's URL, and JSON about the task.

        With ``wait``, a task that fails or is canceled is an error; without, it is a status.
        """
        result, media = await execution.collect(
            checked_id(task_id), wait=wait, timeout_seconds=timeout_seconds, decoded=is_wanted(1)
        )
        number, still_open = self._queries.get(unique_id, (0, None))
        others = (still_open or set()) - {result.task_id}
        self._queries[unique_id] = (number, others if result.is_final else others | {result.task_id})
        return media.answer(str(result.status), media.frames, media.video, result.media_url or "", describe(result))


def describe(result: WorkflowTaskResult) -> str:
    """Everything the server says about a task except its media, as JSON for people."""
    summary = {
        "task_id": result.task_id,
        "status": str(result.status),
        "message": result.message,
        "task_type": result.task_type,
        "workflow_id": result.workflow_id,
        "create_timestamp": result.create_timestamp,
        "inference_latency": result.inference_latency,
        "upload_latency": result.upload_latency,
        "timeout_seconds": result.timeout_seconds,
        "task_details": result.shown_details,
        "result_urls": result.media_urls if result.more_media_urls else None,
    }
    return json.dumps(
        {name: value for name, value in summary.items() if value is not None}, indent=2, ensure_ascii=False
    )
