"""Decoded frames in one array, allocated once and filled frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ...errors import MediaTooLargeError
from .limits import Limits
from .media_info import Array, Decoded
from .memory import require_memory
from .pixels import Integers


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
