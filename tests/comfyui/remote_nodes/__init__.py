# ruff: noqa: N802 - ComfyUI names the methods
"""A node that only the tests use, on the miner's ComfyUI: it samples as long as the test says."""

import time

import comfy.model_management
import comfy.utils
from PIL import Image


class TestSteps:
    """Returns its image after so many steps of so many seconds, with progress and previews as a sampler's."""

    CATEGORY = "test"
    FUNCTION = "sample"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        steps = ("INT", {"default": 4, "min": 1, "max": 1000})
        seconds = ("FLOAT", {"default": 0.1, "min": 0.0, "max": 60.0, "step": 0.001})
        seed = ("INT", {"default": 0, "min": 0, "max": 2**32})
        return {"required": {"image": ("IMAGE",), "steps": steps, "seconds": seconds, "noise_seed": seed}}

    def sample(self, image, steps, seconds, noise_seed):
        bar = comfy.utils.ProgressBar(steps)
        for step in range(steps):
            time.sleep(seconds)
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(step + 1, steps, ("JPEG", Image.new("RGB", (64, 48), (step, 90, 30)), 64))
        return (image,)


class TestBreak:
    """Fails with the message it is given."""

    CATEGORY = "test"
    FUNCTION = "fail"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "message": ("STRING", {"default": "broken"})}}

    def fail(self, image, message):
        raise RuntimeError(message)


NODE_CLASS_MAPPINGS = {each.__name__: each for each in (TestSteps, TestBreak)}
