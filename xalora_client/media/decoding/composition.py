"""The frames of an animation put over each other, as GIF and PNG have it: each is drawn, shown, and disposed of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .media_info import Integers

Disposal = Literal["keep", "background", "previous"]


@dataclass(frozen=True)
class Placement:
    """Where a frame lies on the canvas, and how.

    * ``x``, ``y``, ``width``, ``height``: its rectangle; what hangs over the canvas's edge is not drawn.
    * ``over``: it is blended with what is there; otherwise it replaces that, its transparency included.
    * ``disposal``: what becomes of the rectangle after the frame was shown: it stays, becomes transparent black, or
      becomes again what it was before.
    """

    x: int
    y: int
    width: int
    height: int
    over: bool
    disposal: Disposal


def compose(
    width: int, height: int, dtype: npt.DTypeLike, frames: Iterable[tuple[Placement, Integers]]
) -> Iterator[Integers]:
    """Yield the canvas ``[height, width, 4]`` after each frame ``[h, w, 4]``; it is the same array every time.

    It begins transparent black, so "previous" after the first frame is the same as "background".
    """
    canvas: Integers = np.zeros((height, width, 4), dtype)
    for placement, frame in frames:
        area = canvas[placement.y : placement.y + placement.height, placement.x : placement.x + placement.width]
        before = area.copy() if placement.disposal == "previous" else None
        _draw(frame[: area.shape[0], : area.shape[1]], area, placement.over)
        yield canvas
        if placement.disposal == "background":
            area[:] = 0
        elif before is not None:
            area[:] = before


def _draw(frame: Integers, area: Integers, over: bool) -> None:
    if not over:
        area[:] = frame
        return
    # A pixel is one word: compared and copied as one, not as four values.
    front, back = _words(frame), _words(area)
    full = _words(np.array([[0, 0, 0, np.iinfo(frame.dtype).max]], frame.dtype))[0]
    alpha = front & full
    opaque = alpha == full
    if opaque.all():
        area[:] = frame
        return
    np.copyto(back, front, where=opaque)
    partial = ~opaque & (alpha != 0)
    if partial.any():
        area[partial] = _over(frame[partial], area[partial])


def _words(pixels: Integers) -> npt.NDArray[Any]:
    return pixels.view(np.uint32 if pixels.dtype == np.uint8 else np.uint64)[..., 0]


def _over(front: Integers, back: Integers) -> Integers:
    """Blend 8-bit pixels ``[N, 4]`` that are not premultiplied, by the PNG specification, rounded as FFmpeg does."""
    fronts, backs = front.astype(np.int64), back.astype(np.int64)
    front_alpha, back_alpha = fronts[:, 3:], backs[:, 3:]
    rest = 255 - front_alpha
    alpha = front_alpha + _over_255(rest * back_alpha)
    on_opaque = _over_255(front_alpha * fronts + rest * backs)
    on_other = (255 * front_alpha * fronts + rest * back_alpha * backs) // (255 * alpha)
    blended = np.where(back_alpha == 255, on_opaque, np.minimum(on_other, 255))
    blended[:, 3:] = alpha
    return blended.astype(front.dtype)


def _over_255(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A 255th, rounded to the nearest."""
    return (values + 128) * 257 >> 16
