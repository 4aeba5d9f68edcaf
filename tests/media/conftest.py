"""Sample files for the media tests, made by real encoders, and the reference that FFmpeg gives for them."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

Pixels = npt.NDArray[np.uint8]


class Ffmpeg:
    """The ``ffmpeg`` program; skips a test where it or an encoder is missing."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._encoders = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True).stdout

    def run(self, *arguments: str | Path) -> bytes:
        """Run with arguments and return standard output."""
        done = subprocess.run(
            [self._program, "-hide_banner", "-v", "error", "-y", *map(str, arguments)], capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def make(self, path: Path, codec: str, *options: str, source: str = "mandelbrot", size: str = "96x64") -> Path:
        """Encode seven frames at 12 frames a second."""
        if f" {codec} " not in self._encoders:
            pytest.skip(f"this ffmpeg has no encoder {codec}")
        made = f"{source}=size={size}:rate=12"
        self.run("-f", "lavfi", "-i", made, "-frames:v", "7", "-c:v", codec, *options, path)
        return path

    def rgb24(self, path: Path, width: int, height: int, *before: str) -> Pixels:
        """What ffmpeg itself decodes: ``[F, H, W, 3]``."""
        raw = self.run(
            *before, "-i", path, "-map", "0:v:0", "-vsync", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"
        )
        return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.fixture(scope="session")
def ffmpeg() -> Ffmpeg:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("there is no ffmpeg program to compare with")
    return Ffmpeg(program)


@pytest.fixture(scope="session")
def clip(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small H.264 video with sound: 96 x 64, 7 frames at 12 frames a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    sound = ("-f", "lavfi", "-i", "sine=440:duration=0.5")
    picture = ("-f", "lavfi", "-i", "mandelbrot=size=96x64:rate=12")
    ffmpeg.run(*picture, *sound, "-frames:v", "7", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", path)
    return path


@dataclass(frozen=True)
class Frame:
    """One frame of an animation as its file stores it: a rectangle, and what becomes of the canvas."""

    pixels: Pixels
    x: int = 0
    y: int = 0
    dispose: str = "keep"
    blend: bool = False
    milliseconds: int = 100


def compose(width: int, height: int, frames: Sequence[Frame]) -> list[Pixels]:
    """The canvases ``[H, W, 4]`` that the frames make, by the rules that GIF, APNG and WebP have in common.

    For pixels of which alpha is 0 or 255, where blending needs no rounding.
    """
    canvas = np.zeros((height, width, 4), np.uint8)
    shown = []
    for frame in frames:
        before = canvas.copy()
        h, w = frame.pixels.shape[:2]
        area = canvas[frame.y : frame.y + h, frame.x : frame.x + w]
        visible = frame.pixels[..., 3] == 255 if frame.blend else np.ones((h, w), bool)
        area[visible] = frame.pixels[visible]
        shown.append(canvas.copy())
        if frame.dispose == "previous":
            canvas = before
        elif frame.dispose == "background":
            canvas[frame.y : frame.y + h, frame.x : frame.x + w] = 0
    return shown


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def png_header(width: int, height: int) -> bytes:
    """A PNG's signature and IHDR, 8-bit RGBA."""
    ihdr = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", ihdr)


def _scanlines(pixels: Pixels) -> bytes:
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))


def write_apng(path: Path, width: int, height: int, frames: Sequence[Frame], default: Pixels | None = None) -> Path:
    """Write an APNG by hand; ``default`` is a picture for those who cannot animate, outside the animation."""
    out = png_header(width, height) + png_chunk(b"acTL", len(frames).to_bytes(4, "big") + bytes(4))
    number = 0
    if default is not None:
        out += png_chunk(b"IDAT", _scanlines(default))
    for index, frame in enumerate(frames):
        h, w = frame.pixels.shape[:2]
        place = b"".join(each.to_bytes(4, "big") for each in (number, w, h, frame.x, frame.y))
        delay = frame.milliseconds.to_bytes(2, "big") + (1000).to_bytes(2, "big")
        dispose = ("keep", "background", "previous").index(frame.dispose)
        out += png_chunk(b"fcTL", place + delay + bytes((dispose, frame.blend)))
        number += 1
        if index == 0 and default is None:
            out += png_chunk(b"IDAT", _scanlines(frame.pixels))
        else:
            out += png_chunk(b"fdAT", number.to_bytes(4, "big") + _scanlines(frame.pixels))
            number += 1
    path.write_bytes(out + png_chunk(b"IEND", b""))
    return path


@pytest.fixture(scope="session")
def apng() -> Callable[..., Path]:
    return write_apng


@pytest.fixture(scope="session")
def composed() -> Callable[..., list[Pixels]]:
    return compose


@pytest.fixture(scope="session")
def frame() -> type[Frame]:
    return Frame


@pytest.fixture(scope="session")
def chunk() -> Callable[[bytes, bytes], bytes]:
    return png_chunk


@pytest.fixture(scope="session")
def header() -> Callable[[int, int], bytes]:
    return png_header
