"""A small picture of a media file, for lists."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from PIL import Image

from .image_frames import open_pictures
from .inspection import DEFAULT_LIMITS, inspect
from .limits import Limits
from .media_info import MediaInfo, fail
from .video_file import decoder, open_video
from .video_frames import ToRgb, decoded_frames

_SIZE = 192


def thumbnail(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Make a small picture of an image, animation or video: its first frame, without transparency.

    Args:
        path: The media file.
        limits: As for ``decode``.

    Returns:
        The bytes of a JPEG of at most 192x192 pixels.

    Raises:
        DecodeError: The file cannot be read as media.
        MediaTooLargeError: The file exceeds a limit.
        OSError: The file cannot be read at all.
    """
    info = inspect(path, limits)
    pixels = _of_video(info, limits) if info.kind == "video" else _of_picture(info, limits)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_SIZE, _SIZE))
    with io.BytesIO() as written:
        picture.save(written, "JPEG", quality=80)
        return written.getvalue()


def _of_picture(info: MediaInfo, limits: Limits) -> Any:
    with open_pictures(info.path, info.format, limits) as pictures:
        first = next(pictures.pixels, None)
    if first is None:
        fail(info.path, "there is no picture in it")
    return first.colors if first.colors.dtype == np.uint8 else (first.colors >> 8).astype(np.uint8)


def _of_video(info: MediaInfo, limits: Limits) -> Any:
    with open_video(info.path, info.format, limits) as (container, stream):
        first = next(decoded_frames(info.path, container, stream, decoder(stream)), None)
        if first is None:
            fail(info.path, "there is a video stream, but no frame comes out of it")
        pixels = np.empty((info.height, info.width, 3), np.float32)
        ToRgb(info.path, first, alpha=False)(first, pixels, None)
    return np.rint(pixels * 255).astype(np.uint8)
