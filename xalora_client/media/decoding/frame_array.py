"""Decoded frames in one array, turned as they are to be seen, allocated once and filled frame by frame."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MediaTooLargeError
from .limits import Limits, require_memory
from .media_info import Array, Decoded, Integers


class FrameArray:
    """Float32 frames ``[F, H, W, 3]`` and, once asked for, a mask ``[F, H, W]``.

    Memory is taken page by page as frames are written, so a count that is too high costs nothing, and one that is too
    low is grown in place (the C library moves large blocks by remapping, where the system can). Raises
    MediaTooLargeError when the frames do not fit into free memory or pass ``max_frames``. ``beside`` are the bytes that
    decoding still takes beside the frames.
    """

    def __init__(self, expected: int, width: int, height: int, limits: Limits, subject: str, beside: int = 0) -> None:
        self._limits, self._subject, self._beside = limits, subject, beside
        self.width, self.height = width, height
        self.capacity = max(expected, 1)
        self.mask: Array | None = None
        self._require(self.capacity, 3)
        with self._allocation():
            self.frames: Array = np.empty((self.capacity, height, width, 3), np.float32)

    def add_mask(self) -> None:
        """Begin a mask, 0 (opaque) for all frames written so far."""
        if self.mask is None:
            self._require(self.capacity, 1)
            with self._allocation():
                self.mask = np.zeros((self.capacity, self.height, self.width), np.float32)

    def grow(self) -> None:
        """Make room for more frames. No view into the arrays may be in use."""
        self._limits.check_frames(self.capacity + 1, self._subject)
        target = min(self.capacity + max(self.capacity // 8, 16), self._limits.max_frames)
        self._require(target - self.capacity, 3 if self.mask is None else 4)
        with self._allocation():
            self._resize(target)

    def trimmed(self, count: int, fps: float | None) -> Decoded:
        """Give the first ``count`` frames away, returning what was not used."""
        if count != self.capacity:
            self._resize(count)
        return Decoded(self.frames, self.mask, fps)

    def _resize(self, count: int) -> None:
        self.capacity = count
        self.frames.resize((count, self.height, self.width, 3), refcheck=False)
        if self.mask is not None:
            self.mask.resize((count, self.height, self.width), refcheck=False)

    @contextmanager
    def _allocation(self) -> Iterator[None]:
        """The system may refuse what it said was free, as under a limit for this process."""
        try:
            yield
        except MemoryError as error:
            raise MediaTooLargeError(
                f"{self._subject} needs more memory than the system gives this process ({error})",
                advice="Close other programs, ask for fewer or smaller frames, or raise the limit of the process.",
            ) from error

    def _require(self, frames: int, planes: int) -> None:
        require_memory(frames, self.width, self.height, planes, self._subject, self._beside)


def write_pixels(colors: Integers, alpha: Integers | None, frame: Array, mask: Array | None) -> None:
    """Write integer colors ``[H, W, 3]`` as 0..1 into a frame ``[H, W, 3]``, and 1 - alpha ``[H, W]`` into its mask.

    Every value is exactly the float32 nearest to value / 255 (or / 65535 of 16 bits); without alpha the mask is 0.
    """
    scale = np.float32(np.iinfo(colors.dtype).max)
    np.divide(colors, scale, out=frame, dtype=np.float32)
    if mask is None:
        return
    if alpha is None:
        mask.fill(0)
        return
    np.divide(alpha, scale, out=mask, dtype=np.float32)
    np.subtract(np.float32(1), mask, out=mask)


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
