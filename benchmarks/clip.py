"""A video to measure with, made by PyAV so that nothing else is needed."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def make_clip(path: Path, frames: int, width: int = 1920, height: int = 1080) -> Path:
    """Encode moving waves with a little grain as H.264, 8 bits, 24 frames a second; the same every time.

    At 1920 x 1080 it comes to some six megabits a second, about what generated films have.
    """
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    grain = random.normal(0, 2, (height + 64, width + 64, 1)).astype(np.float32)
    with av.open(path, "w") as output:
        stream = output.add_stream("libx264", rate=24, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            waves = (
                np.sin(columns / 90 + number / 6),
                np.sin(rows / 70 - number / 9),
                np.sin((rows + columns) / 120 + number / 4),
            )
            down, right = random.integers(0, 64, 2)
            colors = 128 + 90 * np.stack(waves, axis=2) + grain[down : down + height, right : right + width]
            picture = av.VideoFrame.from_ndarray(colors.clip(0, 255).astype(np.uint8), format="rgb24")
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    return path
