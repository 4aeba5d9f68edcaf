"""Images and animations, opened by Pillow: how they are shown, and what is transparent in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from ...errors import MediaTooLargeError
from .formats import Format
from .limits import Limits
from .media_info import fail, reason
from .orientation import UPRIGHT, Orientation

try:
    from PIL import AvifImagePlugin
except ImportError:  # Pillow before 11.3
    AvifImagePlugin = None  # type: ignore[assignment]

PICTURE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for a file that is no picture or a damaged one."""

_EXIF_ORIENTATION = 0x0112
_EXIF = {
    2: Orientation(flip_columns=True),
    3: Orientation(flip_rows=True, flip_columns=True),
    4: Orientation(flip_rows=True),
    5: Orientation(transpose=True),
    6: Orientation(transpose=True, flip_columns=True),
    7: Orientation(transpose=True, flip_rows=True, flip_columns=True),
    8: Orientation(transpose=True, flip_rows=True),
}


@contextmanager
def open_picture(path: Path, file_format: Format, limits: Limits) -> Iterator[ImageFile.ImageFile]:
    """Open an image or animation by its sniffed format, checked against ``max_pixels`` before a pixel is decoded.

    Pillow's guess at the format and its own, process-wide pixel limit are passed by. Raises DecodeError, and
    MediaTooLargeError.
    """
    opener = _OPENERS.get(file_format.name)
    if opener is None:
        fail(path, "this Pillow does not read AVIF", "Update the “pillow” package to 11.3 or newer.")
    with path.open("rb") as file:
        try:
            picture = opener(file, str(path))
        except PICTURE_ERRORS as error:
            refuse(path, f"it is no {file_format.name} that Pillow opens", error)
        limits.check_pixels(picture.width, picture.height, path.name)
        yield picture


def refuse(path: Path, what: str, error: BaseException) -> NoReturn:
    """Raise the error for what Pillow raised: DecodeError, or MediaTooLargeError for pixels past its own limit."""
    if isinstance(error, Image.DecompressionBombError):
        raise MediaTooLargeError(
            f"{path.name} is refused by Pillow: {reason(error)}",
            advice="Raise PIL.Image.MAX_IMAGE_PIXELS if the file is trusted.",
        ) from error
    fail(path, f"{what} ({reason(error)})", cause=error)


def _openers() -> dict[str, Any]:
    found: dict[str, Any] = {
        "gif": GifImagePlugin.GifImageFile,
        "webp": WebPImagePlugin.WebPImageFile,
        "apng": PngImagePlugin.PngImageFile,
        "png": PngImagePlugin.PngImageFile,
        "jpeg": JpegImagePlugin.JpegImageFile,
    }
    if AvifImagePlugin is not None:
        found["avif"] = AvifImagePlugin.AvifImageFile
    return found


_OPENERS = _openers()


def orientation(picture: Image.Image) -> Orientation:
    """Return how a picture has to be turned according to its EXIF data."""
    return _EXIF.get(picture.getexif().get(_EXIF_ORIENTATION, 1), UPRIGHT)


def frame_count(picture: ImageFile.ImageFile, file_format: Format) -> int:
    """How many pictures a file holds, as far as it says; a PNG's fallback outside its animation is not counted."""
    if file_format.kind == "image" and file_format.name != "png":
        return 1
    return max(int(getattr(picture, "n_frames", 1)) - first_frame(picture), 1)


def first_frame(picture: ImageFile.ImageFile) -> int:
    """The number of the first picture of an animation: 1 where picture 0 is only shown by those who cannot animate."""
    return 1 if picture.info.get("default_image") else 0


def pixels(picture: Image.Image) -> npt.NDArray[np.uint8 | np.uint16]:
    """Return the loaded picture as ``[H, W, 3]``, or ``[H, W, 4]`` where it has transparency, not premultiplied.

    8 bits a channel as Pillow converts them; 16-bit grayscale keeps its 16 bits.
    """
    if picture.mode.startswith("I;16"):
        gray = np.asarray(picture).astype(np.uint16)
        return np.repeat(gray[..., np.newaxis], 3, axis=2)
    return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
