"""What is known of a media file, what decoding it gives, and the error where it cannot be decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    def describe(self, task_details: object = None, *, frames: int | None = None) -> str:
        """Describe the media in a few words, and where they are not what was asked for, say so.

        Args:
            task_details: What the task sent, as in ``WorkflowTask.task_details`` and
                ``WorkflowTaskResult.task_details``.
            frames: How many frames decoding gave, where that is known.

        Returns:
            For example "848×480 · 73 frames, asked for 37".
        """
        asked = _parameters(task_details)
        words = [f"{self.width}×{self.height}"]
        size = asked.get("width", self.width), asked.get("height", self.height)
        # A named aspect ratio decides in place of width and height.
        if size != (self.width, self.height) and asked.get("aspect_ratio", "custom") == "custom":
            words[0] += f", asked for {size[0]}×{size[1]}"
        count, length = frames or self.frames, asked.get("length")
        if count is not None and (self.kind != "image" or length is not None):
            words.append(f"{count} {'frame' if count == 1 else 'frames'}")
            if length is not None and length != count:
                words[-1] += f", asked for {length}"
        rate = asked.get("fps")
        if self.fps is not None and rate is not None and abs(self.fps - rate) > RATE_TOLERANCE * rate:
            words.append(f"{self.fps:.4g} frames per second, asked for {rate}")
        return " · ".join(words)


RATE_TOLERANCE = 0.02
"""The share by which a rate may differ unsaid: files hold frame times in whole milliseconds or ticks."""


def _parameters(task_details: object) -> dict[str, Any]:
    """The parameters of a task that say what its media should be. Anything else in them is left out."""
    parameters = task_details.get("parameters") if isinstance(task_details, Mapping) else None
    named = parameters if isinstance(parameters, Mapping) else {}
    whole = {
        name: named[name]
        for name in ("width", "height", "length", "fps")
        if isinstance(named.get(name), int) and not isinstance(named[name], bool) and 0 < named[name] < 10**6
    }
    ratio = named.get("aspect_ratio")
    return whole | ({"aspect_ratio": ratio} if isinstance(ratio, str) else {})


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
