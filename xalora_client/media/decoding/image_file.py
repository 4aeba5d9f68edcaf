"""Images and animations: opened and checked, inspected, and their frames put into one array.

GIF and PNG are composed by ``gif_file`` and ``png_file``; the rest Pillow reads by itself.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from PIL import BmpImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from ...errors import MediaTooLargeError
from . import gif_file, png_file
from .container_parts import (
    DEFAULT_FRAME_SECONDS,
    JPEG_PIXEL_SEGMENTS,
    Part,
    frame_seconds,
    iso_boxes,
    jpeg_segments,
    read_at,
    webp_frames,
    webp_size,
)
from .formats import APNG, AVIF, GIF, JPEG, PNG, TIFF, WEBP, Format, MediaInfo
from .frames import UPRIGHT, Decoded, FrameArray, Orientation, Pixels, Progress, Write, from_image, from_rgba
from .limits import Limits, fail, library_errors, require_decoder_memory

_OPENERS: dict[str, Any] = {
    "webp": WebPImagePlugin.WebPImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
try:
    from PIL import AvifImagePlugin
except ImportError:  # Pillow before 11.3
    pass
else:
    _OPENERS["avif"] = AvifImagePlugin.AvifImageFile

logger = logging.getLogger("xalora_client")

_DECODER_BYTES = {"jpeg": 16, "png": 24, "apng": 36, "gif": 28, "webp": 30, "avif": 34, "bmp": 16, "tiff": 32}
"""What decoding takes beside the result, in bytes for each pixel of the canvas, by measurement: canvases and planes of
the decoder's own, and one or two pictures that are not written yet."""

_EXIF_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
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

    There is at least one. A single picture is an image, whose time means nothing. ``size`` are width and height as
    displayed, as far as they are known before the pixels. ``remark`` is what the user should know of the file.

    Reading ``pixels`` raises MediaTooLargeError where decoding does not fit into free memory.
    """

    size: tuple[int, int]
    seconds: Sequence[float]
    pixels: Iterator[Pixels]
    remark: str | None = None


def inspect_picture(path: Path, size: int, file_format: Format, limits: Limits) -> MediaInfo:
    """Decode the first picture of a file and read how many there are. See ``inspect``.

    What does not fit into memory, or has no decoder, is described without decoding it: the file may be used elsewhere.
    """
    first: Pixels | None = None
    width, height = 0, 0
    seconds: Sequence[float] = [0.0]
    remark: str | None = None
    if is_decoded(file_format):
        with open_pictures(path, file_format, limits) as pictures:
            (width, height), seconds, remark = pictures.size, pictures.seconds, pictures.remark
            try:
                first = next(pictures.pixels)
            except MediaTooLargeError as error:
                logger.warning("The result was not checked: %s", error.what)
    if first is not None:
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
        has_alpha=first is not None and first.alpha is not None,
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

    Only what the pixels need is given to Pillow, which refuses files for their metadata. Its guess at the format and
    its process-wide pixel limit are bypassed. Raises DecodeError, and MediaTooLargeError.
    """
    with path.open("rb") as file:
        remark = None
        pixels: Iterator[Pixels]
        if file_format in (PNG, APNG):
            png = png_file.read_parts(path, file, limits)
            orientation = next(filter(UPRIGHT.__ne__, map(_orientation, png_file.metadata(file, png))), UPRIGHT)
            size = orientation.size(png.width, png.height)
            seconds = [frame.seconds or DEFAULT_FRAME_SECONDS for frame in png.frames] or [0.0]
            if png.frames:
                file_format = APNG
                canvases = png_file.composed(path, file, png)
                pixels = (from_rgba(path, canvas).turned(orientation) for canvas in canvases)
            else:
                pixels = _png(path, file, png, orientation)
        elif file_format == GIF:
            gif = gif_file.read_parts(path, file, limits)
            size, remark = (gif.width, gif.height), gif.remark
            seconds = [frame.seconds or DEFAULT_FRAME_SECONDS for frame in gif.frames]
            pixels = (from_rgba(path, canvas) for canvas in gif_file.composed(path, file, gif))
        elif file_format == WEBP:  # Its decoder allocates the canvas when it opens the file.
            size, count = webp_size(file), webp_frames(file)
            limits.check_frames(count, path.name)
            seconds = frame_seconds(path, file_format, count) if count > 1 else [0.0]
            pixels = _webp(path, file, len(seconds))
        elif is_decoded(file_format):
            metadata: dict[str, bytes] = {}
            picture = _opened(path, file_format, _without_metadata(file, file_format, metadata))
            # A JPEG of several pictures (MPO) shows the first.
            count = int(getattr(picture, "n_frames", 1)) if file_format.kind == "animation" else 1
            limits.check_frames(count, path.name)
            seconds = frame_seconds(path, file_format, count) if count > 1 else [0.0]
            # Pillow turns TIFFs by itself.
            orientation = UPRIGHT if file_format == TIFF else _orientation(picture.info | metadata)
            size = orientation.size(*picture.size)
            pixels = _pillow(path, picture, len(seconds), orientation)
        else:
            name = file_format.name.upper()
            fail(path, f"{name} pictures are not decoded here", f"Open it with a program that reads {name}.")
        limits.check_pixels(*size, path.name)
        yield _Pictures(size, seconds, _if_it_fits(path, file_format, size, pixels), remark)


def is_decoded(file_format: Format) -> bool:
    """Whether pictures of this format can be decoded."""
    return file_format in (PNG, APNG, GIF) or file_format.name in _OPENERS


def _if_it_fits(path: Path, file_format: Format, size: tuple[int, int], pixels: Iterator[Pixels]) -> Iterator[Pixels]:
    """The same pixels. Before the first, raises MediaTooLargeError where decoding does not fit into free memory."""
    require_decoder_memory(*size, _DECODER_BYTES[file_format.name], path.name)
    yield from pixels


def _opened(path: Path, file_format: Format, file: BinaryIO) -> ImageFile.ImageFile:
    with library_errors(path, f"Pillow does not open it as {file_format.name}"):
        picture: ImageFile.ImageFile = _OPENERS[file_format.name](file, str(path))
    return picture


def _without_metadata(file: BinaryIO, file_format: Format, metadata: dict[str, bytes]) -> BinaryIO:
    """A file for Pillow without the metadata for which it may refuse it; what shows the orientation is stored."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file_format == JPEG:
        kept, end = [b"\xff\xd8"], 2
        for segment in jpeg_segments(file):
            content, end = read_at(file, segment.start, segment.end - segment.start), segment.end
            for name, signature in (("exif", b"Exif\0\0"), ("xmp", b"http://ns.adobe.com/xap/1.0/\0")):
                if content[4:].startswith(signature):
                    metadata[name] = metadata.get(name, b"") + content[4 + len(signature) :]
            if segment.name in JPEG_PIXEL_SEGMENTS:
                kept.append(content)
        return io.BytesIO(b"".join([*kept, read_at(file, end, size - end)]))
    if file_format == AVIF:  # By its specification, EXIF does not turn the picture.
        meta = next((box for box in iso_boxes(file, 0, size) if box.name == b"meta"), Part(b"", 0, 0))
        content = read_at(file, 0, size)
        boxes = content[meta.start : meta.end].replace(b"Exif", b"free")
        return io.BytesIO(content[: meta.start] + boxes + content[meta.end :])
    return file


def _pillow(path: Path, picture: ImageFile.ImageFile, count: int, orientation: Orientation) -> Iterator[Pixels]:
    for number in range(count):
        with library_errors(path, f"its picture {number + 1} of {count} is damaged"):
            try:
                picture.seek(number)
            except EOFError:
                if number == 0:
                    fail(path, "there is no picture in it")
                return
            picture.load()
        yield from_image(path, picture, opaque_alpha=count == 1).turned(orientation)


def _webp(path: Path, file: BinaryIO, count: int) -> Iterator[Pixels]:
    file.seek(0)
    picture = _opened(path, WEBP, file)
    yield from _pillow(path, picture, count, _orientation(picture.info))


def _png(path: Path, file: BinaryIO, parts: png_file.PngParts, orientation: Orientation) -> Iterator[Pixels]:
    whole = png_file.plain_still(file, parts)
    with library_errors(path, "its picture is damaged"):
        picture = PngImagePlugin.PngImageFile(io.BytesIO(whole))
        picture.load()
    if parts.sixteen_bits or parts.color_key is not None:
        pixels = from_rgba(path, png_file.rgba(path, picture, parts, whole), opaque_alpha=parts.color_key is not None)
    else:
        pixels = from_image(path, picture, opaque_alpha=True)
    yield pixels.turned(orientation)


def _orientation(info: Mapping[Any, Any]) -> Orientation:
    """How a picture has to be turned according to its metadata, as Pillow names it. What cannot be read does not turn.

    The EXIF data is a TIFF: a byte order, and where its list of tags begins.
    """
    tiff = info.get("exif", b"").removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    if tiff[:4] in (b"II*\0", b"MM\0*"):
        begin = number(4, 4) + 2
        for entry in range(begin, begin + 12 * number(begin - 2, 2), 12):
            if number(entry, 2) == _EXIF_ORIENTATION:
                return _EXIF.get(number(entry + 8, 2), UPRIGHT)
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    found = _XMP_ORIENTATION.search(xmp.encode() if isinstance(xmp, str) else xmp)
    return _EXIF.get(int(found[1]), UPRIGHT) if found else UPRIGHT
