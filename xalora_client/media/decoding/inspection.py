"""The two questions asked of a media file: what is it, and what are its pixels."""

from __future__ import annotations

import os
from pathlib import Path

from .container_parts import missing_end
from .formats import SNIFF_BYTES, describe, sniff
from .image_frames import decode_picture, inspect_picture
from .limits import Limits
from .media_info import Decoded, MediaInfo, Progress, fail
from .video_file import inspect_video
from .video_frames import decode_video

__all__ = ["DEFAULT_LIMITS", "Decoded", "MediaInfo", "decode", "inspect"]

DEFAULT_LIMITS = Limits()


def inspect(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> MediaInfo:
    """Find out what a media file holds, and that it is whole and can be decoded.

    The format is told by content. Headers are read, for a video also every packet (not decoded), and the first frame is
    decoded, so garbage and cut-off files are found.

    Raises DecodeError when it is no media, is cut off or damaged, or holds no picture (``path`` is the file, which is
    kept); MediaTooLargeError when it passes a limit; OSError when the file cannot be read at all.
    """
    file = Path(path).absolute()
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        head = stream.read(SNIFF_BYTES)
    limits.check_bytes(size, file.name)
    file_format = sniff(head)
    if file_format is None:
        fail(file, f"it is no media: {describe(head)}")
    missing = missing_end(file, file_format)
    if missing is not None:
        fail(file, f"it is cut off: {missing}", "The download may have been interrupted.")
    if file_format.kind == "video":
        return inspect_video(file, size, file_format, limits)
    return inspect_picture(file, size, file_format, limits)


def decode(
    media: str | os.PathLike[str] | MediaInfo, limits: Limits = DEFAULT_LIMITS, *, progress: Progress | None = None
) -> Decoded:
    """Decode all frames of an image, animation or video into one array.

    ``media`` is a file, or what ``inspect`` has said of it, which is not asked again then.

    The frames are float32 ``[F, H, W, 3]`` of 0..1 (see ``Decoded``). They are written once, in place; beside the array
    only a few frames are held at any time. A video's frames are all returned as they are stored, none dropped or
    doubled to even out an uneven rate.

    ``progress(done, expected)`` is called after each frame, in the calling thread; what it raises ends the decoding.

    Raises what ``inspect`` raises, for damage in any frame; MediaTooLargeError also when the frames do not fit into
    free memory.
    """
    info = media if isinstance(media, MediaInfo) else inspect(media, limits)
    if info.kind == "video":
        return decode_video(info, limits, progress)
    return decode_picture(info, limits, progress)
