"""GIF, by the GIF89a standard and as browsers show it; Pillow unpacks the pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from .container_parts import Part, color_table_bytes, gif_blocks, read_at
from .frames import Disposal, Integers, Placement, compose
from .limits import Limits, fail, library_errors

_DISPOSALS: dict[int, Disposal] = {2: "background", 3: "previous", 4: "previous"}
"""By number; 4 is a misreading of the standard ("the third bit") that browsers follow as well."""


@dataclass(frozen=True)
class GifFrame:
    """A picture of a GIF: where it lies, its seconds, and how to unpack it.

    ``transparent`` is the number of a color, or None. Its data are the bytes from ``start`` to ``end``.
    """

    placement: Placement
    seconds: float
    table: bytes
    transparent: int | None
    interlaced: bool
    start: int
    end: int


@dataclass
class GifParts:
    """What a GIF's blocks contain. ``remark`` is set where the file has more after its last readable block."""

    width: int
    height: int
    table: bytes
    frames: list[GifFrame] = field(default_factory=list)
    remark: str | None = None


def read_parts(path: Path, file: BinaryIO, limits: Limits) -> GifParts:
    """Read the blocks of a GIF, but not its pixels.

    The canvas grows to hold the first picture, as in browsers. Where bytes follow that are no block, the file ends
    there, by the standard and in browsers. Raises DecodeError when it ends before the first picture, and
    MediaTooLargeError.
    """
    size = file.seek(0, os.SEEK_END)
    screen = read_at(file, 0, 13)
    parts = GifParts(_short(screen, 6), _short(screen, 8), read_at(file, 13, color_table_bytes(screen[10])))
    control = bytes(4)
    name, end = b"", 0
    for block in gif_blocks(file, size):
        name, end = block.name, block.end
        if name == b"!\xf9":
            control = read_at(file, block.start + 1, 4).ljust(4, b"\0")
        elif name == b",":
            parts.frames.append(_frame(file, block, control, parts))
            control = bytes(4)
            limits.check_frames(len(parts.frames), path.name)
            if len(parts.frames) == 1:
                first = parts.frames[0].placement
                parts.width = max(parts.width, first.x + first.width)
                parts.height = max(parts.height, first.y + first.height)
                limits.check_pixels(parts.width, parts.height, path.name)
    if not parts.frames:
        fail(path, "there is no picture in it" + (f" before byte {end:,}, where no block begins" if end < size else ""))
    file.seek(end)
    if name != b";" and any(b"," in piece for piece in iter(lambda: file.read(2**20), b"")):  # Perhaps a picture.
        parts.remark = (
            f"{path.name}: no block begins at byte {end:,} of {size:,}. As in browsers, the animation ends there:"
            f" {len(parts.frames)} frames are read, and what may follow is dropped."
        )
    return parts


def _frame(file: BinaryIO, block: Part, control: bytes, parts: GifParts) -> GifFrame:
    descriptor = read_at(file, block.start, 9)
    x, y, width, height = (_short(descriptor, at) for at in (0, 2, 4, 6))
    if not (width and height):  # Browsers take it for a picture of the whole canvas.
        x, y, width, height = 0, 0, parts.width, parts.height
    flags = descriptor[8]
    table = read_at(file, block.start + 9, color_table_bytes(flags))
    # Over nothing, the first picture may keep the color that it gives to what is transparent.
    placement = Placement(x, y, width, height, bool(parts.frames), _DISPOSALS.get(control[0] >> 2 & 7, "keep"))
    return GifFrame(
        placement,
        seconds=_short(control, 1) / 100,
        table=table or parts.table,
        transparent=control[3] if control[0] & 1 else None,
        interlaced=bool(flags & 0x40),
        start=block.start + 9 + color_table_bytes(flags),
        end=block.end,
    )


def composed(path: Path, file: BinaryIO, parts: GifParts) -> Iterator[Integers]:
    """Yield the canvas ``[H, W, 4]`` after each picture. Raises DecodeError for damaged ones."""

    def decoded() -> Iterator[tuple[Placement, Integers]]:
        for number, frame in enumerate(parts.frames, 1):
            size = (frame.placement.width, frame.placement.height)
            packed = read_at(file, frame.start, frame.end - frame.start)
            code_bits, codes = packed[0], packed[1:]
            with library_errors(path, f"its picture {number} of {len(parts.frames)} is damaged"):
                indices = np.asarray(Image.frombytes("P", size, codes, "gif", code_bits, frame.interlaced, -1))
            yield frame.placement, _colors(frame).take(indices, mode="clip").view(np.uint8).reshape(*indices.shape, 4)

    return compose(parts.width, parts.height, np.uint8, decoded())


def _colors(frame: GifFrame) -> npt.NDArray[np.uint32]:
    """The 256 colors by number, each RGBA in one word.

    What lies beyond the table is transparent, as in browsers. Without any table, the standard lets a decoder choose:
    numbers are grays, as in Pillow.
    """
    colors = np.zeros((256, 4), np.uint8)
    if frame.table:
        count = len(frame.table) // 3
        colors[:count, :3] = np.frombuffer(frame.table, np.uint8).reshape(count, 3)
        colors[:count, 3] = 255
    else:
        colors[:, :3] = np.arange(256)[:, np.newaxis]
        colors[:, 3] = 255
    if frame.transparent is not None:
        colors[frame.transparent, 3] = 0
    words: npt.NDArray[np.uint32] = colors.view(np.uint32)[:, 0]
    return words


def _short(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")
