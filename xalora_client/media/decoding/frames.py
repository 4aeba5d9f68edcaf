"""Frames as arrays: pixels turned and composed as they are to be seen, and one array of all frames."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...errors import MediaTooLargeError
from .limits import Limits, library_errors, require_memory

Array = npt.NDArray[np.float32]
Integers = npt.NDArray[np.uint8 | np.uint16]

OnFrame = Callable[[int, int], None]
"""Called with the frames decoded so far and the number expected. What it raises ends the decoding."""

Write = Callable[[Array, Array | None], None]
"""Writes one frame into ``[H, W, 3]``, and its mask, if there is one, into ``[H, W]``."""


@dataclass(frozen=True)
class Decoded:
    """Decoded media.

    * ``frames``: float32 ``[F, H, W, 3]``, red green blue, 0..1, as displayed (rotated), never premultiplied.
    * ``mask``: float32 ``[F, H, W]``, 0..1, or None for media without transparency and for an animation without a
      transparent pixel. It is ``1 - alpha``, as ComfyUI's own LoadImage gives it: 0 opaque, 1 wholly transparent.
    * ``fps``: frames per second, or None for a single image.
    """

    frames: Array
    mask: Array | None
    fps: float | None


class FrameArray:
    """Float32 frames ``[F, H, W, 3]`` and, after ``add_mask``, a mask ``[F, H, W]``.

    The system gives the memory page by page as frames are written, so a count that is too high costs nothing, and one
    that is too low is grown in place (the C library moves large blocks by remapping, where the system can). Raises
    MediaTooLargeError when the frames do not fit into free memory or exceed ``max_frames``. ``beside`` are the bytes
    that decoding takes beside the frames.
    """

    def __init__(self, expected: int, width: int, height: int, limits: Limits, subject: str, beside: int) -> None:
        self._limits, self._subject, self._beside = limits, subject, beside
        self._width, self._height = width, height
        self._capacity = max(expected, 1)
        self._mask: Array | None = None
        with self._allocation(self._capacity, 3):
            self._frames: Array = np.empty((self._capacity, height, width, 3), np.float32)

    def add_mask(self) -> None:
        """Begin a mask, 0 (opaque) for all frames written so far."""
        if self._mask is None:
            with self._allocation(self._capacity, 1):
                self._mask = np.zeros((self._capacity, self._height, self._width), np.float32)

    def fill(
        self, writes: Iterable[Write], fps: float | None, progress: OnFrame | None, *, threads: int, most_pending: int
    ) -> Decoded:
        """Write all frames, at most ``most_pending`` at a time, while ``writes`` decodes the next one. Call it once."""
        pending: deque[Future[None]] = deque()
        count = 0
        with ThreadPoolExecutor(threads, thread_name_prefix="xalora-decode") as pool:
            try:
                for write in writes:
                    _wait_for(pending, most_pending - 1)
                    if count == self._capacity:
                        _wait_for(pending, 0)  # No view into the arrays may be in use while they grow.
                        self._grow()
                    mask = None if self._mask is None else self._mask[count]
                    pending.append(pool.submit(write, self._frames[count], mask))
                    count += 1
                    if progress is not None:
                        progress(count, self._capacity)
                _wait_for(pending, 0)
            finally:
                for future in pending:
                    future.cancel()
        if count != self._capacity:
            self._resize(count)
        return Decoded(self._frames, self._mask, fps)

    def _grow(self) -> None:
        self._limits.check_frames(self._capacity + 1, self._subject)
        target = int(min(self._capacity + max(self._capacity // 8, 16), self._limits.max_frames))
        with self._allocation(target - self._capacity, 3 if self._mask is None else 4):
            self._resize(target)

    def _resize(self, count: int) -> None:
        self._capacity = count
        self._frames.resize((count, self._height, self._width, 3), refcheck=False)
        if self._mask is not None:
            self._mask.resize((count, self._height, self._width), refcheck=False)

    @contextmanager
    def _allocation(self, frames: int, planes: int) -> Iterator[None]:
        """The system may refuse what it reported as free, as under a limit for this process."""
        require_memory(frames, self._width, self._height, planes, self._subject, self._beside)
        try:
            yield
        except MemoryError as error:
            raise MediaTooLargeError(
                f"{self._subject} needs more memory than the system gives this process ({error})",
                advice="Close other programs, ask for fewer or smaller frames, or raise the limit of the process.",
            ) from error


def _wait_for(pending: deque[Future[None]], most_left: int) -> None:
    """Wait for the oldest writes until at most ``most_left`` are pending, and raise what they raised."""
    while len(pending) > most_left:
        pending.popleft().result()


@dataclass(frozen=True)
class Orientation:
    """Turns a stored picture by a multiple of 90 degrees, with or without mirroring.

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


@dataclass(frozen=True)
class Pixels:
    """One picture, 8 or 16 bits a channel.

    ``colors`` is ``[H, W, 3]``, not premultiplied; ``alpha`` is ``[H, W]``, or None where there is no transparency.
    """

    colors: Integers
    alpha: Integers | None

    def turned(self, orientation: Orientation) -> Pixels:
        """Return views of the same pixels, turned."""
        return Pixels(orientation.apply(self.colors), None if self.alpha is None else orientation.apply(self.alpha))

    def write(self, frame: Array, mask: Array | None) -> None:
        """Write the colors as 0..1 into a frame ``[H, W, 3]``, and 1 - alpha into its mask ``[H, W]``.

        Every value is exactly the float32 nearest to value / 255 (or / 65535 of 16 bits); without alpha the mask is 0.
        """
        scale = np.float32(np.iinfo(self.colors.dtype).max)
        np.divide(self.colors, scale, out=frame, dtype=np.float32)
        if mask is None:
            return
        if self.alpha is None:
            mask.fill(0)
            return
        np.divide(self.alpha, scale, out=mask, dtype=np.float32)
        np.subtract(np.float32(1), mask, out=mask)


def from_image(path: Path, image: Image.Image, *, opaque_alpha: bool = False) -> Pixels:
    """Convert a loaded Pillow image of any mode; its colors become 8-bit RGB as Pillow converts them.

    Grayscale of more bits keeps 16 of them: whole numbers are 0..65535, others 0..1.
    Alpha that is opaque everywhere is left out, unless ``opaque_alpha``. Raises DecodeError where the image cannot be
    converted; ``path`` is the file.
    """
    alpha = None
    if image.mode[0] in "IF":
        gray = np.nan_to_num(np.asarray(image, np.float64)) * (65535 if image.mode == "F" else 1)
        levels = np.rint(gray.clip(0, 65535)).astype(np.uint16)
        return Pixels(np.stack((levels, levels, levels), axis=2), None)
    with library_errors(path, "its colors cannot be converted"):
        mode = "RGBA" if image.has_transparency_data else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        # Separately they are read and written whole rows at once: several times as fast as every fourth byte.
        if mode == "RGBA":
            alpha = image.getchannel("A")
            if not opaque_alpha and alpha.getextrema()[0] == 255:
                alpha = None
        data = image.tobytes("raw", "RGB")
    colors = np.frombuffer(data, np.uint8).reshape(image.height, image.width, 3)
    return Pixels(colors, None if alpha is None else np.asarray(alpha))


def from_rgba(path: Path, rgba: Integers, *, opaque_alpha: bool = False) -> Pixels:
    """Convert an array ``[H, W, 4]`` into pixels of their own. The rest is as for ``from_image``."""
    height, width = rgba.shape[:2]
    if rgba.dtype == np.uint8:
        whole = np.ascontiguousarray(rgba)
        image = Image.frombuffer("RGBA", (width, height), whole, "raw", "RGBA", 0, 1)
        return from_image(path, image, opaque_alpha=opaque_alpha)
    alpha: Integers = rgba[..., 3].copy()
    opaque = not opaque_alpha and alpha.min() == np.iinfo(rgba.dtype).max
    return Pixels(rgba[..., :3].copy(), None if opaque else alpha)


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
    """Put the frames of an animation over each other, as GIF and PNG do: drawn, shown, and disposed of.

    Yields the canvas ``[height, width, 4]`` after each frame ``[h, w, 4]``; it is the same array every time. It begins
    transparent black, so "previous" after the first frame is the same as "background".
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
