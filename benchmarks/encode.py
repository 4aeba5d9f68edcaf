"""Size and time of lossless encoders on images as they come from a graph, side by side with the pack's own.

Run from the repository's root: ``python -m benchmarks.encode [--side 2048] [--rounds 5]``. Encoders that are not
installed are left out; for all of them: ``pip install fpng imagecodecs isal opencv-python-headless zlib-ng``. In each
round every encoder takes its turn, so that a slow minute of the machine slows all alike; each is compared with ours of
the same round. What an encoder writes is decoded again and compared with the pixels.
"""

from __future__ import annotations

import argparse
import io
import statistics
import struct
import time
import zlib
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

Pixels = Any
"""uint8 ``[H, W, 3]``."""

OURS = "Pillow PNG, level 1 (ours)"
LINES = "each upload at 20 Mbit/s", "at 200 Mbit/s", "at 2 Gbit/s"


def pictures(side: int) -> dict[str, Pixels]:
    """Images of three kinds: a clean drawing, something like a photo with its grain, and noise."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[0:side, 0:side] / side
    drawing = np.stack([(x * 255), (y * 255), ((x * 8).astype(int) + (y * 8).astype(int)) % 2 * 200], axis=2)
    # Octaves of smooth noise, as skies, skin and foliage have them, then the grain of a sensor.
    photo = np.zeros((side, side, 3))
    for octave in range(2, 9):
        small = random.integers(0, 256, (2**octave, 2**octave, 3), dtype=np.uint8)
        photo += np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)) / 2.0 ** (octave - 1)
    photo = photo / photo.max() * 255 + random.normal(0, 1.5, photo.shape)
    soft = Image.fromarray(photo.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    noise = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return {"drawing": drawing.astype(np.uint8), "photo": np.asarray(soft), "noise": noise}


def pillow(format_name: str, **options: Any) -> Callable[[Pixels], bytes]:
    """Pillow's encoder with these options."""

    def encode(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=format_name, **options)
        return buffer.getvalue()

    return encode


def hand_made(compress: Callable[[bytes], bytes]) -> Callable[[Pixels], bytes]:
    """A PNG whose rows all have the filter Up, subtracted by numpy, and compressed by another zlib."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    def encode(pixels: Pixels) -> bytes:
        height, width, _ = pixels.shape
        rows = np.empty((height, 1 + width * 3), np.uint8)
        flat = pixels.reshape(height, -1)
        rows[:, 0] = 2
        rows[0, 1:] = flat[0]
        np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        parts = chunk(b"IHDR", head) + chunk(b"IDAT", compress(rows.tobytes())) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + parts

    return encode


def contestants() -> dict[str, Callable[[Pixels], bytes]]:
    """The encoders that are installed here, ours first."""
    found: dict[str, Callable[[Pixels], bytes]] = {OURS: pillow("PNG", compress_level=1)}
    for level in (0, 3, 6):
        found[f"Pillow PNG, level {level}"] = pillow("PNG", compress_level=level)
    found["Pillow WebP lossless, effort 0"] = pillow("WEBP", lossless=True, quality=0, method=0, exact=True)
    found["Pillow WebP lossless, effort 3"] = pillow("WEBP", lossless=True, quality=50, method=3, exact=True)
    found["numpy and zlib, level 1"] = hand_made(lambda data: zlib.compress(data, 1))
    if find_spec("isal"):
        from isal import isal_zlib

        found["numpy and isal, level 0"] = hand_made(lambda data: isal_zlib.compress(data, 0))
        found["numpy and isal, level 1"] = hand_made(lambda data: isal_zlib.compress(data, 1))
    if find_spec("zlib_ng"):
        from zlib_ng import zlib_ng

        found["numpy and zlib-ng, level 1"] = hand_made(lambda data: zlib_ng.compress(data, 1))
    if find_spec("fpng"):
        import fpng

        found["fpng"] = lambda pixels: bytes(fpng.from_ndarray(pixels))
    if find_spec("imagecodecs"):
        import imagecodecs

        found["imagecodecs libspng, level 1"] = lambda pixels: bytes(imagecodecs.spng_encode(pixels, level=1))
    if find_spec("cv2"):
        import cv2

        found["OpenCV PNG, its default"] = lambda pixels: bytes(cv2.imencode(".png", pixels[:, :, ::-1])[1])
    if find_spec("av"):
        found["FFmpeg PNG by PyAV, level 1"] = _ffmpeg
    return found


def _ffmpeg(pixels: Pixels) -> bytes:
    import av

    coder: Any = av.CodecContext.create("png", "w")
    coder.height, coder.width = pixels.shape[:2]
    coder.pix_fmt, coder.time_base = "rgb24", Fraction(1)
    coder.options = {"compression_level": "1", "pred": "up"}
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return b"".join(bytes(packet) for packet in [*coder.encode(frame), *coder.encode(None)])


def main() -> None:
    """Measure and print a table for each kind of image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2048, help="width and height in pixels (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for kind, pixels in pictures(arguments.side).items():
        encoders = contestants()
        times: dict[str, list[float]] = {name: [] for name in encoders}
        sizes: dict[str, int] = {}
        for turn in range(arguments.rounds):
            for name, encode in encoders.items():
                begun = time.perf_counter()
                written = encode(pixels)
                times[name].append(time.perf_counter() - begun)
                sizes[name] = len(written)
                if not turn and not np.array_equal(np.asarray(Image.open(io.BytesIO(written)).convert("RGB")), pixels):
                    raise SystemExit(f"{name} is not lossless")
        raw = pixels.nbytes
        print(f"\n{kind}, {arguments.side} x {arguments.side}, {raw / 1e6:.1f} MB of pixels")
        print(f"  {'':32}{'seconds':>9}{'x ours':>8}{'of raw':>8}{'x ours':>8}   x ours with {', '.join(LINES)}")
        for name in encoders:
            seconds = statistics.median(times[name])
            slower = statistics.median(a / b for a, b in zip(times[name], times[OURS], strict=True))
            ends = [
                (seconds + sizes[name] / speed) / (statistics.median(times[OURS]) + sizes[OURS] / speed)
                for speed in (2.5e6, 25e6, 250e6)
            ]
            shares = f"{sizes[name] / raw:8.3f}{sizes[name] / sizes[OURS]:8.2f}"
            print(f"  {name:32}{seconds:9.3f}{slower:8.2f}{shares}   {'  '.join(f'{each:.2f}' for each in ends)}")


if __name__ == "__main__":
    main()
