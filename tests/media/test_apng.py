"""Animated PNG by the specification, for every kind of pixel, and as FFmpeg composes it."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest

from xalora_client.errors import DecodeError
from xalora_client.media.decoding import decode, inspect

RANDOM = np.random.default_rng(11)
WIDTH, HEIGHT = 21, 15
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
KINDS += [(4, 8), (4, 16), (6, 8), (6, 16)]
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
PALETTE = RANDOM.integers(0, 256, (256, 3), np.uint8)
OPACITY = RANDOM.integers(0, 256, 256, np.uint8)


def packed(samples, depth, interlaced):
    """Scan lines of samples ``[H, W, C]``, without filters."""
    parts = PASSES if interlaced else [(0, 0, 1, 1)]
    out = b""
    for x, y, right, down in parts:
        part = samples[y::down, x::right]
        if part.size == 0:
            continue
        for row in part:
            values = row.reshape(-1)
            if depth == 16:
                line = values.astype(">u2").tobytes()
            else:
                bits = (values[:, None] >> np.arange(depth - 1, -1, -1)) & 1
                line = np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()
            out += b"\0" + line
    return zlib.compress(out)


class Writer:
    """Writes an APNG of one color type and depth; ``key`` adds tRNS."""

    def __init__(self, chunk, color_type, depth, interlaced=False, key=False):
        self.chunk, self.color_type, self.depth, self.interlaced = chunk, color_type, depth, interlaced
        self.levels = 4 if color_type == 2 and depth == 8 else min(1 << depth, 65536)
        self.key = key

    def samples(self, width, height):
        found = RANDOM.integers(0, self.levels, (height, width, CHANNELS[self.color_type]))
        if self.depth == 16:
            found[RANDOM.random((height, width)) < 0.2] = 0x1234
            found[RANDOM.random((height, width)) < 0.2] = 0x1235
        if self.color_type in (4, 6):  # A third opaque, a third transparent, a third between.
            kind = RANDOM.integers(0, 3, (height, width))
            found[..., -1] = np.where(kind == 0, 0, np.where(kind == 1, (1 << self.depth) - 1, found[..., -1]))
        return found

    def write(self, path, frames, default=None):
        """``frames``: samples, x, y, disposal, blend."""
        head = (WIDTH, HEIGHT)
        ihdr = b"".join(each.to_bytes(4, "big") for each in head)
        out = b"\x89PNG\r\n\x1a\n"
        out += self.chunk(b"IHDR", ihdr + bytes((self.depth, self.color_type, 0, 0, self.interlaced)))
        out += self.chunk(b"acTL", len(frames).to_bytes(4, "big") + bytes(4))
        if self.color_type == 3:
            out += self.chunk(b"PLTE", PALETTE[: self.levels].tobytes())
        if self.key:
            out += self.chunk(b"tRNS", self.transparency())
        if default is not None:
            out += self.chunk(b"IDAT", packed(default, self.depth, self.interlaced))
        number = 0
        for index, (samples, x, y, disposal, blend) in enumerate(frames):
            height, width = samples.shape[:2]
            values = (number, width, height, x, y)
            place = b"".join(each.to_bytes(4, "big") for each in values) + b"\0\1\0\x0a" + bytes((disposal, blend))
            out += self.chunk(b"fcTL", place)
            number += 1
            data = packed(samples, self.depth, self.interlaced)
            if index == 0 and default is None:
                out += self.chunk(b"IDAT", data)
                continue
            middle = len(data) // 2
            for piece in (data[:middle], data[middle:]):
                out += self.chunk(b"fdAT", number.to_bytes(4, "big") + piece)
                number += 1
        path.write_bytes(out + self.chunk(b"IEND", b""))
        return path

    def transparency(self):
        if self.color_type == 3:
            return OPACITY[: self.levels].tobytes()
        value = 0x1234 if self.depth == 16 else 1
        return value.to_bytes(2, "big") * CHANNELS[self.color_type]

    def rgba(self, samples):
        """What samples mean, by the specification; 16 bits a channel become the upper 8, but for grayscale."""
        top = (1 << self.depth) - 1
        if self.color_type == 3:
            opacity = OPACITY if self.key else np.full(256, 255, np.uint8)
            return np.dstack((PALETTE[samples[..., 0]], opacity[samples[..., 0]]))
        clear = np.zeros(samples.shape[:2], bool)
        if self.key and self.color_type in (0, 2):
            clear = (samples == (0x1234 if self.depth == 16 else 1)).all(axis=2)
        largest = 65535 if (self.color_type, self.depth) == (0, 16) else 255
        scaled = samples >> 8 if largest == 255 and self.depth == 16 else samples * largest // top
        colors = scaled[..., :3] if self.color_type in (2, 6) else np.repeat(scaled[..., :1], 3, axis=2)
        alpha = scaled[..., -1] if self.color_type in (4, 6) else np.where(clear, 0, largest)
        return np.dstack((colors, alpha))


def shown(writer, frames):
    """The canvases ``[F, H, W, 4]`` in floating point, by the words of the specification."""
    largest = 65535 if (writer.color_type, writer.depth) == (0, 16) else 255
    canvas = np.zeros((HEIGHT, WIDTH, 4))
    out = []
    for samples, x, y, disposal, blend in frames:
        before = canvas.copy()
        front = writer.rgba(samples) / largest
        back = canvas[y : y + samples.shape[0], x : x + samples.shape[1]]
        if blend:
            alpha = front[..., 3:] + (1 - front[..., 3:]) * back[..., 3:]
            colors = front[..., :3] * front[..., 3:] + back[..., :3] * back[..., 3:] * (1 - front[..., 3:])
            front = np.dstack((np.divide(colors, alpha, out=np.zeros_like(colors), where=alpha > 0), alpha))
        back[:] = front
        out.append(canvas.copy())
        if disposal == 1:
            back[:] = 0
        elif disposal == 2:
            canvas = before
    return np.stack(out)


def every_mode(writer):
    """A first frame over all that is disposed to "previous", then a part of each kind after each."""
    frames = [(writer.samples(WIDTH, HEIGHT), 0, 0, 2, 0)]
    for number, (disposal, blend) in enumerate(list(itertools.product((0, 1, 2), (0, 1))) * 2):
        frames.append((writer.samples(7, 5), 2 * number % 14, number % 10, disposal, blend))
    return frames


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "adam7"])
@pytest.mark.parametrize(
    ("color_type", "depth", "key"),
    [(*kind, False) for kind in KINDS] + [(*kind, True) for kind in KINDS if kind[0] in (0, 2, 3)],
)
def test_every_kind_of_pixel_is_composed_by_the_specification(chunk, tmp_path, color_type, depth, key, interlaced):
    writer = Writer(chunk, color_type, depth, interlaced, key)
    frames = every_mode(writer)
    path = writer.write(tmp_path / "a.png", frames)
    decoded = decode(path)
    expected = shown(writer, frames)
    mask = np.zeros(expected.shape[:3]) if decoded.mask is None else decoded.mask
    # Alpha is rounded to 8 bits after each frame, and colors are divided by it.
    np.testing.assert_allclose(1 - mask, expected[..., 3], atol=2 / 255)
    seen = expected[..., 3] > 0.5
    np.testing.assert_allclose(decoded.frames[seen], expected[seen][:, :3], atol=4 / 255)
    if color_type in (0, 2):
        np.testing.assert_allclose(1 - mask, expected[..., 3], atol=1e-6)
        np.testing.assert_allclose(decoded.frames[seen], expected[seen][:, :3], atol=1e-6)


@pytest.mark.parametrize("default", [False, True], ids=["first-frame", "fallback"])
@pytest.mark.parametrize(("color_type", "depth", "key"), [(6, 8, False), (4, 8, False), (2, 8, True), (0, 8, True)])
def test_blending_is_ffmpegs_to_the_bit(ffmpeg, chunk, tmp_path, color_type, depth, key, default):
    writer = Writer(chunk, color_type, depth, key=key)
    frames = every_mode(writer)
    path = writer.write(tmp_path / "a.png", frames, writer.samples(WIDTH, HEIGHT) if default else None)
    raw = ffmpeg.run("-i", path, "-vsync", "passthrough", "-pix_fmt", "rgba", "-f", "rawvideo", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH, 4)
    decoded = decode(path)
    np.testing.assert_array_equal(np.rint((1 - decoded.mask) * 255), expected[..., 3])
    seen = expected[..., 3] > 0
    np.testing.assert_array_equal(np.rint(decoded.frames[seen] * 255), expected[seen][:, :3])


def test_the_fallback_does_not_show_through_a_first_frame_that_is_a_part(chunk, tmp_path):
    writer = Writer(chunk, 6, 8)
    default = np.full((HEIGHT, WIDTH, 4), 255)
    frames = [(writer.samples(5, 4), 3, 2, 0, 1), (writer.samples(5, 4), 9, 6, 0, 1)]
    decoded = decode(writer.write(tmp_path / "a.png", frames, default))
    np.testing.assert_allclose(1 - decoded.mask, shown(writer, frames)[..., 3], atol=1e-6)
    assert decoded.mask[0].sum() > WIDTH * HEIGHT - 20


def test_an_animation_of_one_frame_beside_a_fallback_is_that_frame(chunk, tmp_path):
    writer = Writer(chunk, 2, 8)
    frames = [(writer.samples(WIDTH, HEIGHT), 0, 0, 0, 0)]
    path = writer.write(tmp_path / "a.png", frames, writer.samples(WIDTH, HEIGHT))
    assert (inspect(path).kind, inspect(path).format.name) == ("image", "png")
    np.testing.assert_allclose(decode(path).frames[0], frames[0][0] / np.float32(255), atol=1e-6)


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "adam7"])
@pytest.mark.parametrize(("color_type", "depth"), [kind for kind in KINDS if kind[0] in (0, 2)])
def test_a_still_picture_with_one_transparent_color(chunk, tmp_path, color_type, depth, interlaced):
    """A 16-bit level or color counts with all its bits, one of a few bits as it is stored."""
    writer = Writer(chunk, color_type, depth, interlaced, key=True)
    samples = writer.samples(WIDTH, HEIGHT)
    path = writer.write(tmp_path / "a.png", [(samples, 0, 0, 0, 0)])
    data = path.read_bytes()
    for name, length in ((b"acTL", 20), (b"fcTL", 38)):
        at = data.index(name) - 4
        data = data[:at] + data[at + length :]
    path.write_bytes(data)
    decoded = decode(path)
    assert inspect(path).has_alpha
    largest = 65535 if (color_type, depth) == (0, 16) else 255
    np.testing.assert_array_equal(decoded.mask[0], writer.rgba(samples)[..., 3] == 0)
    np.testing.assert_allclose(decoded.frames[0], writer.rgba(samples)[..., :3] / largest, atol=1e-6)


@pytest.mark.parametrize("damage", ["order", "outside", "checksum", "operation"])
def test_damage_in_an_animation_is_a_decode_error(chunk, tmp_path, damage):
    writer = Writer(chunk, 6, 8)
    path = writer.write(tmp_path / "a.png", every_mode(writer)[:3])
    data = path.read_bytes()
    at = data.rindex(b"fcTL") + 4
    control = bytearray(data[at : at + 26])
    if damage == "order":
        control[3] += 1
    elif damage == "outside":
        control[15] = 200
    elif damage == "operation":
        control[24] = 3
    fixed = chunk(b"fcTL", bytes(control))
    if damage == "checksum":
        fixed = fixed[:-1] + bytes((fixed[-1] ^ 1,))
    path.write_bytes(data[: at - 8] + fixed + data[at + 30 :])
    with pytest.raises(DecodeError):
        decode(path)
