# ruff: noqa: N802 - ComfyUI names the methods
"""Nodes that only the tests use, installed beside the pack: pictures of any shape, nodes that fail, and a sampler."""

import asyncio
import time
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch


class Anything(str):
    """A type that fits each socket."""

    def __ne__(self, other):
        return False


class TestImage:
    """Pixels of a seed, as ``default_rng(seed).integers(0, 256, [batch, height, width, channels])``."""

    CATEGORY = "test"
    FUNCTION = "make"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        whole = ("INT", {"default": 1, "max": 4096})
        names = ("batch", "height", "width", "channels", "seed")
        kinds = (["float32", "float16", "bfloat16"],)
        return {"required": dict.fromkeys(names, whole) | {"dtype": kinds}}

    def make(self, batch, height, width, channels, seed, dtype):
        pixels = np.random.default_rng(seed).integers(0, 256, (batch, height, width, channels))
        return (torch.from_numpy(pixels / 255).to(getattr(torch, dtype)),)


class TestKeep:
    """Keeps an IMAGE as it is, as a file of numpy's."""

    CATEGORY = "test"
    FUNCTION = "keep"
    OUTPUT_NODE = True
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def keep(self, image):
        name = f"kept_{time.monotonic_ns()}.npy"
        np.save(Path(folder_paths.get_output_directory()) / name, image.numpy())
        kept = {"filename": name, "subfolder": "", "type": "output", "dtype": str(image.dtype)}
        return {"ui": {"images": [kept]}}


class TestShow:
    """Shows values of any type, all of a list at once."""

    CATEGORY = "test"
    FUNCTION = "show"
    INPUT_IS_LIST = True
    OUTPUT_NODE = True
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (Anything("*"),)}}

    def show(self, value):
        return {"ui": {"values": list(value)}}


class TestSwitch:
    """Takes one of two values, and asks for that alone."""

    CATEGORY = "test"
    FUNCTION = "take"
    RETURN_TYPES = (Anything("*"),)

    @classmethod
    def INPUT_TYPES(cls):
        lazy = (Anything("*"), {"lazy": True})
        return {"required": {"switch": ("BOOLEAN", {})}, "optional": {"on_true": lazy, "on_false": lazy}}

    def check_lazy_status(self, switch, on_true=None, on_false=None):
        return ["on_true" if switch else "on_false"]

    def take(self, switch, on_true=None, on_false=None):
        return (on_true if switch else on_false,)


class TestFail:
    """Fails after some seconds."""

    CATEGORY = "test"
    FUNCTION = "fail"
    OUTPUT_NODE = True
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seconds": ("FLOAT", {"default": 1.0})}}

    async def fail(self, seconds):
        await asyncio.sleep(seconds)
        raise RuntimeError("this node fails")


class TestSampler:
    """Holds the event loop as a sampler does, and looks for an interrupt at each step.

    It begins when there is a file of that name among the inputs.
    """

    CATEGORY = "test"
    FUNCTION = "sample"
    OUTPUT_NODE = True
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):
        number = ("FLOAT", {"default": 1.0, "step": 0.001})
        return {"required": {"seconds": number, "step": number, "begin": ("STRING", {})}}

    async def sample(self, seconds, step, begin):
        signal = Path(folder_paths.get_input_directory()) / begin
        while not signal.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        steps = int(seconds / step)
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            time.sleep(step)  # noqa: ASYNC251 - this is the point
            comfy.model_management.throw_exception_if_processing_interrupted()  # As it does with previews on.
            bar.update(1)
        return ()


NODE_CLASS_MAPPINGS = {
    each.__name__: each for each in (TestImage, TestKeep, TestShow, TestSwitch, TestFail, TestSampler)
}
