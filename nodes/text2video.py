"""Xalora Text2Video."""

from __future__ import annotations

from typing import Any

from ..xalora_client import Text2VideoTask
from . import execution
from .widgets import CATEGORY, SEED_TOOLTIP, common_options, text, widget

WORKFLOWS = {"Hunyuan": "1", "Mochi": "2"}
"""The server's text-to-video workflows by name, from the product's "Text2Video Workflow" page."""


class XaloraText2Video(execution.DecodesOnDemand):
    """A video from a text, made on a remote GPU."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Makes a video from a text on Xalora's GPU miners and brings it back as frames and as a video."
    SEARCH_ALIASES = [
        "text to video", "text-to-video", "text video", "prompt to video", "video from text", "generate video",
        "video generation", "t2v", "txt2vid", "hunyuan video", "mochi", "remote gpu", "cloud gpu", "xalora",
        "文生视频", "テキストから動画", "text zu video",
    ]  # fmt: skip
    FUNCTION = "generate"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE", "VIDEO", "FLOAT", "STRING")
    RETURN_NAMES = ("frames", "video", "fps", "task_id")
    OUTPUT_TOOLTIPS = (
        "All frames as a batch of images.",
        "The video file as the miner made it. Saving it does not encode it again.",
        "Frames per second, read from the file.",
        "The task's id, for Xalora Task Status and Xalora Cancel Task.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        def number(name: str, default: int, tooltip: str, **more: Any) -> Any:
            return widget(Text2VideoTask, name, default, tooltip, **more)

        return {
            "required": {
                "prompt": text("What the video shows.", multiline=True, dynamicPrompts=True),
                "model": (list(WORKFLOWS), {"default": "Hunyuan", "tooltip": "The model that makes the video."}),
                "width": number("width", 848, "Width in pixels, a multiple of 16."),
                "height": number("height", 480, "Height in pixels, a multiple of 16."),
                "length": number("length", 37, "How many frames, in steps of 4: 1, 5, 9, 37 and so on."),
                "steps": number("steps", 30, "Sampling steps: more take longer and may look better.", advanced=True),
                "fps": number("fps", 24, "Frames per second.", advanced=True),
                "quality": number("quality", 80, "Quality of the video file, 1 to 100.", advanced=True),
                "seed": number("seed", 0, SEED_TOOLTIP, control_after_generate=True),
            },
            "optional": common_options(),
        }

    async def generate(
        self,
        prompt: str,
        model: str,
        width: int,
        height: int,
        length: int,
        steps: int,
        fps: int,
        quality: int,
        seed: int,
        timeout_seconds: int = 600,
        wait: bool = True,
        reuse: bool = True,
    ) -> Any:
        """Return frames [F, H, W, 3] (0..1), the video, its frames per second, and the task's id."""
        task = Text2VideoTask(
            prompt,
            width=width,
            height=height,
            length=length,
            steps=steps,
            fps=fps,
            quality=quality,
            seed=seed,
            workflow_id=WORKFLOWS[model],
            timeout_seconds=timeout_seconds,
        )
        media = await execution.run_task(task, wait=wait, reuse=reuse)
        return media.answer(media.frames, media.video, media.fps, media.task_id)
