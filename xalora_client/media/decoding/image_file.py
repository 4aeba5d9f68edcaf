"""Images and animations that Pillow reads by itself, and how they have to be turned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from .container_parts import webp_size
from .formats import WEBP, Format
from .frame_array import UPRIGHT, Orientation
from .limits import Limits, library_errors, require_decoder_memory
from .media_info import fail

try:
    from PIL import AvifImagePlugin
except ImportError:  # Pillow before 11.3
    AvifImagePlugin = None  # type: ignore[assignment]

DECODER_BYTES = {"jpeg": 16, "png": 20, "apng": 36, "gif": 28, "webp": 30, "avif": 34}
"""What decoding takes beside the result, in bytes for each pixel of the canvas, by measurement: canvases and planes of
the decoder's own, and one or two pictures on their way."""

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
    """Open an image or animation by its sniffed format, checked before a pixel is decoded.

    Checked are ``max_pixels``, and that what decoding takes fits into free memory.

    Pillow's guess at the format and, where it can be, its own process-wide pixel limit are passed by. Raises
    DecodeError, and MediaTooLargeError.
    """
    opener = _OPENERS.get(file_format.name)
    if opener is None:
        fail(path, "this Pillow does not read AVIF", "Update the “pillow” package to 11.3 or newer.")
    with path.open("rb") as file:
        if file_format == WEBP:  # Its decoder takes the canvas when it opens the file.
            _check_size(path, file_format, webp_size(file), limits)
            file.seek(0)
        with library_errors(path, f"it is no {file_format.name} that Pillow opens"):
            picture: ImageFile.ImageFile = opener(file, str(path))
        _check_size(path, file_format, picture.size, limits)
        yield picture


def _check_size(path: Path, file_format: Format, size: tuple[int, int], limits: Limits) -> None:
    limits.check_pixels(*size, path.name)
    require_decoder_memory(*size, DECODER_BYTES[file_format.name], path.name)


def _openers() -> dict[str, Any]:
    found: dict[str, Any] = {
        "webp": WebPImagePlugin.WebPImageFile,
        "png": PngImagePlugin.PngImageFile,
        "jpeg": JpegImagePlugin.JpegImageFile,
    }
    if AvifImagePlugin is not None:
        found["avif"] = AvifImagePlugin.AvifImageFile
    return found


_OPENERS = _openers()


def picture_orientation(path: Path, picture: Image.Image) -> Orientation:
    """Return how a loaded picture has to be turned according to its EXIF data."""
    with library_errors(path, "what it says of its orientation is damaged"):
        turn = picture.getexif().get(_EXIF_ORIENTATION, 1)
    return _EXIF.get(turn, UPRIGHT) if isinstance(turn, int) else UPRIGHT
