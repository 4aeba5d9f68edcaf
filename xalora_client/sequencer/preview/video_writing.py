"""Writes frames to a file: H.264 in MP4, or animated WebP. Both take frames one by one, so memory stays small."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def write_mp4(path: Path, frames: Iterable[Image.Image], *, fps: int, quality: int) -> None:
    """Write yuv420p H.264 with its index in front. ``quality`` 1..100 becomes crf 51..10 (80: 18)."""
    # A preset without x264's macroblock tree, which does not always give the same bytes for the same pictures.
    options = {"crf": str(round(51.4 - 0.414 * quality)), "preset": "superfast"}
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        # Fixed, because it changes the bytes: the same task must give the same file on every machine.
        stream.thread_count = 2
        for number, image in enumerate(frames):
            if number == 0:
                stream.width, stream.height = image.size
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_webp(path: Path, frames: Iterable[Image.Image], *, fps: int, quality: int) -> None:
    """Write an animated WebP that repeats forever. ``quality`` 1 to 100 is WebP's own.

    Pillow also writes animations, but it holds all frames in memory and merges frames that look alike, so the number of
    frames would change. The layout follows Google's "WebP Container Specification".
    """
    with path.open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBP")
        for number, image in enumerate(frames):
            size = _uint24(image.width - 1) + _uint24(image.height - 1)
            if number == 0:
                animated = struct.pack("<I", 0b10)
                file.write(_chunk(b"VP8X", animated + size))
                file.write(_chunk(b"ANIM", struct.pack("<IH", 0, 0)))
            # Whole milliseconds each, without drifting away from the frame rate.
            duration = round((number + 1) * 1000 / fps) - round(number * 1000 / fps)
            overwrite = b"\x02"
            still = io.BytesIO()
            image.save(still, "WEBP", quality=quality, method=2)
            bitstream = still.getvalue()[12:]
            file.write(_chunk(b"ANMF", _uint24(0) * 2 + size + _uint24(duration) + overwrite + bitstream))
        length = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", length - 8))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")
