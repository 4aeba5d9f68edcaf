"""An entry of the ledger as JSON, for lists: on the command line, and in ComfyUI's editor."""

from __future__ import annotations

from typing import Any

from .entry import Entry


def summarize(entry: Entry) -> dict[str, Any]:
    """What a list shows of a task. Times are Unix seconds; ``media`` is the name of the stored file, or None."""
    return {
        "task_id": entry.task_id,
        "job_id": entry.job_id,
        "state": entry.state,
        "task_type": entry.task_type,
        "workflow_id": entry.workflow_id,
        "parameters": entry.parameters,
        "server": entry.server,
        "source": entry.source,
        "place": entry.place,
        "created": entry.created,
        "finished": entry.finished,
        "inference_latency": entry.inference_latency,
        "message": entry.message,
        "media": None if entry.sha256 is None else f"{entry.sha256}{entry.extension}",
        "media_bytes": entry.size,
    }
