"""The parts that files are made of: boxes, chunks and blocks; and what they show without decoding a frame.

They show whether a file is complete, since decoders silently ignore a missing end, and how long frames last.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from .formats import WEBP, Format

_MAX_PARTS = 500_000
"""The most parts that are read: a file of many tiny parts must not take forever."""

_FARTHEST = 2**62
"""Beyond the end of any file, and within what ``seek`` takes; lengths of 64 bits lead farther."""


@dataclass(frozen=True)
class Part:
    """A named part of a file: its content begins at byte ``start``; the part ends before byte ``end``.

    ``end`` is past the file's end when the file was cut off.
    """

    name: bytes
    start: int
    end: int


def read_at(file: BinaryIO, start: int, length: int) -> bytes:
    """Read ``length`` bytes from byte ``start``; fewer where the file ends."""
    file.seek(start)
    return file.read(max(length, 0))


def iso_boxes(file: BinaryIO, start: int, end: int) -> Iterator[Part]:
    """Boxes of the ISO base media family: 32-bit length (1: 64 bits follow; 0: to the end), then 4 letters."""
    at = start
    for _ in range(_MAX_PARTS):
        if at >= end or at > _FARTHEST:
            return
        head = read_at(file, at, min(16, end - at))
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
    head = read_at(file, 0, 8)
    whole = Part(head[:4], 12, 8 + int.from_bytes(head[4:8], "little"))
    yield whole
    at = whole.start
    for _ in range(_MAX_PARTS):
        head = read_at(file, at, 8)
        if len(head) < 8 or at + 8 > whole.end:
            return
        length = int.from_bytes(head[4:8], "little")
        yield Part(head[:4], at + 8, at + 8 + length)
        at += 8 + length + (length & 1)


def webp_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height of a WebP's canvas from its first chunk; (0, 0) where it has none."""
    head = read_at(file, 0, 30).ljust(30, b"\0")
    name = head[12:16]
    if name == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if name == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return 0, 0


def webp_frames(file: BinaryIO) -> int:
    """How many pictures a WebP has: those of an animation, if it says that it is one."""
    head = read_at(file, 12, 9)
    animated = head[:4] == b"VP8X" and head[8:] and head[8] & 2
    return sum(chunk.name == b"ANMF" for chunk in riff_chunks(file)) if animated else 1


JPEG_PIXEL_SEGMENTS = frozenset(bytes((0xFF, marker)) for marker in [*range(0xC0, 0xE1), 0xEE])
"""The segments of a JPEG that its pixels need: tables and frames, and the application segments JFIF and Adobe."""


def jpeg_segments(file: BinaryIO) -> Iterator[Part]:
    """Segments of a JPEG before its pixels, as a whole: a marker, which names them, length, data."""
    at = 2
    for _ in range(_MAX_PARTS):
        head = read_at(file, at, 4)
        if head[:2] == b"\xff\xff":  # Padding.
            at += 1
            continue
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xD9, 0xDA):
            return
        end = at + 2 + int.from_bytes(head[2:], "big")
        yield Part(head[:2], at, end)
        at = end


def png_chunks(file: BinaryIO) -> Iterator[Part]:
    """Chunks of a PNG: length, 4 letters, data, checksum. The checksum counts as the part's."""
    at = 8
    for _ in range(_MAX_PARTS):
        head = read_at(file, at, 8)
        if len(head) < 8:
            return
        end = at + 12 + int.from_bytes(head[:4], "big")
        yield Part(head[4:8], at + 8, end)
        at = end


def gif_blocks(file: BinaryIO, size: int) -> Iterator[Part]:
    """Blocks of a GIF: extensions (named by ``!`` and their label), pictures (``,``) and the trailer (``;``)."""
    header = read_at(file, 0, 13)
    if len(header) < 13:
        yield Part(b"GIF", 0, 13)
        return
    at = 13 + color_table_bytes(header[10])
    yield Part(b"GIF", 0, at)
    for _ in range(_MAX_PARTS):
        head = read_at(file, at, 10)
        if head[:1] == b"!":
            name, data = head[:2], at + 2
        elif head[:1] == b"," and len(head) == 10:
            name, data = b",", at + 11 + color_table_bytes(head[9])
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


def color_table_bytes(flags: int) -> int:
    """The length of the color table that a GIF's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def missing_end(path: Path, file_format: Format) -> str | None:
    """Return what is missing at the end of a cut-off file, in words, or None when nothing seems to be missing.

    None is no proof: a picture may be damaged inside, which only decoding shows. Raises OSError when the file cannot be
    read.
    """
    with path.open("rb") as file:
        return missing_end_in(file, file_format)


def missing_end_in(file: BinaryIO, file_format: Format) -> str | None:
    """The same for an open file."""
    check = _CHECKS.get(file_format.name)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return None if check is None else check(file, size)


def _past_end(part: Part, size: int) -> str | None:
    if part.end <= size:
        return None
    name = part.name.decode("latin-1") if part.name.isalnum() else part.name.hex()
    return f"its part “{name}” extends to byte {part.end:,}, but the file ends at byte {size:,}"


def _check_iso(file: BinaryIO, size: int) -> str | None:
    seen = set()
    for box in iso_boxes(file, 0, size):
        if cut := _past_end(box, size):
            return cut
        seen.add(box.name)
    return None if seen & {b"moov", b"meta"} else "its index (“moov”) is missing"


def _check_riff(file: BinaryIO, size: int) -> str | None:
    return _past_end(next(riff_chunks(file)), size)


def _check_png(file: BinaryIO, size: int) -> str | None:
    for chunk in png_chunks(file):
        if cut := _past_end(chunk, size):
            return cut
        if chunk.name == b"IEND":
            return None
    return "its last part (“IEND”) is missing"


def _check_gif(file: BinaryIO, size: int) -> str | None:
    """A missing trailer after a whole block is common and harmless."""
    cut = any(block.end > size for block in gif_blocks(file, size))
    return "its last picture is cut off" if cut else None


def _check_ebml(file: BinaryIO, size: int) -> str | None:
    """Matroska: the EBML header, then one Segment, whose length may be left open."""
    header = _element(file)
    if header is None or header[1] is None:
        return None
    file.seek(min(size, file.tell() + header[1]))
    segment = _element(file)
    if segment is None:
        return "it ends before its first part"
    if segment[1] is None:
        return None
    return _past_end(Part(b"Segment", file.tell(), file.tell() + segment[1]), size)


def _element(file: BinaryIO) -> tuple[bytes, int | None] | None:
    """Read an EBML element's id and length; the length is None when it is left open."""
    identity = _variable_bytes(file)
    length = _variable_bytes(file)
    if not identity or not length:
        return None
    bits = 7 * len(length)
    value = int.from_bytes(length, "big") & ((1 << bits) - 1)
    return identity, None if value == (1 << bits) - 1 else value


def _variable_bytes(file: BinaryIO) -> bytes:
    """Read one to eight bytes: the number of zero bits before the first 1 is that of further bytes."""
    first = file.read(1)
    return first + file.read(8 - first[0].bit_length()) if first and first[0] else b""


_CHECKS: dict[str, Callable[[BinaryIO, int], str | None]] = {
    "mp4": _check_iso,
    "mov": _check_iso,
    "avif": _check_iso,
    "webm": _check_ebml,
    "mkv": _check_ebml,
    "webp": _check_riff,
    "png": _check_png,
    "apng": _check_png,
    "gif": _check_gif,
}

DEFAULT_FRAME_SECONDS = 0.1
"""How long a frame is shown whose duration is 0 or missing: browsers and FFmpeg use a tenth of a second."""


def frame_seconds(path: Path, file_format: Format, frames: int) -> list[float]:
    """Return how long each frame of a WebP or AVIF is shown, in seconds; all are over 0.

    They are as many as the file's parts show, at most ``frames``, and that many when the parts show none. Raises
    OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        durations = _webp_seconds(file) if file_format == WEBP else _avif_seconds(file, size)
        # No more than that: a few bytes of damage can claim billions.
        found = [seconds or DEFAULT_FRAME_SECONDS for seconds in islice(durations, frames)]
    return found or [DEFAULT_FRAME_SECONDS] * frames


def _webp_seconds(file: BinaryIO) -> Iterator[float]:
    """Milliseconds, 24 bits, in each frame's ``ANMF``."""
    for chunk in riff_chunks(file):
        if chunk.name == b"ANMF":
            yield int.from_bytes(read_at(file, chunk.start + 12, 3), "little") / 1000


def _avif_seconds(file: BinaryIO, size: int) -> Iterator[float]:
    """The sample table's runs of equal durations (``stts``), in units of the media header's (``mdhd``)."""
    units = 0
    for box in _inside(file, iso_boxes(file, 0, size), b"moov", b"trak", b"mdia"):
        if box.name == b"mdhd":
            header = read_at(file, box.start, 24)
            units = int.from_bytes(header[20:24] if header[:1] == b"\1" else header[12:16], "big")
        for table in _inside(file, [box], b"minf", b"stbl"):
            if table.name == b"stts" and units:
                runs = read_at(file, table.start + 8, min(table.end - table.start - 8, 8 * 65536))
                for count, duration in struct.iter_unpack(">II", runs[: len(runs) // 8 * 8]):
                    yield from [duration / units] * min(count, 65536)


def _inside(file: BinaryIO, boxes: Iterable[Part], *names: bytes) -> list[Part]:
    """The boxes within the first box of each name, one name within the other."""
    for name in names:
        outer = next((box for box in boxes if box.name == name), None)
        if outer is None:
            return []
        boxes = list(iso_boxes(file, outer.start, outer.end))
    return list(boxes)
