"""Pixels from the libraries that users have, which are not imported for it: Pillow, numpy, torch and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidParameterError

if TYPE_CHECKING:
    from PIL.Image import Image

_WANTED = "a pathlib.Path, the bytes of a file, a Pillow image, or an array or tensor of pixels"
_SHAPES = "pixels of shape [H, W], [H, W, C] or [1, H, W, C] with 1, 3 or 4 channels"
_PLAIN_MODES = ("1", "L", "LA", "RGB", "RGBA")


def picture_of(source: Any) -> Image:
    """A copy of a Pillow image or of an array, as a Pillow image that PNG can store.

    An array is uint8, or floats of 0..1. Raises InvalidParameterError for everything else.
    """
    if hasattr(source, "getbands"):  # Of Pillow.
        if 0 in source.size:
            raise InvalidParameterError("image", f"a Pillow image of {source.size}", "a picture with pixels")
        picture = plain(source, "the image")
        return source.copy() if picture is source else picture
    if hasattr(source, "is_floating_point"):  # Of torch: on any device, of any kind of float.
        source = source.detach().cpu()
        source = (source.float() if source.is_floating_point() else source).numpy()
    if not hasattr(source, "__array__"):
        raise InvalidParameterError("image", source, _WANTED)
    return _of_array(source)


def plain(picture: Image, name: str) -> Image:
    """The picture with 8 bits a channel, which is all that ComfyUI reads, and without colors beside its pixels.

    Raises InvalidParameterError for one of 32 bits a channel: which of its values is white cannot be told.
    """
    if picture.mode in ("I", "F"):
        raise InvalidParameterError("image", f"{name}, of 32 bits a channel", "a picture of 8 or 16 bits a channel")
    if picture.mode.startswith("I;16"):
        import numpy as np
        from PIL import Image

        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in _PLAIN_MODES and "transparency" not in picture.info:
        return picture
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _of_array(source: Any) -> Image:
    import numpy as np
    from PIL import Image

    pixels = np.asarray(source)
    if pixels.ndim == 4 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    is_shape = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if not is_shape or 0 in pixels.shape:
        raise InvalidParameterError("image", f"an array of shape {list(np.shape(source))}", _SHAPES)
    if pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # Also for NaN.
            raise InvalidParameterError("image", "an array with other values", "floats of 0 to 1, or uint8")
        pixels = np.round(pixels * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise InvalidParameterError("image", f"an array of {pixels.dtype}", "floats of 0 to 1, or uint8")
    return Image.fromarray(np.array(pixels))
