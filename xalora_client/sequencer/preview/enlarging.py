"""The upscaler: enlarges an image twice with Lanczos."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..fetching import ImageError

MAX_PIXELS = 2**25
"""Of the image before it is enlarged; 8K UHD (7680 x 4320) is just below."""


def upscale(data: bytes, path: Path) -> None:
    """Enlarge an image file twice with Lanczos and write it as a lossless PNG.

    Colors and alpha are resized separately, so colors do not depend on what is transparent. Of an animation the first
    frame is used. Raises ImageError when the bytes are not an image or the image is too large.
    """
    picture = _decode(data)
    size = (2 * picture.width, 2 * picture.height)
    colors = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    if picture.mode == "RGBA":
        colors.putalpha(picture.getchannel("A").resize(size, Image.Resampling.LANCZOS))
    # The fastest level, because the file stays on this machine.
    colors.save(path, "PNG", compress_level=1)


def _decode(data: bytes) -> Image.Image:
    """Return the image upright, as 8-bit RGB or RGBA."""
    try:
        with Image.open(io.BytesIO(data)) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ImageError(f"the image is too large: more than {MAX_PIXELS} pixels")
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):
                # Pillow clips 16-bit values at 255 instead of scaling them.
                picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
            return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"the image is too large: more than {MAX_PIXELS} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image cannot be decoded: {type(error).__name__}") from error
