"""What is in a media file: ``inspect`` it, ``decode`` its frames or its sound, or make a ``thumbnail``."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import MediaTooLargeError
from .container_parts import missing_end
from .formats import SNIFF_BYTES, MediaInfo, describe, sniff
from .frames import Decoded, OnFrame
from .image_file import decode_picture, inspect_picture, open_pictures
from .limits import Limits, fail
from .video_decoding import Sound, ToRgb, decode_first_sound, decode_video, decoded_frames
from .video_file import decoder, inspect_video, open_video

DEFAULT_LIMITS = Limits()

_THUMBNAIL_SIZE = 192


def inspect(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> MediaInfo:
    """Find out what a media file contains, and that it is complete and can be decoded.

    The format is detected by content. Headers are read, for a video also every packet (not decoded), and the first
    frame is decoded, so garbage and cut-off files are found. What has no decoder here, or does not fit into free
    memory, is described by its headers alone: it may be saved and read elsewhere.

    Raises DecodeError when it is not media, is cut off or damaged, or contains no picture (``path`` is the file, which
    is kept); MediaTooLargeError when it exceeds a limit of ``limits``; OSError when the file cannot be read at all.
    """
    file = Path(path).absolute()
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        head = stream.read(SNIFF_BYTES)
    limits.check_bytes(size, file.name)
    file_format = sniff(head)
    if file_format is None:
        fail(file, f"it is not a media file: {describe(head)}")
    missing = missing_end(file, file_format)
    if missing is not None:
        fail(file, f"it is cut off: {missing}", "The download may have been interrupted.")
    if file_format.kind == "video":
        return inspect_video(file, size, file_format, limits)
    return inspect_picture(file, size, file_format, limits)


def decode(
    media: str | os.PathLike[str] | MediaInfo, limits: Limits = DEFAULT_LIMITS, *, progress: OnFrame | None = None
) -> Decoded:
    """Decode all frames of an image, animation or video into one array.

    The frames are float32 ``[F, H, W, 3]`` of 0..1 (see ``Decoded``). They are written once, in place; beside the array
    only a few frames are in memory at any time. A video's frames are all returned as they are stored, none dropped or
    doubled to even out an uneven rate.

    Args:
        media: A file, or its ``MediaInfo``, which saves inspecting it again.
        limits: What is allowed.
        progress: ``progress(done, expected)`` is called after each frame, in the calling thread; what it raises ends
            the decoding.

    Returns:
        The frames.

    Raises:
        DecodeError: The file cannot be read as media, a frame is damaged, or the format is not decoded.
        MediaTooLargeError: A limit is exceeded, or the frames do not fit into free memory.
        OSError: The file cannot be read at all.
    """
    info = media if isinstance(media, MediaInfo) else inspect(media, limits)
    with _file_named(info.path):
        if info.kind == "video":
            return decode_video(info, limits, progress)
        return decode_picture(info, limits, progress)


def decode_sound(media: str | os.PathLike[str] | MediaInfo, limits: Limits = DEFAULT_LIMITS) -> Sound | None:
    """Decode the first sound track of a video that has a decoder.

    Args:
        media: A file, or its ``MediaInfo``, which saves inspecting it again.
        limits: What is allowed.

    Returns:
        The sound. None when there is none; images and animations have none.

    Raises:
        DecodeError: The file cannot be read as media, or the sound is damaged.
        MediaTooLargeError: A limit is exceeded, or the sound does not fit into free memory.
        OSError: The file cannot be read at all.
    """
    info = media if isinstance(media, MediaInfo) else inspect(media, limits)
    with _file_named(info.path):
        return decode_first_sound(info, limits)


@contextmanager
def _file_named(path: Path) -> Iterator[None]:
    """What does not fit into memory may be read from the file, so its error says where that is."""
    try:
        yield
    except MediaTooLargeError as error:
        if error.own_advice is None:
            raise
        raise error.derived(path=path, advice=f"{error.own_advice} The file is {path}.") from error


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
    if info.kind == "video":
        with open_video(info.path, info.format, limits) as (container, stream):
            first = next(decoded_frames(info.path, container, stream, decoder(info.path, stream)))
            colors = ToRgb(info.path, first, alpha=False).pixels(first).colors
    else:
        with open_pictures(info.path, info.format, limits) as pictures:
            colors = next(pictures.pixels).colors
    if colors.dtype == np.uint16:
        colors = (colors >> 8).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(colors))
    picture.thumbnail((_THUMBNAIL_SIZE, _THUMBNAIL_SIZE))
    with io.BytesIO() as written:
        picture.save(written, "JPEG", quality=80)
        return written.getvalue()
