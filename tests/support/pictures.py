"""Pictures as the bytes of their files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The file of an image, in a format that Pillow can write."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int = 8, height: int = 8, color: tuple[int, ...] = (10, 20, 30)) -> bytes:
    """A picture of one color; four values make it transparent."""
    return encoded(Image.new("RGBA" if len(color) == 4 else "RGB", (width, height), color))


def unmarked(picture: Any) -> np.ndarray:
    """The lower half of a picture or of ``[H, W, C]``. The sandbox marks the upper one."""
    pixels = np.asarray(picture)
    return pixels[len(pixels) // 2 :]


def noise(seed: int = 0, side: int = 256) -> bytes:
    """A square PNG of random pixels, stored as they are: of the same length whatever the seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return encoded(Image.fromarray(pixels), compress_level=0)
