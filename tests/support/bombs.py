"""Small files that claim to be pictures of many pixels."""

from __future__ import annotations

import struct
import zlib


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width, height):
    return chunk(b"IHDR", struct.pack(">II5B", width, height, 8, 2, 0, 0, 0))


def png_of(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def apng(side, frames, announced=None):
    control = chunk(b"acTL", struct.pack(">II", announced or frames, 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 10, 0, 0)) + chunk(b"fdAT", bytes(9))
    return png_of(png_header(side, side), control, frame * frames)


def gif(screen, *frames, between=b"", after=b""):
    """Frames are (x, y, width, height), each with a pixel of data."""
    blocks = (b"," + struct.pack("<4HB", *frame, 0) + b"\x02\x02\x4c\x01\x00" + between for frame in frames)
    return b"GIF89a" + struct.pack("<2H3B", *screen, 0, 0, 0) + b"".join(blocks) + b";" + after


def jpeg(width, height, begin=b"", end=b"", length=17):
    header = b"\xff\xc2" + struct.pack(">HBHHB", length, 8, height, width, 3) + bytes(length - 8)
    return b"\xff\xd8" + begin + header + b"\xff\xda\0\x02\xff\xd9" + end


def webp(width, height, *chunks):
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


LOSSY = b"VP8 " + struct.pack("<I", 20) + b"\x10\0\0\x9d\x01\x2a" + struct.pack("<2H", 16383, 16383) + bytes(10)
LOSSLESS = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + (16382 | 16382 << 14).to_bytes(4, "little") + bytes(5)
FRAME = b"ANMF" + struct.pack("<I", 16) + bytes(16)
BOMBS = {
    "png": png_of(png_header(13000, 13000)),
    "png, the second header": png_of(png_header(1, 1), png_header(13000, 13000)),
    "png, after a small one": png_of(png_header(1, 1)) + png_of(png_header(13000, 13000)),
    "png, a strip": png_of(png_header(1, 60_000_000)),
    "png, beyond a long text": png_of(chunk(b"tEXt", bytes(3 * 2**20 - 70)), png_header(60_000, 60_000)),
    "many png": png_of(png_header(8000, 8000)) * 5,
    "apng": apng(4000, 2500),
    "apng that announces one frame": apng(4000, 2500, 1),
    "apng of tiny frames": apng(1, 20_000),
    "jpeg": jpeg(13000, 13000),
    "jpeg, the second header": jpeg(8, 8, end=jpeg(13000, 13000)),
    "jpeg, a wrong length": jpeg(13000, 13000, length=18),
    "jpeg of many pictures": jpeg(8000, 8000) * 6,
    "gif": gif((60000, 60000), (0, 0, 1, 1)),
    "gif of many frames": gif((4000, 4000), *[(0, 0, 1, 1)] * 2500),
    "gif whose last frame is large": gif((1, 1), (0, 0, 1, 1), (0, 0, 60000, 60000)),
    "gif whose last frame lies far away": gif((1, 1), (0, 0, 1, 1), (60000, 60000, 1, 1)),
    "gif with something between": gif((4000, 4000), *[(0, 0, 1, 1)] * 2500, between=b"\x01junk"),
    "two gif": gif((1, 1), (0, 0, 1, 1), after=gif((60000, 60000), (0, 0, 1, 1))),
    "gif of tiny frames": gif((1, 1), *[(0, 0, 1, 1)] * 20_000),
    "webp": webp(16384, 16384),
    "webp of many frames": webp(4000, 4000, FRAME * 2500),
    "webp that hides its size": webp(1, 1, LOSSY),
    "lossless webp that hides its size": webp(1, 1, LOSSLESS),
    "two webp": webp(1, 1) + webp(16384, 16384),
}
