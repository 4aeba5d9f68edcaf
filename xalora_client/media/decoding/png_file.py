"""PNG, animated or not, by the PNG specification: the parts of the file, its frames, and what is transparent in them.

Pillow decodes the pictures. It gets the transparency of single colors right only for some depths, and does not compose
animations by the specification.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image, PngImagePlugin

from .container_parts import Part, png_chunks, read_at
from .formats import PNG_SIGNATURE
from .frames import Disposal, Integers, Placement, compose
from .limits import Limits, fail, library_errors

_GRAY, _RGB = 0, 2
_DISPOSALS: tuple[Disposal, ...] = ("keep", "background", "previous")
_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that may contain the picture's orientation."""


@dataclass
class AnimationFrame:
    """A frame of an animation: where it lies, its seconds as the file has them, the chunks of its data."""

    placement: Placement
    seconds: float
    data: list[Part] = field(default_factory=list)


@dataclass
class PngParts:
    """What a PNG's chunks contain. ``frames`` is empty for a PNG without animation, ``still`` is its picture's data."""

    width: int = 0
    height: int = 0
    depth: int = 8
    color_type: int = 6
    header: bytes = b""
    palette: bytes | None = None
    transparency: bytes | None = None
    metadata: list[Part] = field(default_factory=list)
    still: list[Part] = field(default_factory=list)
    frames: list[AnimationFrame] = field(default_factory=list)

    @property
    def sixteen_bits(self) -> bool:
        """Whether pixels are returned with 16 bits a channel, as of 16-bit grayscale."""
        return self.color_type == _GRAY and self.depth == 16

    @property
    def color_key(self) -> bytes | None:
        """The one color that is transparent, as the file stores it; None where there is none."""
        return self.transparency if self.color_type in (_GRAY, _RGB) else None


def read_parts(path: Path, file: BinaryIO, limits: Limits) -> PngParts:
    """Read the chunks of a PNG, but not its pixels. Raises DecodeError, and MediaTooLargeError for too many frames.

    An animation may have fewer frames than it announces. What is beside the pixels, and damaged, is left out.
    """
    parts = PngParts()
    announced, numbers = _announced(file), 0
    current: AnimationFrame | None = None
    for chunk in png_chunks(file):
        if chunk.name == b"IHDR" and not parts.header:
            parts.header = content(path, file, chunk)
            if len(parts.header) != 13:
                fail(path, "its header is not 13 bytes long")
            parts.width, parts.height = _number(parts.header, 0), _number(parts.header, 4)
            parts.depth, parts.color_type = parts.header[8], parts.header[9]
            limits.check_pixels(parts.width, parts.height, path.name)
        elif chunk.name == b"PLTE" and parts.palette is None:
            parts.palette = content(path, file, chunk)
        elif chunk.name == b"tRNS":
            parts.transparency = _intact(file, chunk)
        elif chunk.name in _METADATA:
            parts.metadata.append(chunk)
        elif chunk.name == b"IDAT":
            parts.still.append(chunk)
            if current is not None and len(parts.frames) == 1:
                current.data.append(chunk)
        elif chunk.name == b"fcTL" and announced:
            current = None
            if len(parts.frames) == announced:
                continue
            control = content(path, file, chunk)
            numbers = _in_sequence(path, control, numbers)
            current = _frame(path, control, parts)
            parts.frames.append(current)
            limits.check_frames(len(parts.frames), path.name)
        elif chunk.name == b"fdAT" and parts.still and current is not None:
            numbers = _in_sequence(path, content(path, file, chunk), numbers)
            current.data.append(chunk)
        elif chunk.name == b"IEND":
            break
    parts.frames = [frame for frame in parts.frames if frame.data]
    return parts


def _announced(file: BinaryIO) -> int:
    """How many frames the animation may have: the most that is said before the picture, 0 where nothing is."""
    before = takewhile(lambda chunk: chunk.name != b"IDAT", png_chunks(file))
    return max((_number(_intact(file, chunk) or b"", 0) for chunk in before if chunk.name == b"acTL"), default=0)


def content(path: Path, file: BinaryIO, chunk: Part) -> bytes:
    """Return a chunk's data, checked against its checksum. Raises DecodeError."""
    data = _intact(file, chunk)
    if data is None:
        fail(path, f"its part “{chunk.name.decode('latin-1')}” is damaged (its checksum is wrong)")
    return data


def _intact(file: BinaryIO, chunk: Part) -> bytes | None:
    """A chunk's data, or None where its checksum is wrong."""
    named = read_at(file, chunk.start - 4, chunk.end - chunk.start)
    checksum = file.read(4)
    intact = len(named) >= 4 and len(checksum) == 4 and zlib.crc32(named) == int.from_bytes(checksum, "big")
    return named[4:] if intact else None


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _in_sequence(path: Path, data: bytes, expected: int) -> int:
    if _number(data, 0) != expected:
        fail(path, f"part {expected} of its animation is missing or out of order")
    return expected + 1


def _frame(path: Path, control: bytes, parts: PngParts) -> AnimationFrame:
    if len(control) != 26:
        fail(path, "the description of a frame is not 26 bytes long")
    width, height, x, y = (_number(control, at) for at in (4, 8, 12, 16))
    if not (width and height and x + width <= parts.width and y + height <= parts.height and control[24] <= 2):
        fail(path, f"a frame of {width} x {height} at {x}, {y} does not lie within {parts.width} x {parts.height}")
    placement = Placement(x, y, width, height, control[25] == 1, _DISPOSALS[control[24]])
    over = int.from_bytes(control[22:24], "big") or 100
    return AnimationFrame(placement, int.from_bytes(control[20:22], "big") / over)


def composed(path: Path, file: BinaryIO, parts: PngParts) -> Iterator[Integers]:
    """Yield the canvas ``[H, W, 4]`` after each frame of an animation. Raises DecodeError for damaged ones."""

    def decoded() -> Iterator[tuple[Placement, Integers]]:
        for number, frame in enumerate(parts.frames, 1):
            what = f"its picture {number} of {len(parts.frames)} is damaged"
            data = [content(path, file, chunk)[4 if chunk.name == b"fdAT" else 0 :] for chunk in frame.data]
            whole = _plain_png(parts, frame.placement.width, frame.placement.height, b"".join(data))
            with library_errors(path, what):
                picture = PngImagePlugin.PngImageFile(io.BytesIO(whole))
                picture.load()
            yield frame.placement, rgba(path, picture, parts, whole)

    dtype = np.uint16 if parts.sixteen_bits else np.uint8
    return compose(parts.width, parts.height, dtype, decoded())


def plain_still(file: BinaryIO, parts: PngParts) -> bytes:
    """A file of the picture that is no animation, without what Pillow refuses beside the pixels."""
    # Pillow does not heed the checksums of pixels, which have one of their own.
    data = b"".join(read_at(file, chunk.start, chunk.end - 4 - chunk.start) for chunk in parts.still)
    return _plain_png(parts, parts.width, parts.height, data)


def _plain_png(parts: PngParts, width: int, height: int, data: bytes) -> bytes:
    """A file of one frame alone."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + parts.header[8:]
    chunks = [(b"IHDR", header)]
    if parts.palette is not None:
        chunks.append((b"PLTE", parts.palette))
    if parts.transparency is not None:
        chunks.append((b"tRNS", parts.transparency))
    return _png(*chunks, (b"IDAT", data))


def metadata(file: BinaryIO, parts: PngParts) -> Iterator[dict[Any, Any]]:
    """Each intact piece of metadata, as Pillow names it."""
    for chunk in parts.metadata:
        data = _intact(file, chunk)
        if data is None:
            continue
        pixel = zlib.compress(b"\0\0")
        whole = _png((b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"), (chunk.name, data), (b"IDAT", pixel))
        with suppress(Exception):  # It may be anything, and Pillow raises anything.
            info = PngImagePlugin.PngImageFile(io.BytesIO(whole)).info
            profile = info.get("Raw profile type exif")
            yield info if profile is None else {"exif": bytes.fromhex("".join(profile.split("\n")[3:]))}


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A file of these chunks, with their lengths and checksums, and an end."""
    parts = [PNG_SIGNATURE]
    for name, data in [*chunks, (b"IEND", b"")]:
        parts += len(data).to_bytes(4, "big"), name, data, zlib.crc32(data, zlib.crc32(name)).to_bytes(4, "big")
    return b"".join(parts)


def rgba(path: Path, picture: Image.Image, parts: PngParts, whole: bytes) -> Integers:
    """Return a loaded picture of a PNG as ``[H, W, 4]``: 8 bits, or 16 of 16-bit grayscale.

    ``whole`` is the file of that picture alone.
    """
    key = parts.color_key
    if parts.sixteen_bits:
        gray = np.asarray(picture).astype(np.uint16)
        opaque = np.full_like(gray, 65535) if key is None else np.where(gray == _level(key), 0, 65535)
        return np.stack((gray, gray, gray, opaque.astype(np.uint16)), axis=2)
    with library_errors(path, "its colors cannot be converted"):
        if key is None or (parts.color_type == _RGB and parts.depth == 8):
            return np.asarray(picture.convert("RGBA"))
        pixels = np.array(picture.convert("RGB").convert("RGBA"))
    if parts.color_type == _RGB:
        pixels[..., 3] = _deep_alpha(path, whole)
    else:
        levels = (1 << parts.depth) - 1
        pixels[..., 3][pixels[..., 0] == (_level(key) & levels) * 255 // levels] = 0
    return pixels


def _level(key: bytes) -> int:
    return int.from_bytes(key[:2], "big")


def _deep_alpha(path: Path, whole: bytes) -> Integers:
    """What is transparent by one color of 16 bits a channel: Pillow keeps 8 of them, so FFmpeg compares."""
    with library_errors(path, "its transparent color cannot be read"):
        context = av.CodecContext.create("png", "r")
        frame = next(iter([*context.decode(av.Packet(whole)), *context.decode(None)]))
        plane: Any = frame.planes[0]
        deep = np.ndarray((frame.height, frame.width, 4), ">u2", plane, 0, (plane.line_size, 8, 2))
    alpha: Integers = (deep[..., 3] >> 8).astype(np.uint8)
    return alpha
