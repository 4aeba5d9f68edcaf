"""Xalora Run Workflow."""

from __future__ import annotations

import json
from typing import Any

from ..xalora_client import CustomTask, InvalidParameterError
from . import execution
from .widgets import CATEGORY, common_options, text


class XaloraRunWorkflow(execution.DecodesOnDemand):
    """Any workflow of the sequencer, by its task type and parameters."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Runs any workflow on Xalora's GPU miners, for workflows without their own node."
    SEARCH_ALIASES = ["run workflow", "custom workflow", "remote workflow", "remote gpu", "cloud gpu", "api", "xalora"]
    FUNCTION = "generate"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE", "VIDEO", "STRING")
    RETURN_NAMES = ("frames", "video", "task_id")
    OUTPUT_TOOLTIPS = (
        "The result as a batch of images.",
        "The result as a video. For a still image there is none, and nodes connected here do not run.",
        "The task's id, for Xalora Task Status and Xalora Cancel Task.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "task_type": text("The kind of task, such as txt2vid."),
                "workflow_id": text("Which workflow of that kind. Empty: the server chooses."),
                "parameters": text(
                    "The parameters as a JSON object. This node's help has an example.", multiline=True, default="{}"
                ),
            },
            "optional": common_options(),
        }

    async def generate(
        self,
        task_type: str,
        workflow_id: str,
        parameters: str,
        timeout_seconds: int = 600,
        wait: bool = True,
        reuse: bool = True,
    ) -> Any:
        """Return frames [F, H, W, 3] (0..1), the video (blocked for a still image), and the task's id."""
        task = CustomTask(
            task_type.strip(),
            _parsed(parameters),
            workflow_id=workflow_id.strip() or None,
            timeout_seconds=timeout_seconds,
        )
        media = await execution.run_task(task, wait=wait, reuse=reuse)
        return media.answer(media.frames, media.video, media.task_id)


def _parsed(parameters: str) -> Any:
    try:
        return json.loads(parameters)
    except (ValueError, RecursionError) as error:
        raise InvalidParameterError("parameters", parameters, f"a JSON object ({error})") from None
