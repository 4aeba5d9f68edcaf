"""Prompts in ComfyUI's API format, node by node: a dict of these under ids of one's own is a prompt."""

from __future__ import annotations

from typing import Any

Node = dict[str, Any]


def node(class_type: str, **inputs: Any) -> Node:
    """A node; a link is ``[id, output]``."""
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def text2video(prompt: str = "a rabbit", **inputs: Any) -> Node:
    """Five small frames."""
    small = {"width": 64, "height": 48, "length": 5, "steps": 1, "fps": 24, "quality": 80, "seed": 0}
    return node("XaloraText2Video", prompt=prompt, model="Hunyuan", **small | inputs)


def flux_lora(prompt: str = "a gecko", **inputs: Any) -> Node:
    small = {"width": 64, "height": 80, "steps": 1, "guidance": 3.5, "seed": 0}
    return node("XaloraFluxLora", prompt=prompt, lora_name="gecko.safetensors", **small | inputs)


def upscale(image: list[Any], **inputs: Any) -> Node:
    return node("XaloraUpscale", image=image, **inputs)


def image(
    batch: int = 1, height: int = 24, width: int = 32, channels: int = 3, seed: int = 1, dtype: str = "float32"
) -> Node:
    """Pixels that the test can make again, see ``pixels``."""
    return node("TestImage", batch=batch, height=height, width=width, channels=channels, seed=seed, dtype=dtype)


def show(link: list[Any]) -> Node:
    """An output node for values of any type."""
    return node("TestShow", value=link)


def keep(link: list[Any]) -> Node:
    """An output node that keeps an IMAGE as it is."""
    return node("TestKeep", image=link)


def save_image(link: list[Any], prefix: str = "picture") -> Node:
    return node("SaveImage", images=link, filename_prefix=prefix)


def save_video(link: list[Any], prefix: str = "video") -> Node:
    return node("SaveVideo", video=link, filename_prefix=prefix, format="auto", codec="auto")
