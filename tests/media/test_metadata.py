"""What lies beside the pixels never refuses a picture, and false words about an animation leave what can be shown."""

from __future__ import annotations

import io
import random
import zlib

import numpy as np
import pytest
from PIL import Image, features

from xalora_client.media.decoding import decode, inspect

PICTURE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8))
TIFF = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\1\0\0\0\0\0\0"
"""EXIF data that turns nothing, as long as any that is put in its place."""


def written(kind, **options):
    file = io.BytesIO()
    PICTURE.save(file, kind, **options)
    return file.getvalue()


def jpeg(exif):
    data, part = written("JPEG"), b"Exif\0\0" + exif.removeprefix(b"Exif\0\0")
    return data[:2] + b"\xff\xe1" + (len(part) + 2).to_bytes(2, "big") + part + data[2:]


def webp(exif):
    data = written("WEBP", lossless=True, exif=TIFF)
    at = data.index(b"EXIF")
    part = b"EXIF" + len(exif).to_bytes(4, "little") + exif + b"\0" * (len(exif) % 2)
    return data[:4] + (at + len(part) - 8).to_bytes(4, "little") + data[8:at] + part


def avif(exif):
    width = TIFF[6:].replace(b"\x01\x12", b"\x01\0")  # Pillow does not write an orientation.
    data = written("AVIF", exif=width)
    at = data.index(width)
    return data[:at] + exif[: len(width)].ljust(len(width)) + data[at + len(width) :]


@pytest.fixture
def png(chunk):
    def made(*parts):
        data = written("PNG")
        return data[:33] + b"".join(chunk(name, content) for name, content in parts) + data[33:]

    return made


NOISES = {
    "empty": b"",
    "noise": bytes(range(200, 250)),
    "no TIFF": b"Exif\0\0ABCD\0\0\0\x08\0\1",
    "cut off": TIFF[:12],
    "tags outside": b"II*\0\xff\xff\xff\xff",
    "tags beyond the end": b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
    "a number of no turn": TIFF[:24] + b"\0\x63" + TIFF[26:],
    "text": b"II*\0\x08\0\0\0\1\0\x12\1\2\0\xff\0\0\0\xff\0\0\0",
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "avif"])
def test_exif_that_is_none(tmp_path, png, name, noise):
    if name in ("webp", "avif") and not features.check(name):
        pytest.skip(f"this Pillow has no {name}")
    makers = {"png": lambda exif: png((b"eXIf", exif)), "jpeg": jpeg, "webp": webp, "avif": avif}
    (tmp_path / "noisy").write_bytes(makers[name](noise))
    (tmp_path / "plain").write_bytes(makers[name](TIFF))
    np.testing.assert_array_equal(decode(tmp_path / "noisy").frames, decode(tmp_path / "plain").frames)
    assert decode(tmp_path / "plain").frames.shape == (1, 24, 32, 3)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a_large_color_profile(tmp_path, name):
    if name in ("WEBP", "AVIF") and not features.check(name.lower()):
        pytest.skip(f"this Pillow has no {name}")
    (tmp_path / "a").write_bytes(written(name, icc_profile=random.Random(1).randbytes(3_000_000)))
    assert decode(tmp_path / "a").frames.shape == (1, 24, 32, 3)


TEXTS = {
    "a long text": (b"tEXt", b"prompt\0" + b"x" * 3_000_000),
    "a packed bomb": (b"zTXt", b"prompt\0\0" + zlib.compress(bytes(30_000_000))),
    "a long UTF-8 text": (b"iTXt", b"workflow\0\0\0\0\0" + b"y" * 3_000_000),
    "a text that is none": (b"iTXt", b"\xff"),
    "a packed text that is damaged": (b"zTXt", b"prompt\0\0abcdef"),
    "a profile that is damaged": (b"iCCP", b"profile\0\0abcdef"),
    "a profile as text": (b"tEXt", b"Raw profile type exif\0\nexif\n  4\nzzzz"),
    "an unknown part": (b"aaAa", b"whatever"),
    "a date of no length": (b"tIME", b""),
    "dimensions of no length": (b"pHYs", b""),
    "a gamma of no length": (b"gAMA", b""),
    "colors of no length": (b"cHRM", b""),
    "an intent of no length": (b"sRGB", b""),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("sound", [True, False], ids=["", "wrong checksum"])
def test_parts_of_a_png_beside_the_pixels(tmp_path, png, text, sound):
    data = bytearray(png(text, text))
    if not sound:
        data[33 + 8 + len(text[1])] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(decode(tmp_path / "a.png").frames[0], np.asarray(PICTURE) / np.float32(255))


def test_noise_in_every_part(tmp_path, png):
    """Of any length, under each name that Pillow knows."""
    dice = random.Random(7)
    for _ in range(300):
        names = [b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"bKGD"]
        (tmp_path / "a.png").write_bytes(png(*((name, dice.randbytes(dice.randrange(40))) for name in names)))
        assert inspect(tmp_path / "a.png").width == 32


def test_markers_of_a_jpeg_beside_the_pixels(tmp_path):
    dice, data = random.Random(8), written("JPEG")
    (tmp_path / "plain").write_bytes(data)
    expected = decode(tmp_path / "plain").frames
    signatures = [
        b"Exif\0\0",
        b"ICC_PROFILE\0",
        b"MPF\0",
        b"Photoshop 3.0\x008BIM",
        b"http://ns.adobe.com/xap/1.0/\0",
        b"",
    ]
    for _ in range(200):
        parts = b""
        for marker in [0xE1, 0xE2, 0xED, 0xEF, 0xFE]:
            content = dice.choice(signatures) + dice.randbytes(dice.randrange(60))
            parts += bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content
        (tmp_path / "a").write_bytes(data[:2] + parts + data[2:])
        assert np.abs(decode(tmp_path / "a").frames.mean() - expected.mean()) < 1e-6


@pytest.fixture
def animation(apng, frame, tmp_path):
    """Three frames of one color each, as parts: what is before the first frame's control, and the rest."""
    frames = [frame(np.full((4, 4, 4), (60 * number, 0, 0, 255), np.uint8)) for number in (1, 2, 3)]
    data = apng(tmp_path / "sound.png", 4, 4, frames, np.full((4, 4, 4), (0, 200, 0, 255), np.uint8)).read_bytes()
    at = data.index(b"acTL") - 4
    first = data.index(b"fcTL") - 4
    return data[:at], data[at + 20 : first], data[first : first + 38], data[first + 38 :]


def counts(chunk, *announced):
    return b"".join(chunk(b"acTL", number.to_bytes(4, "big") + bytes(4)) for number in announced)


@pytest.mark.parametrize(
    "announced", [(4,), (5,), (2**31,), (2**32 - 1,), (3, 3), (3, 1), (1, 3), (0, 3), (3, 0)], ids=str
)
@pytest.mark.parametrize("late", [False, True], ids=["", "after the first control"])
def test_an_animation_that_announces_other_than_it_has(tmp_path, animation, chunk, announced, late):
    head, default, control, rest = animation
    if late:  # Then its own picture is the first frame's.
        data = head + control + counts(chunk, *announced) + default + rest[rest.index(b"fcTL") - 4 :]
        numbers = iter(range(1, 100))
        data = renumbered(chunk, data, numbers)
    else:
        data = head + counts(chunk, *announced) + default + control + rest
    (tmp_path / "a.png").write_bytes(data)
    reds = np.rint(decode(tmp_path / "a.png").frames[:, 0, 0, 0] * 255).tolist()
    assert reds == ([0, 120, 180] if late else [60, 120, 180])
    assert inspect(tmp_path / "a.png").frames == 3


def renumbered(chunk, data, numbers):
    """The same PNG with the sequence numbers of all parts after the first control in order."""
    at, out, controls = 8, data[:8], 0
    while at < len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + length]
        controls += name == b"fcTL"
        if name == b"fdAT" or (name == b"fcTL" and controls > 1):
            content = next(numbers).to_bytes(4, "big") + content[4:]
        out += chunk(name, content)
        at += 12 + length
    return out


@pytest.mark.parametrize("damage", ["checksum", "length", "none"])
def test_an_animation_that_announces_nothing_is_its_still_picture(tmp_path, animation, chunk, damage):
    head, default, control, rest = animation
    words = {"checksum": counts(chunk, 3)[:-1] + b"\0", "length": chunk(b"acTL", b""), "none": b""}[damage]
    (tmp_path / "a.png").write_bytes(head + words + default + control + rest)
    assert np.rint(decode(tmp_path / "a.png").frames[:, 0, 0] * 255).tolist() == [[0, 200, 0]]


def test_frames_without_pixels_are_left_out(tmp_path, animation, chunk):
    head, default, control, _ = animation
    (tmp_path / "a.png").write_bytes(head + counts(chunk, 3) + default + control + chunk(b"IEND", b""))
    assert np.rint(decode(tmp_path / "a.png").frames[:, 0, 0] * 255).tolist() == [[0, 200, 0]]
