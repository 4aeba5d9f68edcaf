"""How a decoded picture has to be turned to be seen as it was meant."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Orientation:
    """Turn a stored picture by a multiple of 90 degrees, with or without mirroring.

    First rows and columns are exchanged (``transpose``), then rows (``flip_rows``) and columns (``flip_columns``)
    reversed.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height as displayed."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a turned view of an array ``[H, W, ...]``; nothing is copied."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        if self.flip_rows:
            picture = picture[::-1]
        if self.flip_columns:
            picture = picture[:, ::-1]
        return picture


UPRIGHT = Orientation()


def from_display_matrix(raw: bytes) -> Orientation:
    """Read FFmpeg's display matrix: nine native 32-bit integers, a stored point (x, y) goes to (ax + cy, bx + dy).

    Turns that are no multiple of 90 degrees are left as stored: there is no exact picture for them.
    """
    if len(raw) < 36:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", raw[:36])
    straight, crossed = abs(a) + abs(d), abs(b) + abs(c)
    if min(straight, crossed) * 50 > max(straight, crossed):
        return UPRIGHT
    if crossed > straight:
        return Orientation(transpose=True, flip_rows=b < 0, flip_columns=c < 0)
    return Orientation(flip_rows=d < 0, flip_columns=a < 0)
