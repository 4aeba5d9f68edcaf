"""Decoded pixels on their way into the result: integers, colors and alpha apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .frame_array import Orientation
from .limits import library_errors
from .media_info import Integers


@dataclass(frozen=True)
class Pixels:
    """One picture, 8 or 16 bits a channel.

    ``colors`` is ``[H, W, 3]``, not premultiplied; ``alpha`` is ``[H, W]``, or None where there is no transparency.
    """

    colors: Integers
    alpha: Integers | None

    def turned(self, orientation: Orientation) -> Pixels:
        """Return views of the same pixels, turned."""
        return Pixels(orientation.apply(self.colors), None if self.alpha is None else orientation.apply(self.alpha))


def from_image(path: Path, image: Image.Image, *, opaque_alpha: bool = False) -> Pixels:
    """Take a loaded Pillow image of any mode; its colors become 8-bit RGB as Pillow converts them.

    Alpha that is opaque everywhere is left out, unless ``opaque_alpha``. Raises DecodeError where the image cannot be
    converted; ``path`` is the file.
    """
    alpha = None
    with library_errors(path, "its colors cannot be converted"):
        mode = "RGBA" if image.has_transparency_data else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        # Apart they are read and written whole rows at once: several times as fast as every fourth byte.
        if mode == "RGBA":
            alpha = image.getchannel("A")
            if not opaque_alpha and alpha.getextrema()[0] == 255:
                alpha = None
        data = image.tobytes("raw", "RGB")
    colors = np.frombuffer(data, np.uint8).reshape(image.height, image.width, 3)
    return Pixels(colors, None if alpha is None else np.asarray(alpha))


def from_rgba(path: Path, rgba: Integers, *, opaque_alpha: bool = False) -> Pixels:
    """Take an array ``[H, W, 4]``; nothing of it is kept. The rest is as for ``from_image``."""
    height, width = rgba.shape[:2]
    if rgba.dtype == np.uint8:
        whole = np.ascontiguousarray(rgba)
        image = Image.frombuffer("RGBA", (width, height), whole, "raw", "RGBA", 0, 1)
        return from_image(path, image, opaque_alpha=opaque_alpha)
    alpha: Integers = rgba[..., 3].copy()
    opaque = not opaque_alpha and alpha.min() == np.iinfo(rgba.dtype).max
    return Pixels(rgba[..., :3].copy(), None if opaque else alpha)
