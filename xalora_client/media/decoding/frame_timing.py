"""How long the frames of a WebP or AVIF are shown, read from the file's parts without decoding a frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from .container_parts import Part, iso_boxes, riff_chunks
from .formats import Format

DEFAULT_FRAME_SECONDS = 0.1
"""How long a frame is shown that says 0 or nothing: browsers and FFmpeg take a tenth of a second."""


def frame_seconds(path: Path, file_format: Format, told: int) -> list[float]:
    """Return how long each frame of an animation is shown, in seconds; each over 0.

    They are as many as the file's parts hold, at most the ``told`` number of frames, and that many when the parts say
    nothing. Raises OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        # No more than that: a few bytes of damage can claim milliards.
        read = islice(_READERS[file_format.name](file, size), told)
        found = [each or DEFAULT_FRAME_SECONDS for each in read]
    return found or [DEFAULT_FRAME_SECONDS] * told


def _webp(file: BinaryIO, _size: int) -> Iterator[float]:
    """Milliseconds, 24 bits, in each frame's ``ANMF``."""
    for chunk in riff_chunks(file):
        if chunk.name == b"ANMF":
            yield int.from_bytes(_read(file, chunk.start + 12, 3), "little") / 1000


def _avif(file: BinaryIO, size: int) -> Iterator[float]:
    """The sample table's runs of equal durations (``stts``), in units of the media header's (``mdhd``)."""
    media = _inside(file, iso_boxes(file, 0, size), b"moov", b"trak", b"mdia")
    units = 0
    for box in media:
        if box.name == b"mdhd":
            raw = _read(file, box.start, 24)
            units = int.from_bytes(raw[20:24] if raw[:1] == b"\1" else raw[12:16], "big")
        for table in _inside(file, [box], b"minf", b"stbl"):
            if table.name == b"stts" and units:
                raw = _read(file, table.start + 8, min(table.end - table.start - 8, 8 * 65536))
                for at in range(0, len(raw) - 7, 8):
                    count, duration = (
                        int.from_bytes(raw[at : at + 4], "big"),
                        int.from_bytes(raw[at + 4 : at + 8], "big"),
                    )
                    yield from [duration / units] * min(count, 65536)


def _inside(file: BinaryIO, boxes: Iterable[Part], *names: bytes) -> list[Part]:
    """The boxes within the first box of each name, one name within the other."""
    for name in names:
        outer = next((box for box in boxes if box.name == name), None)
        if outer is None:
            return []
        boxes = list(iso_boxes(file, outer.start, outer.end))
    return list(boxes)


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(max(length, 0))


_READERS: dict[str, Callable[[BinaryIO, int], Iterator[float]]] = {
    "webp": _webp,
    "avif": _avif,
}
