"""Xalora Flux LoRA."""

from __future__ import annotations

from typing import Any

from ..xalora_client import FluxLoraTask
from . import execution
from .widgets import CATEGORY, SEED_TOOLTIP, common_options, text, widget

WORKFLOW_ID = "3"
"""FluxLora, from the product's "FluxLora Workflow" page."""


class XaloraFluxLora(execution.DecodesOnDemand):
    """An image from a text with Flux and a LoRA, made on a remote GPU."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Makes an image from a text with Flux and a LoRA on Xalora's GPU miners."
    SEARCH_ALIASES = [
        "text to image", "text-to-image", "generate image", "image generation", "t2i", "txt2img", "flux", "lora",
        "remote gpu", "cloud gpu", "xalora", "文生图", "テキストから画像", "text zu bild",
    ]  # fmt: skip
    FUNCTION = "generate"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "task_id")
    OUTPUT_TOOLTIPS = ("The image.", "The task's id, for Xalora Task Status and Xalora Cancel Task.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        def number(name: str, default: float, tooltip: str, **more: Any) -> Any:
            return widget(FluxLoraTask, name, default, tooltip, **more)

        return {
            "required": {
                "prompt": text("What the image shows.", multiline=True, dynamicPrompts=True),
                "lora_name": text("File name of the LoRA on the miners, such as gecko.safetensors."),
                "width": number("width", 680, "Width in pixels."),
                "height": number("height", 1024, "Height in pixels."),
                "steps": number("steps", 15, "Sampling steps: more take longer and may look better."),
                "guidance": number("guidance", 3.5, "How closely the image follows the text.", step=0.1),
                "seed": number("noise_seed", 0, SEED_TOOLTIP, control_after_generate=True),
            },
            "optional": common_options(),
        }

    async def generate(
        self,
        prompt: str,
        lora_name: str,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        seed: int,
        timeout_seconds: int = 600,
        wait: bool = True,
        reuse: bool = True,
    ) -> Any:
        """Return the image [1, H, W, 3] (0..1), or all of a batch, and the task's id."""
        task = FluxLoraTask(
            prompt,
            lora_name,
            width=width,
            height=height,
            steps=steps,
            guidance=guidance,
            noise_seed=seed,
            workflow_id=WORKFLOW_ID,
            timeout_seconds=timeout_seconds,
        )
        media = await execution.run_task(task, wait=wait, reuse=reuse)
        return media.answer(media.frames, media.task_id)
