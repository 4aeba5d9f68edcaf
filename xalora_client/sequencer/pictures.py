"""Which pictures a task may have: by their headers, before anybody decodes them.

A small file may hold a picture that takes a ComfyUI all its memory. Libraries differ in which header they believe:
Pillow takes the last of two, and FFmpeg takes pictures that follow the first for its frames. So every header in the
file counts, wherever it is.
"""

from __future__ import annotations

import io
import mmap
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from ..media.decoding.container_parts import color_table_bytes, webp_size
from ..media.decoding.formats import APNG, GIF, JPEG, PNG, SNIFF_BYTES, WEBP, Format, describe, sniff

MOST_PIXELS = 64 * 2**20
"""Width times height: 8192 x 8192. A ComfyUI takes about 35 bytes for each pixel while it loads one, so 2.3 GB."""

MOST_PIXELS_IN_ALL = 256 * 2**20
"""The same in all frames, which a ComfyUI loads at once: 129 of 1920 x 1080."""

LONGEST_SIDE = 32_768
MOST_FRAMES = 10_000

_MOST_BLOCKS = 2_000_000
"""Blocks of a GIF that are read: as many as there are in 500 MB, unless they are tiny to take long."""

_GIF_BLOCK = re.compile(b"[!,;]")
_AT_ONCE = 2**20
_LONGEST_HEADER = 32

Data: TypeAlias = "bytes | mmap.mmap"
_Size: TypeAlias = tuple[int, int]


class ImageError(Exception):
    """A task's image cannot be used; the text becomes the task's ``msg``."""


class TooManyPixelsError(ImageError):
    """A picture is larger than allowed."""


def check_picture_file(path: Path) -> str:
    """As ``check_picture``, for a file. Raises OSError as well."""
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # It is empty.
            return check_picture(b"")
        with data:
            return check_picture(data)


def check_picture(data: Data) -> str:
    """The media type of a picture. Blocks for up to a second; call it in a thread.

    Raises ImageError for what is no PNG, JPEG, WebP or GIF, TooManyPixelsError for what is too large.
    """
    head = data[:SNIFF_BYTES]
    found = sniff(head)
    if found is None or found not in _READERS:
        what = describe(head).partition(":")[0] if found is None else f"it is {found.name}"
        raise ImageError(f"the image cannot be decoded: it is no PNG, JPEG, WebP or GIF file; {what}")
    width = height = pictures = frames = 0
    for is_frame, size in _READERS[found](data):
        width, height = max(width, size[0]), max(height, size[1])
        frames += is_frame
        pictures += 0 if is_frame else size[0] * size[1]
        if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
            raise TooManyPixelsError(
                f"the image is too large: it has {width:,} x {height:,} pixels, and the most are {MOST_PIXELS:,}"
                f" and {LONGEST_SIDE:,} on a side"
            )
        if frames > MOST_FRAMES or max(pictures, frames * width * height) > MOST_PIXELS_IN_ALL:
            raise TooManyPixelsError(
                f"the image is too large: it has {frames:,} frames or more of {width:,} x {height:,} pixels, and the"
                f" most are {MOST_PIXELS_IN_ALL:,} pixels in {MOST_FRAMES:,} frames"
            )
    if not width * height:
        raise ImageError("the image cannot be decoded: it has no size")
    return found.mime_type


def _headers(pattern: bytes, size_of: Callable[[bytes], _Size]) -> Callable[[Data], Iterator[tuple[bool, _Size]]]:
    """A reader of a format whose headers have a pattern. ``size_of`` gives their width and height; 0, 0 for a frame."""
    compiled = re.compile(pattern, re.DOTALL)

    def read(data: Data) -> Iterator[tuple[bool, _Size]]:
        for begin in range(0, len(data), _AT_ONCE):  # Nothing else runs during a search.
            for match in compiled.finditer(data, begin, begin + _AT_ONCE + _LONGEST_HEADER):
                if match.start() < begin + _AT_ONCE:
                    size = size_of(match[0])
                    yield size == (0, 0), size

    return read


def _png_size(header: bytes) -> _Size:
    return int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:12], "big")


def _jpeg_size(header: bytes) -> _Size:
    return int.from_bytes(header[7:9], "big"), int.from_bytes(header[5:7], "big")


def _webp_size(header: bytes) -> _Size:
    return webp_size(io.BytesIO(bytes(12) + header))


def _read_gif(data: Data) -> Iterator[tuple[bool, _Size]]:
    """The screen, which grows with the pictures that lie beyond it; then each of them."""
    at, blocks = 0, 0
    while at >= 0:
        yield False, (_short(data, at + 6), _short(data, at + 8))
        at += 13 + color_table_bytes(data[at + 10] if at + 10 < len(data) else 0)
        while at + 10 <= len(data) and data[at] != ord(";"):
            if data[at] == ord(","):
                yield True, (_short(data, at + 1) + _short(data, at + 5), _short(data, at + 3) + _short(data, at + 7))
                at += 11 + color_table_bytes(data[at + 9])
            elif data[at] == ord("!"):
                at += 2
            else:  # Pillow looks for the next block.
                found = _GIF_BLOCK.search(data, at, at + _AT_ONCE)
                at = at + _AT_ONCE if found is None else found.start()
                continue
            while at < len(data) and data[at] and blocks <= _MOST_BLOCKS:
                at += 1 + data[at]
                blocks += 1
            at, blocks = at + 1, blocks + 1
            if blocks > _MOST_BLOCKS:
                raise TooManyPixelsError(f"the image is too large: it has more than {_MOST_BLOCKS:,} blocks")
        at = data.find(b"GIF8", at)


def _short(data: Data, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


_read_png = _headers(rb"IHDR.{8}|fcTL", _png_size)
_READERS: dict[Format, Callable[[Data], Iterator[tuple[bool, _Size]]]] = {
    PNG: _read_png,
    APNG: _read_png,
    JPEG: _headers(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]\0[\x08-\xff][\x02-\x10].{4}[\1-\4]", _jpeg_size),
    WEBP: _headers(rb"VP8X.{14}|VP8L.{4}\x2f.{4}|VP8 .{7}\x9d\x01\x2a.{4}|ANMF", _webp_size),
    GIF: _read_gif,
}
