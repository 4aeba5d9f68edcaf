"""A task as the sequencer hands it to a miner."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ResponseError, one_line


@dataclass(frozen=True)
class Input:
    """An image of the task: where its bytes are, and what they are."""

    url: str
    content_type: str


@dataclass(frozen=True)
class Assignment:
    """One attempt at one task.

    Attributes:
        task_id: The task.
        workflow: Its task type and workflow id.
        parameters: What was sent for it. Of an image it says only that there is one.
        inputs: Those images by parameter.
        prompt_id: A UUID of this attempt alone.
        lease: What says that this miner holds the task.
        deadline: ``time.monotonic()`` at which the sequencer gives the task up, or None.
        upload_url: Where the result goes.
    """

    task_id: str
    workflow: tuple[str, str | None]
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Input]
    prompt_id: str
    lease: str
    deadline: float | None
    upload_url: str

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Assignment:
        """Read an answer that has a ``task_id``. Raises ResponseError when it is not of the right form."""
        try:
            details = answer["task_details"]
            if isinstance(details, str):  # Old servers send it as JSON text.
                details = json.loads(details)
            workflow_id, seconds_left = answer.get("workflow_id"), answer.get("seconds_left")
            return cls(
                str(answer["task_id"]),
                (str(answer["task_type"]), None if workflow_id in (None, "") else str(workflow_id)),
                dict(details.get("parameters") or {}),
                {
                    str(name): Input(str(each["url"]), str(each.get("content_type") or "application/octet-stream"))
                    for name, each in (answer.get("inputs") or {}).items()
                },
                str(uuid.UUID(answer["prompt_id"])),  # Becomes a part of ComfyUI's addresses.
                str(answer["lease"]),
                None if seconds_left is None else time.monotonic() + float(seconds_left),
                str(answer["credential"]["upload_url"]),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            what = one_line(f"{type(error).__name__}: {error}", 120)
            raise ResponseError(
                f"The sequencer sent a task that cannot be read ({what})",
                task_id=one_line(str(answer.get("task_id")), 80),
                advice="Use the same version of xalora for the sequencer and the miner.",
            ) from None
