"""Damaged files of every format: a result or a MediaError, in time, within the limits.

By default 300 files; ``XALORA_FUZZ_FILES=2000`` runs the full number. Each run is the same: files are numbered, and the
number seeds the damage.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

FILES = int(os.environ.get("XALORA_FUZZ_FILES", "300"))
SECONDS = 5.0
MEMORY = 2**30

LOOP = """
import re, sys, time, warnings
from pathlib import Path
from xalora_client.errors import MediaError
from xalora_client.media.decoding import Limits, decode, decode_sound
from PIL import Image

warnings.simplefilter("error")
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
limits = Limits(max_bytes=2**22, max_pixels=400_000, max_frames=100, max_duration_seconds=60)
for line in sys.stdin:
    path, began = Path(line.strip()), time.perf_counter()
    try:
        decoded = decode(path, limits)
        frames, height, width, _ = decoded.frames.shape
        assert frames <= 100 and height * width <= 400_000, decoded.frames.shape
        outcome = "frames"
        sound = decode_sound(path, limits)
        outcome = "sound" if sound else outcome
    except MediaError as error:
        assert path.name in str(error), error
        outcome = type(error).__name__
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    print(outcome, time.perf_counter() - began, peak, path.name, flush=True)
"""


@pytest.fixture(scope="module")
def seeds(ffmpeg, clip, tmp_path_factory) -> list[Path]:
    """Small whole files of every format."""
    folder = tmp_path_factory.mktemp("seeds")
    plain = ("-pix_fmt", "yuv420p")
    made = [
        ffmpeg.make(folder / "h264.mp4", "libx264", *plain),
        ffmpeg.make(folder / "fragments.mp4", "libx264", *plain, "-movflags", "frag_keyframe+empty_moov"),
        ffmpeg.make(folder / "hevc.mov", "libx265", *plain, "-x265-params", "log-level=0"),
        ffmpeg.make(folder / "av1.mp4", "libaom-av1", "-cpu-used", "8", *plain),
        ffmpeg.make(folder / "vp9.webm", "libvpx-vp9", *plain),
        ffmpeg.make(folder / "vp8.webm", "libvpx", *plain),
        ffmpeg.make(folder / "h264.mkv", "libx264", "-pix_fmt", "yuv420p10le"),
        ffmpeg.make(folder / "alpha.mov", "png", "-pix_fmt", "rgba"),
        clip,
    ]
    for name, codec in (("opus.webm", "libopus"), ("flac.mkv", "flac"), ("pcm.mov", "pcm_s16le")):
        picture = "libvpx" if name.endswith("webm") else "copy"
        made.append(folder / name)
        ffmpeg.run("-i", clip, "-c:v", picture, "-c:a", codec, made[-1])
    noise = np.random.default_rng(5).integers(0, 256, (4, 40, 48, 4), np.uint8)
    pictures = [Image.fromarray(each) for each in noise]
    several = {"save_all": True, "append_images": pictures[1:], "duration": 80}
    kinds = [("png", {}), ("png", several), ("gif", several)]
    kinds += [(name, options) for name in ("webp", "avif") if features.check(name) for options in ({}, several)]
    for number, (name, options) in enumerate(kinds):
        made.append(folder / f"{number}.{name}")
        pictures[0].save(made[-1], format=name, **options)
    made.append(folder / "rgb.jpeg")
    pictures[0].convert("RGB").save(made[-1])
    made.append(folder / "cmyk.jpeg")
    pictures[0].convert("RGB").convert("CMYK").save(made[-1])
    return made


def damage(data: bytes, number: int) -> bytes:
    """Change bytes, lose or repeat or swap stretches, cut the end, or write wild lengths into the first parts."""
    chance = random.Random(number)
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(len(out)) if chance.random() < 0.6 else chance.randrange(min(len(out), 600))
        length = chance.choice((1, 2, 4, 16, 200))
        kind = chance.randrange(7)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            out[at : at + 4] = chance.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\0\0\0\1"))
        elif kind == 3 and len(out) > 300:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = out[at : at + length]
        elif kind == 5 and chance.random() < 0.3 and len(out) > 300:
            del out[chance.randrange(100, len(out)) :]
        else:
            other = chance.randrange(len(out))
            out[at : at + length] = out[other : other + length] or b"\0"
    return bytes(out)


def test_damaged_files(seeds, tmp_path, figure):
    outcomes: dict[str, int] = {}
    slowest, largest, process = 0.0, 0, None
    for number in range(FILES):
        seed = seeds[number % len(seeds)]
        path = tmp_path / f"{number}{seed.suffix}"
        path.write_bytes(damage(seed.read_bytes(), number))
        if process is None:
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            process = subprocess.Popen([sys.executable, "-c", LOOP], **pipes, text=True)
        watch = threading.Timer(4 * SECONDS, process.kill)
        watch.start()
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        answer = process.stdout.readline().split()
        watch.cancel()
        assert answer, f"{path.name} (from {seed.name}) ended the process: {process.stderr.read()[-2000:]}"
        outcomes[answer[0]] = outcomes.get(answer[0], 0) + 1
        slowest, largest = max(slowest, float(answer[1])), max(largest, int(answer[2]) * 1024)
        assert slowest < SECONDS, f"{path.name} (from {seed.name}) took {slowest:.1f} s"
        path.unlink()
    process.stdin.close()
    errors = process.stderr.read()
    assert process.wait(30) == 0, errors
    process.stdout.close()
    process.stderr.close()
    assert largest < MEMORY, f"peak of {largest / 2**20:.0f} MiB"
    assert outcomes["frames"] > FILES / 10
    assert outcomes["sound"] > FILES / 50
    assert outcomes["DecodeError"] > FILES / 10
    figure(f"{FILES} damaged files: {outcomes}, {slowest:.2f} s at most, peak of {largest / 2**20:.0f} MiB")
