"""Whether a file is all there, told from the lengths its own parts give. Decoders pass over a missing end silently."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .container_parts import Part, gif_blocks, iso_boxes, png_chunks, riff_chunks
from .formats import Format


def missing_end(path: Path, file_format: Format) -> str | None:
    """Return what is missing at the end of a cut-off file, in words, or None when nothing is seen to be missing.

    None is no proof: a picture may be damaged inside, which only decoding shows. Raises OSError when the file cannot be
    read.
    """
    check = _CHECKS.get(file_format.name)
    if check is None:
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return check(file, size)


def _past_end(part: Part, size: int) -> str | None:
    if part.end <= size:
        return None
    name = part.name.decode("latin-1") if part.name.isalnum() else part.name.hex()
    return f"its part “{name}” goes on to byte {part.end:,}, but the file ends at byte {size:,}"


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
    """Read one to eight bytes: the zero bits before the first 1 say how many more follow."""
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
