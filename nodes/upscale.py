"""Xalora Upscale."""

from __future__ import annotations

from typing import Any

from ..xalora_client import UpscalerTask
from .batch import run_batch, submit_batch
from .comfy.outputs import blocked
from .widgets import CATEGORY, common_options

USUAL_FACTOR = 4
"""How many times as wide and high the shipped workflow makes an image. Others may do more or less."""


class XaloraUpscale:
    """Larger versions of images, made on remote GPUs, several at a time."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Enlarges images on Xalora's GPU miners: one task per image of the batch, several at once."
    SEARCH_ALIASES = [
        "upscale", "upscale image", "upscale-image", "image upscale", "upscaler", "enlarge", "enlarge image",
        "super resolution", "upscale video", "remote gpu", "cloud gpu", "xalora",
        "图像放大", "画像を拡大", "bild vergrößern",
    ]  # fmt: skip
    FUNCTION = "upscale"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "task_ids")
    OUTPUT_IS_LIST = (False, True)
    OUTPUT_TOOLTIPS = (
        "The enlarged images, in the order of the input.",
        "The tasks' ids in the order of the images, for Xalora Task Status and Xalora Cancel Task.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The images to enlarge, one task for each. Transparency is kept."})
            },
            "optional": {
                "max_parallel": (
                    "INT",
                    {
                        "default": 8,
                        "min": 1,
                        "max": 64,
                        "tooltip": "How many images are enlarged at once.",
                        "advanced": True,
                    },
                ),
                **common_options(),
            },
        }

    async def upscale(
        self,
        image: Any,
        max_parallel: int = 8,
        timeout_seconds: int = 600,
        wait: bool = True,
        reuse: bool = True,
    ) -> Any:
        """Take images [B, H, W, 3 or 4] (0..1); return them enlarged, and a list of B task ids."""
        from .tensors import checked_images, input_image  # Imports torch, which would slow down ComfyUI's start.

        images = checked_images(image)
        count, height, width, channels = images.shape

        def task_of(number: int) -> UpscalerTask:
            name = "the image" if count == 1 else f"image {number + 1} of {count}"
            return UpscalerTask(input_image(images[number], name), timeout_seconds=timeout_seconds)

        if not wait:
            return blocked(), await submit_batch(count, task_of, parallel=max_parallel, reuse=reuse)
        task_ids, enlarged, preview = await run_batch(
            count,
            task_of,
            size=(USUAL_FACTOR * width, USUAL_FACTOR * height),
            parallel=max_parallel,
            reuse=reuse,
            alpha=channels == 4,
        )
        return {"ui": preview, "result": (enlarged, task_ids)}
