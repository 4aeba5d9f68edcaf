"""Images and animations, opened by Pillow, and how they have to be turned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from .container_parts import webp_size
from .formats import WEBP, Format
from .library_errors import library_errors
from .limits import Limits
from .media_info import fail
from .orientation import UPRIGHT, Orientation

try:
    from PIL import AvifImagePlugin
except ImportError:  # Pillow before 11.3
    AvifImagePlugin = None  # type: ignore[assignment]

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

    Pillow's guess at the format and, where it can be, its own process-wide pixel limit are passed by. Raises
    DecodeError, and MediaTooLargeError.
    """
    opener = _OPENERS.get(file_format.name)
    if opener is None:
        fail(path, "this Pillow does not read AVIF", "Update the “pillow” package to 11.3 or newer.")
    with path.open("rb") as file:
        if file_format == WEBP:  # Its decoder allocates the canvas at once.
            limits.check_pixels(*webp_size(file), path.name)
            file.seek(0)
        with library_errors(path, f"it is no {file_format.name} that Pillow opens"):
            picture: ImageFile.ImageFile = opener(file, str(path))
        limits.check_pixels(picture.width, picture.height, path.name)
        yield picture


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


def orientation(path: Path, picture: Image.Image) -> Orientation:
    """Return how a loaded picture has to be turned according to its EXIF data."""
    with library_errors(path, "what it says of its orientation is damaged"):
        turn = picture.getexif().get(_EXIF_ORIENTATION, 1)
    return _EXIF.get(turn, UPRIGHT) if isinstance(turn, int) else UPRIGHT
