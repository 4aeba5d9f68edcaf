"""Decode time of animations, side by side with Pillow's own.

Run from the repository's root: ``python -m benchmarks.animations``. Animations of each kind are made; Pillow and this
package decode each in turn in one process, so that a slow minute of the machine slows both alike. Prints a table: the
median seconds, and the median of our time to Pillow's within each round.

Pillow's own time is taken twice: until all frames are 8-bit arrays, kept nowhere, and until they are one array of
floating point numbers, as this package returns them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence, features

from xalora_client.media.decoding import decode

WIDTH, HEIGHT, FRAMES = 848, 480, 37


def pictures(transparent: bool) -> list[Image.Image]:
    """Moving waves with an alpha channel: opaque everywhere, or transparent in a rectangle that moves."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    found = []
    for number in range(FRAMES):
        waves = (columns / 50 + number / 6, rows / 40 - number / 9, (rows + columns) / 70 + number / 4)
        colors = 128 + 100 * np.sin(np.stack(waves, axis=2))
        alpha = np.full((HEIGHT, WIDTH, 1), 255)
        if transparent:
            alpha[100:200, 5 * number : 5 * number + 200] = 0
        found.append(Image.fromarray(np.concatenate((colors, alpha), axis=2).astype(np.uint8)))
    return found


def make(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write one animation of each kind."""
    opaque, transparent = pictures(False), pictures(True)
    rgb = [each.convert("RGB") for each in opaque]
    kinds: list[tuple[str, str, list[Image.Image], dict[str, Any]]] = [
        ("gif", "gif", rgb, {}),
        ("apng", "png", rgb, {"compress_level": 3}),
        ("apng, transparent", "png", transparent, {"compress_level": 3}),
    ]
    if features.check("webp"):
        kinds += [
            ("webp", "webp", rgb, {"method": 0}),
            ("webp, alpha opaque", "webp", opaque, {"method": 0}),
            ("webp, alpha opaque, lossless", "webp", opaque, {"method": 0, "lossless": True}),
            ("webp, transparent", "webp", transparent, {"method": 0}),
        ]
    if features.check("avif"):
        kinds.append(("avif", "avif", rgb, {"speed": 10}))
    for number, (name, kind, frames, options) in enumerate(kinds):
        path = folder / f"{number}.{kind}"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=42, **options)
        if "alpha opaque" in name:
            data = bytearray(path.read_bytes())
            data[20] |= 0x10  # Pillow's writer leaves the flag of alpha out where it sees that all is opaque.
            path.write_bytes(data)
        yield name, path


def to_arrays(path: Path) -> None:
    """Pillow's own time, of 8-bit frames that nobody keeps."""
    with Image.open(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            np.asarray(frame.convert("RGBA" if frame.has_transparency_data else "RGB"))


def to_floats(path: Path) -> Any:
    """Pillow's own time, with the result in one array."""
    with Image.open(path) as picture:
        frames: int = getattr(picture, "n_frames", 1)
        result = np.empty((frames, picture.height, picture.width, 3), np.float32)
        for number, frame in enumerate(ImageSequence.Iterator(picture)):
            np.divide(np.asarray(frame.convert("RGB")), np.float32(255), out=result[number])
    return result


def seconds(function: Callable[[Path], Any], path: Path) -> float:
    """How long a call takes, its result's release included."""
    began = time.perf_counter()
    function(path)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.animations", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured (default: %(default)s)")
    options = parser.parse_args()
    contestants: list[Callable[[Path], Any]] = [decode, to_arrays, to_floats]
    print(f"{FRAMES} frames of {WIDTH} x {HEIGHT}; medians of {options.rounds} rounds")
    print(f"{'':30} {'ours, s':>8} {'to 8 bits, s':>13} {'to floats, s':>13} {'ours to 8 bits':>15} {'to floats':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in make(Path(folder)):
            rounds = [[seconds(each, path) for each in contestants] for _ in range(options.rounds)]
            medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
            to_8, to_float = (statistics.median(times[0] / times[at] for times in rounds) for at in (1, 2))
            print(f"{name:30} {medians[0]:8.3f} {medians[1]:13.3f} {medians[2]:13.3f} {to_8:15.2f} {to_float:10.2f}")


if __name__ == "__main__":
    main()
