"""Images for prompts: slow waves of light in colors chosen by the seed, marked PREVIEW."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_COARSE = 160
"""The longer side, in cells, of the grid of the waves; a smooth image needs no more."""


class Scene:
    """A moving image of ``width`` x ``height`` pixels; the same prompt and seed give the same image."""

    def __init__(self, width: int, height: int, prompt: str, seed: str) -> None:
        self._size = (width, height)
        digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
        random = np.random.default_rng(list(digest))
        scale = min(1.0, _COARSE / max(width, height))
        rows, columns = (max(2, round(side * scale)) for side in (height, width))
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) / (_COARSE / 2)
        angles = random.uniform(0, 2 * math.pi, 5)
        lengths = random.uniform(1.5, 5, 5)
        starts = random.uniform(0, 2 * math.pi, 5)
        self._phases = np.stack(
            [
                length * (math.cos(angle) * x + math.sin(angle) * y) + start
                for angle, length, start in zip(angles, lengths, starts, strict=True)
            ]
        ).astype(np.float32)
        self._speeds = random.uniform(0.6, 1.8, (5, 1, 1)).astype(np.float32)
        # Neighboring hues look calm. The seed also chooses the direction around the color wheel.
        hue, spread = random.uniform(0, 1), random.choice([-1, 1]) * random.uniform(0.08, 0.2)
        self._hues = np.array([hue, hue + spread, hue + 2 * spread], dtype=np.float32)
        self._label = _label(width, height, prompt)

    def at(self, seconds: float) -> Image.Image:
        """Return the image at this time in seconds."""
        waves = np.sin(self._phases + self._speeds * np.float32(seconds)).mean(axis=0)
        turns = 0.6 * waves[..., None] + self._hues + np.float32(0.04 * seconds)
        colors = 0.5 + 0.5 * np.cos(2 * math.pi * turns)
        cells = Image.fromarray((colors * 255).astype(np.uint8))
        picture = cells.resize(self._size, Image.Resampling.BICUBIC)
        picture.paste(self._label, (0, self._size[1] - self._label.height), self._label)
        return picture


def _label(width: int, height: int, prompt: str) -> Image.Image:
    """Draw the band along the lower edge: PREVIEW, and the prompt as far as it fits."""
    large, small = (max(8, round(min(width, height) / part)) for part in (9, 22))
    margin = large // 3
    top, line = large + 2 * margin, small + margin
    band = Image.new("RGBA", (width, min(height, top + line)), (0, 0, 0, 130))
    draw = ImageDraw.Draw(band)
    font = ImageFont.load_default(small)
    text = _fitting(prompt, font, width - 2 * margin)
    draw.text((margin, margin), "PREVIEW", font=ImageFont.load_default(large), fill="white")
    draw.text((margin, top - margin // 2), text, font=font, fill="white")
    return band


def _fitting(prompt: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Return the start of the prompt that is at most ``width`` pixels wide, on one line and printable."""
    text = " ".join(prompt[:500].split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
