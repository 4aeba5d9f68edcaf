"""Images and animations: looked at, and their frames put into one array."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from PIL import ImageFile, PngImagePlugin

from . import gif_file, png_file
from .formats import APNG, GIF, PNG, Format
from .frame_array import UPRIGHT, FrameArray, write_pixels
from .frame_timing import DEFAULT_FRAME_SECONDS, frame_seconds
from .image_file import DECODER_BYTES, open_picture, picture_orientation
from .limits import Limits, library_errors, require_decoder_memory
from .media_info import Decoded, MediaInfo, Progress, fail
from .pixels import Pixels, from_image, from_rgba

logger = logging.getLogger("xalora_client")


@dataclass(frozen=True)
class _Pictures:
    """The pictures of a file: how long each is shown, in seconds, and their pixels as displayed, read one by one.

    One picture alone is an image, whose time says nothing. ``remark`` is what the user should know of the file.
    """

    seconds: Sequence[float]
    pixels: Iterator[Pixels]
    remark: str | None = None


def inspect_picture(path: Path, size: int, file_format: Format, limits: Limits) -> MediaInfo:
    """Decode the first picture of a file and read how many there are. See ``inspect``."""
    with open_pictures(path, file_format, limits) as pictures:
        first = next(pictures.pixels, None)
        if first is None:
            fail(path, "there is no picture in it")
        seconds, remark = pictures.seconds, pictures.remark
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
    beside = info.width * info.height * DECODER_BYTES[info.format.name]
    array = FrameArray(info.frames or 1, info.width, info.height, limits, info.path.name, beside)
    count = 0
    writing: Future[None] | None = None
    # The last picture is written while the next one is decoded.
    with (
        open_pictures(info.path, info.format, limits) as pictures,
        ThreadPoolExecutor(1, thread_name_prefix="xalora-decode") as pool,
    ):
        for picture in islice(pictures.pixels, info.frames):
            if writing is not None:
                writing.result()
            if picture.alpha is not None:
                array.add_mask()
            mask = None if array.mask is None else array.mask[count]
            writing = pool.submit(write_pixels, picture.colors, picture.alpha, array.frames[count], mask)
            count += 1
            if progress is not None:
                progress(count, array.capacity)
        if writing is not None:
            writing.result()
    return array.trimmed(count, info.fps)


@contextmanager
def open_pictures(path: Path, file_format: Format, limits: Limits) -> Iterator[_Pictures]:
    """Open an image or animation, checked against the limits before a pixel is decoded."""
    if file_format in (PNG, APNG):
        with path.open("rb") as file:
            png = png_file.read_parts(path, file, limits)
            if png.frames:
                require_decoder_memory(png.width, png.height, DECODER_BYTES["apng"], path.name)
                yield _apng(path, file, png)
                return
        with open_picture(path, PNG, limits) as picture:
            yield _Pictures([0.0], _png(path, picture, png))
    elif file_format == GIF:
        with path.open("rb") as file:
            gif = gif_file.read_parts(path, file, limits)
            require_decoder_memory(gif.width, gif.height, DECODER_BYTES["gif"], path.name)
            seconds = [each.seconds or DEFAULT_FRAME_SECONDS for each in gif.frames]
            yield _Pictures(seconds, _gif(path, file, gif), gif.remark)
    else:
        with open_picture(path, file_format, limits) as picture:
            # A JPEG of several pictures (MPO) shows the first.
            count = int(getattr(picture, "n_frames", 1)) if file_format.kind == "animation" else 1
            limits.check_frames(count, path.name)
            seconds = frame_seconds(path, file_format, count) if count > 1 else [0.0]
            yield _Pictures(seconds, _pillow(path, picture, len(seconds)))


def _pillow(path: Path, picture: ImageFile.ImageFile, count: int) -> Iterator[Pixels]:
    for number in range(count):
        with library_errors(path, f"its picture {number + 1} of {count} is damaged"):
            try:
                picture.seek(number)
            except EOFError:
                return
            picture.load()
        pixels = from_image(path, picture, opaque_alpha=count == 1)
        yield pixels.turned(picture_orientation(path, picture))


def _gif(path: Path, file: BinaryIO, parts: gif_file.GifParts) -> Iterator[Pixels]:
    for canvas in gif_file.composed(path, file, parts):
        yield from_rgba(path, canvas)


def _png(path: Path, picture: ImageFile.ImageFile, parts: png_file.PngParts) -> Iterator[Pixels]:
    with library_errors(path, "its picture is damaged"):
        picture.load()
    if parts.sixteen_bits or parts.color_key is not None:
        pixels = from_rgba(path, png_file.rgba(path, picture, parts), opaque_alpha=parts.color_key is not None)
    else:
        pixels = from_image(path, picture, opaque_alpha=True)
    yield pixels.turned(picture_orientation(path, picture))


def _apng(path: Path, file: BinaryIO, parts: png_file.PngParts) -> _Pictures:
    turn = UPRIGHT
    if parts.metadata:
        with library_errors(path, "what it says of its orientation is damaged"):
            alone = PngImagePlugin.PngImageFile(io.BytesIO(png_file.metadata_picture(path, file, parts)))
            alone.load()
        turn = picture_orientation(path, alone)
    seconds = [each.seconds or DEFAULT_FRAME_SECONDS for each in parts.frames]
    composed = png_file.composed(path, file, parts)
    return _Pictures(seconds, (from_rgba(path, each).turned(turn) for each in composed))
