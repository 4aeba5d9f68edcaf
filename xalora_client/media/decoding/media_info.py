"""What is known of a media file, what decoding it gives, and the error where it cannot be decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ...errors import DecodeError
from .formats import Format, Kind

Array = npt.NDArray[np.float32]
Integers = npt.NDArray[np.uint8 | np.uint16]

Progress = Callable[[int, int], None]
"""Called with the frames decoded so far and the number expected. What it raises ends the decoding."""


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """A media file as its headers and its first frame show it.

    * ``path``, ``size``: the file and its bytes.
    * ``format``: what the content is.
    * ``kind``: "image" one picture without sound, "animation" a sequence of pictures in an image format, "video".
    * ``width``, ``height``: pixels as displayed, after rotation.
    * ``frames``: how many a decoder is expected to return, or None when only decoding tells.
    * ``fps``: frames per second over the whole duration (so also right where frames last unequally long), or None for
      an image.
    * ``duration``: seconds from the first frame's beginning to the last one's end; 0.0 for an image.
    * ``has_audio``: a video with sound.
    * ``has_alpha``: the first frame has transparency: an alpha channel or a transparent color; of an animation, a pixel
      that is transparent.
    * ``codec``: the picture's codec as FFmpeg names it ("h264"), or the format's name for images and animations.
    * ``remuxable``: ComfyUI can save the file as it is, packet by packet, without encoding again. Where it is False, a
      VIDEO must be built from frames and rate.
    """

    path: Path
    size: int
    format: Format
    kind: Kind
    width: int
    height: int
    frames: int | None
    fps: float | None
    duration: float
    has_audio: bool
    has_alpha: bool
    codec: str
    remuxable: bool


@dataclass(frozen=True)
class Decoded:
    """Decoded media.

    * ``frames``: float32 ``[F, H, W, 3]``, red green blue, 0..1, as displayed (rotated), never premultiplied.
    * ``mask``: float32 ``[F, H, W]``, 0..1, or None for media without transparency and for an
      animation without a transparent pixel. It is ``1 - alpha``, as ComfyUI's
      own LoadImage gives it: 0 opaque, 1 wholly transparent.
    * ``fps``: frames per second, or None for a single image.
    """

    frames: Array
    mask: Array | None
    fps: float | None


KEPT = "The file is kept for inspection at {path}; fetching the task again is not charged again."


def fail(path: Path, what: str, advice: str = "", *, cause: BaseException | None = None) -> NoReturn:
    """Raise the DecodeError for a file: what is wrong with it, where it is kept, and what to do."""
    text = " ".join(part for part in (advice, KEPT.format(path=path)) if part)
    raise DecodeError(f"{path.name} cannot be read: {what}", advice=text, path=path) from cause


def reason(error: BaseException) -> str:
    """A library's error in a few words on one line."""
    args: tuple[Any, ...] = error.args
    text = getattr(error, "strerror", None) or (args[0] if args and isinstance(args[0], str) else "")
    return " ".join(str(text).split())[:200] or type(error).__name__
