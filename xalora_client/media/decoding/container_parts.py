"""The parts that files are made of: boxes, chunks and blocks, each with its place and length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MAX_PARTS = 500_000
"""Parts read before a walk ends: a file of many tiny parts must not take for ever."""

_FARTHEST = 2**62
"""Nowhere in any file, and within what ``seek`` takes; lengths of 64 bits lead farther."""


@dataclass(frozen=True)
class Part:
    """A named part of a file: its content begins at byte ``start``; the part ends before byte ``end``.

    ``end`` is past the file's end when the file was cut off.
    """

    name: bytes
    start: int
    end: int


def iso_boxes(file: BinaryIO, start: int, end: int) -> Iterator[Part]:
    """Boxes of the ISO base media family: 32-bit length (1: 64 bits follow; 0: to the end), then 4 letters."""
    at = start
    for _ in range(_MAX_PARTS):
        if at >= end or at > _FARTHEST:
            return
        file.seek(at)
        head = file.read(min(16, end - at))
        if len(head) < 8:
            return
        length, content = int.from_bytes(head[:4], "big"), at + 8
        if length == 1:
            length, content = int.from_bytes(head[8:16], "big"), at + 16
        elif length == 0:
            length = end - at
        if length < content - at:
            return
        yield Part(head[4:8], content, at + length)
        at += length


def riff_chunks(file: BinaryIO) -> Iterator[Part]:
    """The RIFF part as a whole, then the chunks in it: 4 letters, length, data, padded to an even length."""
    head = file.read(8)
    whole = Part(head[:4], 12, 8 + int.from_bytes(head[4:8], "little"))
    yield whole
    at = whole.start
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or at + 8 > whole.end:
            return
        length = int.from_bytes(head[4:8], "little")
        yield Part(head[:4], at + 8, at + 8 + length)
        at += 8 + length + (length & 1)


def webp_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height of a WebP's canvas as its first chunk says; (0, 0) where it does not."""
    head = file.read(30).ljust(30, b"\0")
    name = head[12:16]
    if name == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if name == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return 0, 0


def png_chunks(file: BinaryIO) -> Iterator[Part]:
    """Chunks of a PNG: length, 4 letters, data, checksum. The checksum counts as the part's."""
    at = 8
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        end = at + 12 + int.from_bytes(head[:4], "big")
        yield Part(head[4:8], at + 8, end)
        at = end


def gif_blocks(file: BinaryIO, size: int) -> Iterator[Part]:
    """Blocks of a GIF: extensions (named by ``!`` and their label), pictures (``,``) and the trailer (``;``)."""
    header = file.read(13)
    if len(header) < 13:
        yield Part(b"GIF", 0, 13)
        return
    at = 13 + _color_table(header[10])
    yield Part(b"GIF", 0, at)
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(10)
        if head[:1] == b"!":
            name, data = head[:2], at + 2
        elif head[:1] == b"," and len(head) == 10:
            name, data = b",", at + 11 + _color_table(head[9])
        else:
            if head[:1] in (b",", b";"):
                yield Part(head[:1], at + 1, at + (1 if head[:1] == b";" else 11))
            return
        end = _sub_blocks_end(file, data, size)
        yield Part(name, at + len(name), end)
        at = end


def _sub_blocks_end(file: BinaryIO, at: int, size: int) -> int:
    """Where a GIF's chain of length-prefixed sub-blocks ends; one past the file when it does not."""
    file.seek(at)
    while True:
        length = file.read(1)
        if not length:
            return size + 1
        if length == b"\0":
            return file.tell()
        file.seek(length[0], os.SEEK_CUR)


def _color_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
