"""Images and animations: opened and checked, inspected, and their frames put into one array.

GIF and PNG are composed by ``gif_file`` and ``png_file``; the rest Pillow reads by itself.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from . import gif_file, png_file
from .container_parts import DEFAULT_FRAME_SECONDS, frame_seconds, webp_size
from .formats import APNG, GIF, PNG, WEBP, Format, MediaInfo
from .frames import UPRIGHT, Decoded, FrameArray, Orientation, Pixels, Progress, Write, from_image, from_rgba
from .limits import Limits, fail, library_errors, require_decoder_memory

_OPENERS: dict[str, Any] = {
    "webp": WebPImagePlugin.WebPImageFile,
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
}
try:
    from PIL import AvifImagePlugin
except ImportError:  # Pillow before 11.3
    pass
else:
    _OPENERS["avif"] = AvifImagePlugin.AvifImageFile

logger = logging.getLogger("xalora_client")

_DECODER_BYTES = {"jpeg": 16, "png": 20, "apng": 36, "gif": 28, "webp": 30, "avif": 34}
"""What decoding takes beside the result, in bytes for each pixel of the canvas, by measurement: canvases and planes of
the decoder's own, and one or two pictures that are not written yet."""

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


@dataclass(frozen=True)
class _Pictures:
    """The pictures of a file: how long each is shown, in seconds, and their pixels as displayed, read one by one.

    There is at least one. A single picture is an image, whose time means nothing. ``remark`` is what the user should
    know of the file.
    """

    seconds: Sequence[float]
    pixels: Iterator[Pixels]
    remark: str | None = None


def inspect_picture(path: Path, size: int, file_format: Format, limits: Limits) -> MediaInfo:
    """Decode the first picture of a file and read how many there are. See ``inspect``."""
    with open_pictures(path, file_format, limits) as pictures:
        first, seconds, remark = next(pictures.pixels), pictures.seconds, pictures.remark
    height, width = first.colors.shape[:2]
    count = len(seconds)
    limits.check_animation(width, height, count, path.name)
    if file_format in (PNG, APNG):
        file_format = APNG if count > 1 else PNG
    duration = sum(seconds) if count > 1 else 0.0
    limits.check_duration(duration, path.name)
    if remark:
        logger.warning(remark)
    return MediaInfo(
        path=path,
        size=size,
        format=file_format,
        kind="animation" if count > 1 else "image",
        width=width,
        height=height,
        frames=count,
        fps=count / duration if duration else None,
        duration=duration,
        has_audio=False,
        has_alpha=first.alpha is not None,
        codec=file_format.name,
        remuxable=False,
    )


def decode_picture(info: MediaInfo, limits: Limits, progress: Progress | None) -> Decoded:
    """Decode every picture of a file that was inspected. See ``decode``."""
    beside = info.width * info.height * _DECODER_BYTES[info.format.name]
    array = FrameArray(info.frames or 1, info.width, info.height, limits, info.path.name, beside)

    def writes(pictures: _Pictures) -> Iterator[Write]:
        for picture in islice(pictures.pixels, info.frames):
            if picture.alpha is not None:
                array.add_mask()
            yield picture.write

    with open_pictures(info.path, info.format, limits) as pictures:
        return array.fill(writes(pictures), info.fps, progress, threads=1, most_pending=1)


@contextmanager
def open_pictures(path: Path, file_format: Format, limits: Limits) -> Iterator[_Pictures]:
    """Open an image or animation, checked against the limits before a pixel is decoded.

    Raises DecodeError, and MediaTooLargeError.
    """
    if file_format in (PNG, APNG):
        with path.open("rb") as file:
            png = png_file.read_parts(path, file, limits)
            if png.frames:
                require_decoder_memory(png.width, png.height, _DECODER_BYTES["apng"], path.name)
                yield _apng(path, file, png)
                return
        with _open(path, PNG, limits) as picture:
            yield _Pictures([0.0], _png(path, picture, png))
    elif file_format == GIF:
        with path.open("rb") as file:
            gif = gif_file.read_parts(path, file, limits)
            require_decoder_memory(gif.width, gif.height, _DECODER_BYTES["gif"], path.name)
            seconds = [frame.seconds or DEFAULT_FRAME_SECONDS for frame in gif.frames]
            pixels = (from_rgba(path, canvas) for canvas in gif_file.composed(path, file, gif))
            yield _Pictures(seconds, pixels, gif.remark)
    else:
        with _open(path, file_format, limits) as picture:
            # A JPEG of several pictures (MPO) shows the first.
            count = int(getattr(picture, "n_frames", 1)) if file_format.kind == "animation" else 1
            limits.check_frames(count, path.name)
            seconds = frame_seconds(path, file_format, count) if count > 1 else [0.0]
            yield _Pictures(seconds, _pillow(path, picture, len(seconds)))


@contextmanager
def _open(path: Path, file_format: Format, limits: Limits) -> Iterator[ImageFile.ImageFile]:
    """Open a file with Pillow by its detected format.

    ``max_pixels`` is checked, and that what decoding takes fits into free memory. Pillow's guess at the format and,
    where it can be, its own process-wide pixel limit are bypassed.
    """
    opener = _OPENERS.get(file_format.name)
    if opener is None:
        fail(path, "this Pillow does not read AVIF", "Update the “pillow” package to 11.3 or newer.")
    with path.open("rb") as file:
        if file_format == WEBP:  # Its decoder allocates the canvas when it opens the file.
            _check_size(path, file_format, webp_size(file), limits)
            file.seek(0)
        with library_errors(path, f"Pillow does not open it as {file_format.name}"):
            picture: ImageFile.ImageFile = opener(file, str(path))
        _check_size(path, file_format, picture.size, limits)
        yield picture


def _check_size(path: Path, file_format: Format, size: tuple[int, int], limits: Limits) -> None:
    limits.check_pixels(*size, path.name)
    require_decoder_memory(*size, _DECODER_BYTES[file_format.name], path.name)


def _pillow(path: Path, picture: ImageFile.ImageFile, count: int) -> Iterator[Pixels]:
    for number in range(count):
        with library_errors(path, f"its picture {number + 1} of {count} is damaged"):
            try:
                picture.seek(number)
            except EOFError:
                if number == 0:
                    fail(path, "there is no picture in it")
                return
            picture.load()
        pixels = from_image(path, picture, opaque_alpha=count == 1)
        yield pixels.turned(_orientation(path, picture))


def _png(path: Path, picture: ImageFile.ImageFile, parts: png_file.PngParts) -> Iterator[Pixels]:
    with library_errors(path, "its picture is damaged"):
        picture.load()
    if parts.sixteen_bits or parts.color_key is not None:
        pixels = from_rgba(path, png_file.rgba(path, picture, parts), opaque_alpha=parts.color_key is not None)
    else:
        pixels = from_image(path, picture, opaque_alpha=True)
    yield pixels.turned(_orientation(path, picture))


def _apng(path: Path, file: BinaryIO, parts: png_file.PngParts) -> _Pictures:
    orientation = UPRIGHT
    if parts.metadata:
        with library_errors(path, "its orientation is damaged"):
            picture = PngImagePlugin.PngImageFile(io.BytesIO(png_file.metadata_picture(path, file, parts)))
            picture.load()
        orientation = _orientation(path, picture)
    seconds = [frame.seconds or DEFAULT_FRAME_SECONDS for frame in parts.frames]
    canvases = png_file.composed(path, file, parts)
    return _Pictures(seconds, (from_rgba(path, canvas).turned(orientation) for canvas in canvases))


def _orientation(path: Path, picture: Image.Image) -> Orientation:
    """How a loaded picture has to be turned according to its EXIF data."""
    with library_errors(path, "its orientation is damaged"):
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    return _EXIF.get(value, UPRIGHT) if isinstance(value, int) else UPRIGHT
