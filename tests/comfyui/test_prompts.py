"""Prompts in API format through a real server: what comes out, down to the pixels."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from comfyui_prompts import flux_lora, image, keep, node, save_image, save_video, show, text2video, upscale
from comfyui_server import ComfyUI
from PIL import Image
from sandbox_process import SandboxProcess


def frames_of(file: Path) -> tuple[int, tuple[int, int], float]:
    """Frame count, width and height, and frames per second of a video."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        count = sum(1 for _ in container.decode(stream))
        return count, (stream.width, stream.height), float(stream.average_rate)


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """Twice the size by Lanczos, channel groups apart: 8-bit [H, W, 3 or 4]."""
    size = (2 * pixels.shape[1], 2 * pixels.shape[0])
    colours = Image.fromarray(pixels[:, :, :3]).resize(size, Image.Resampling.LANCZOS)
    if pixels.shape[2] == 3:
        return np.asarray(colours)
    alpha = Image.fromarray(pixels[:, :, 3]).resize(size, Image.Resampling.LANCZOS)
    return np.dstack([np.asarray(colours), np.asarray(alpha)])


def test_text_to_video_to_saved_video(comfy: ComfyUI) -> None:
    run = comfy.run(
        {
            "make": text2video("a rabbit on a hill", width=96, height=64, length=9, fps=12),
            "save": save_video(["make", 1]),
            "show": show(["make", 2]),
        }
    ).ok()
    (file,) = run.files("save")
    assert frames_of(file) == (9, (96, 64), 12.0)
    assert run.output("show")["values"] == [12.0]
    assert any(text.startswith(("queued 0:0", "running 0:0")) for text in run.texts("make"))
