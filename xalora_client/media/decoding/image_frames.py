"""Images and animations: looked at, and their frames, composed by Pillow, put into one array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from .formats import APNG, PNG, Format
from .frame_array import FrameArray, write_pixels
from .frame_timing import frame_seconds
from .image_file import PICTURE_ERRORS, first_frame, frame_count, open_picture, orientation, pixels, refuse
from .limits import Limits
from .media_info import Decoded, MediaInfo, Progress


def inspect_picture(path: Path, size: int, file_format: Format, limits: Limits) -> MediaInfo:
    """Decode the first picture of a file and read how many there are. See ``inspect``."""
    with open_picture(path, file_format, limits) as picture:
        try:
            count = frame_count(picture, file_format)
            limits.check_frames(count, path.name)
            picture.seek(first_frame(picture))
            picture.load()
            width, height = orientation(picture).size(*picture.size)
            alpha = picture.has_transparency_data
        except PICTURE_ERRORS as error:
            refuse(path, "its first picture is damaged", error)
    seconds: list[float] = []
    if count > 1:
        seconds = frame_seconds(path, APNG if file_format == PNG else file_format, count)
        count = len(seconds)
    if file_format in (PNG, APNG):
        file_format = APNG if count > 1 else PNG
    duration = sum(seconds) if count > 1 else 0.0
    limits.check_duration(duration, path.name)
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
        has_alpha=alpha,
        codec=file_format.name,
        remuxable=False,
    )


def decode_picture(info: MediaInfo, limits: Limits, progress: Progress | None) -> Decoded:
    """Decode every picture of a file that was inspected. See ``decode``."""
    array = FrameArray(info.frames or 1, info.width, info.height, limits, info.path.name)
    count = 0
    for picture in _pictures(info, limits):
        if picture.shape[2] == 4 and (info.format.name != "gif" or picture[..., 3].min() < 255):
            array.add_mask()
        write_pixels(picture, array.frames[count], None if array.mask is None else array.mask[count])
        count += 1
        if progress is not None:
            progress(count, array.capacity)
    return array.trimmed(count, info.fps)


def _pictures(info: MediaInfo, limits: Limits) -> Iterator[npt.NDArray[Any]]:
    """Yield the pixels of each picture as displayed, ``[H, W, 3 or 4]``; at least one."""
    with open_picture(info.path, info.format, limits) as picture:
        first = first_frame(picture)
        count = 0
        try:
            for number in range(first, first + (info.frames or 1)):
                try:
                    picture.seek(number)
                except EOFError:
                    break
                picture.load()
                turned = orientation(picture).apply(pixels(picture))
                yield turned[: info.height, : info.width]  # Pillow enlarges a GIF whose frame hangs over its edge
                count += 1
        except PICTURE_ERRORS as error:
            refuse(info.path, f"its picture {count + 1} of {info.frames} is damaged", error)
