"""What a ComfyUI's ``/object_info`` says, for a few nodes: with lists of choices as V1 has them, or as V3 has them."""

from __future__ import annotations

from typing import Any

WIDEST_SEED = 2**64 - 1


def _choices(v3: bool, *names: Any, **options: Any) -> list[Any]:
    return ["COMBO", {"options": list(names), **options}] if v3 else [list(names), options]


def object_info(*, v3: bool = False, loras: tuple[str, ...] = ("ink.safetensors",)) -> dict[str, Any]:
    """Nodes of each kind of widget."""
    seed = ["INT", {"default": 0, "min": 0, "max": WIDEST_SEED, "control_after_generate": True}]
    side = ["INT", {"default": 512, "min": 16, "max": 16384, "step": 8}]
    text = ["STRING", {"multiline": True}]
    inputs: dict[str, dict[str, Any]] = {
        "Start": {},
        "Load": {"model_name": _choices(v3, "flux.safetensors")},
        "Lora": {"model": ["MODEL"], "lora_name": _choices(v3, *loras), "strength": ["FLOAT", {"min": -10, "max": 10}]},
        "Prompt": {"text": text, "clip": ["CLIP"]},
        "Size": {"width": side, "height": side, "length": ["INT", {"min": 1, "max": 100, "step": 4}]},
        "MochiSize": {"length": ["INT", {"min": 7, "max": 90, "step": 6}]},
        "Scale": {"width": ["INT", {"min": 0, "max": 64}], "image": ["IMAGE"]},
        "Sample": {
            "model": ["MODEL"],
            "seed": seed,
            "steps": ["INT", {"min": 1, "max": 10000}],
            "sampler": _choices(v3, "euler", "heun"),
            "tiled": ["BOOLEAN", {}],
        },
        "LoadImage": {"image": _choices(v3, "example.png", image_upload=True)},
        "Fps": {"fps": ["FLOAT", {"min": 1.0, "max": 120.0, "step": 1.0}]},
        "Count": {"count": ["INT", {"min": 0, "max": 200}]},
        "Save": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]},
        "Preview": {"images": ["IMAGE"]},
    }
    saving = {"Save", "Preview"}
    return {name: {"input": {"required": each}, "output_node": name in saving} for name, each in inputs.items()}


def node(class_type: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    """A node of a workflow file."""
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}
