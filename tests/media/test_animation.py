"""Animations: every way a frame can be put over the last, exactly; and the true frame rate."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from PIL import Image, ImageSequence, features

from xalora_client.media.decoding import Limits, decode, inspect
from xalora_client.media.decoding.image_file import decode_picture

RANDOM = np.random.default_rng(3)
WIDTH, HEIGHT = 24, 18

needs_webp = pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def patch(width, height):
    """Random colors, a third of them wholly transparent (and then black, as any canvas begins)."""
    pixels = RANDOM.integers(0, 256, (height, width, 4), np.uint8)
    pixels[..., 3] = np.where(RANDOM.random((height, width)) < 0.33, 0, 255)
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def assert_shows(path, canvases):
    """Frames and mask are exactly the canvases ``[H, W, 4]``; the color below full transparency is of no account."""
    decoded = decode(path)
    canvases = np.stack(canvases).astype(np.float32)
    mask = 1 - canvases[..., 3] / np.float32(255)
    np.testing.assert_array_equal(np.zeros_like(mask) if decoded.mask is None else decoded.mask, mask)
    seen = mask < 1
    np.testing.assert_array_equal(decoded.frames[seen], canvases[seen][:, :3] / np.float32(255))


def assert_as_pillow(path):
    """Frames and mask are exactly what Pillow shows one after the other."""
    decoded = decode(path)
    with Image.open(path) as picture:
        shown = [each.convert("RGBA") for each in ImageSequence.Iterator(picture)]
    expected = np.stack([np.asarray(each) for each in shown])
    np.testing.assert_array_equal(decoded.frames, expected[..., :3] / np.float32(255))
    mask = np.zeros(expected.shape[:3]) if decoded.mask is None else decoded.mask
    np.testing.assert_array_equal(mask, 1 - expected[..., 3] / np.float32(255))
    return decoded


def assert_as_ffmpeg(ffmpeg, path):
    """Frames and mask are exactly what ffmpeg shows, but for a GIF's background color, which browsers do not paint."""
    info = inspect(path)
    raw = ffmpeg.run("-i", path, "-vsync", "passthrough", "-pix_fmt", "rgba", "-f", "rawvideo", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(-1, info.height, info.width, 4)
    decoded = decode(path)
    alpha = np.ones(expected.shape[:3]) if decoded.mask is None else 1 - decoded.mask
    data = path.read_bytes()
    if data[:3] == b"GIF" and data[10] & 0x80:
        background = np.frombuffer(data[13 + 3 * data[11] :][:3], np.uint8)
        expected = np.where(((expected[..., :3] == background).all(-1) & (alpha == 0))[..., None], 0, expected)
    np.testing.assert_array_equal(np.rint(alpha * 255), expected[..., 3])
    seen = alpha > 0
    np.testing.assert_array_equal(np.rint(decoded.frames[seen] * 255), expected[seen][:, :3])
    return decoded


MODES = list(itertools.product(("keep", "background", "previous"), (False, True)))


def every_mode(frame, modes):
    """A first frame over all, then a partial frame of each kind twice, so that every kind follows every effect."""
    yield frame(patch(WIDTH, HEIGHT))
    for number, (dispose, blend) in enumerate(modes * 2):
        yield frame(patch(7, 5), 2 * number % 16, number % 13, dispose, blend)


def test_apng_of_every_disposal_and_blend_mode(apng, frame, composed, tmp_path):
    frames = list(every_mode(frame, MODES))
    path = apng(tmp_path / "a.png", WIDTH, HEIGHT, frames)
    assert_shows(path, composed(WIDTH, HEIGHT, frames))
    info = inspect(path)
    assert (info.format.name, info.kind, info.frames, info.has_alpha) == ("apng", "animation", 13, True)
    assert info.fps == pytest.approx(10)
    assert info.remuxable is False


def test_apng_fallback_picture_is_no_frame(apng, frame, composed, tmp_path):
    frames = [frame(patch(WIDTH, HEIGHT)) for _ in range(3)]
    path = apng(tmp_path / "a.png", WIDTH, HEIGHT, frames, default=np.full((HEIGHT, WIDTH, 4), 255, np.uint8))
    assert_shows(path, composed(WIDTH, HEIGHT, frames))
    assert inspect(path).frames == 3


def test_an_animation_announced_late_is_found(apng, frame, chunk, tmp_path):
    path = apng(tmp_path / "a.png", WIDTH, HEIGHT, [frame(patch(WIDTH, HEIGHT)) for _ in range(2)])
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk(b"tEXt", b"workflow\0" + b"x" * 9000) + data[33:])
    assert (inspect(path).format.name, inspect(path).frames) == ("apng", 2)
    assert decode(path).frames.shape == (2, HEIGHT, WIDTH, 3)


def gif_of(path, frames, delays=None):
    """Write a GIF by hand: 128 colors, codes of 8 bits with a reset before they would grow to 9."""
    levels = np.arange(127, dtype=np.uint8) * 2
    table = np.repeat(levels, 3).tobytes() + bytes(3)
    out = b"GIF89a" + WIDTH.to_bytes(2, "little") + HEIGHT.to_bytes(2, "little") + bytes((0xF6, 127, 0)) + table
    for number, each in enumerate(frames):
        height, width = each.pixels.shape[:2]
        dispose = {"keep": 1, "background": 2, "previous": 3}[each.dispose]
        delay = (each.milliseconds // 10 if delays is None else delays[number]).to_bytes(2, "little")
        out += b"!\xf9\x04" + bytes((dispose << 2 | 1,)) + delay + bytes((127, 0))
        out += b"," + b"".join(value.to_bytes(2, "little") for value in (each.x, each.y, width, height)) + b"\0\x07"
        indices = np.where(each.pixels[..., 3] == 255, each.pixels[..., 0] // 2, 127).astype(np.uint8).tobytes()
        codes = b"".join(b"\x80" + indices[at : at + 100] for at in range(0, len(indices), 100)) + b"\x81"
        for at in range(0, len(codes), 255):
            out += bytes((len(codes[at : at + 255]),)) + codes[at : at + 255]
        out += b"\0"
    path.write_bytes(out + b";")
    return path


def gray(pixels):
    """Colors that the GIFs of these tests can hold."""
    pixels = pixels.copy()
    pixels[..., :3] = (pixels[..., :1] // 2).clip(0, 126) * 2
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def test_gif_of_every_disposal(frame, composed, tmp_path):
    frames = [frame(gray(patch(WIDTH, HEIGHT)), blend=True)]
    for number, dispose in enumerate(("keep", "background", "previous", "keep", "previous", "background", "keep")):
        frames.append(frame(gray(patch(7, 5)), 2 * number, number, dispose, True))
    path = gif_of(tmp_path / "a.gif", frames)
    assert_shows(path, composed(WIDTH, HEIGHT, frames))
    assert_as_pillow(path)


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA", "L"])
def test_gif_as_pillow_writes_it(ffmpeg, tmp_path, disposal, mode):
    pictures = [Image.fromarray(patch(WIDTH, HEIGHT)).convert(mode) for _ in range(4)]
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[40, 80, 120, 160], disposal=disposal
    )
    if disposal == 3 and mode != "RGBA":
        assert_as_ffmpeg(ffmpeg, tmp_path / "a.gif")  # Pillow itself leaves an opaque first picture lying there
    else:
        assert_as_pillow(tmp_path / "a.gif")
    assert decode(tmp_path / "a.gif").fps == pytest.approx(10)


def test_an_opaque_gif_has_no_mask(frame, tmp_path):
    solid = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    solid[..., :3] = 80
    dot = gray(patch(5, 5))
    path = gif_of(tmp_path / "a.gif", [frame(solid), frame(dot, 3, 3, "keep", True)])
    assert decode(path).mask is None


def test_a_mask_that_begins_late_is_opaque_before(frame, tmp_path):
    solid = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    solid[..., :3] = 80
    path = gif_of(tmp_path / "a.gif", [frame(solid, dispose="background"), frame(solid[:3, :3])])
    decoded = decode(path)
    assert decoded.mask[0].max() == 0
    assert decoded.mask[1].mean() == pytest.approx(1 - 9 / (WIDTH * HEIGHT))


def test_a_frame_that_hangs_over_the_edge_is_cut(frame, tmp_path):
    solid = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    solid[..., :3] = 80
    path = gif_of(tmp_path / "a.gif", [frame(solid), frame(gray(patch(9, 9)), WIDTH - 4, HEIGHT - 4)])
    assert decode(path).frames.shape == (2, HEIGHT, WIDTH, 3)


def webp_of(path, frames):
    """Put lossless pictures into an animated WebP by hand, so that every flag is as the test says."""

    def chunk(name, data):
        return name + len(data).to_bytes(4, "little") + data + bytes(len(data) & 1)

    size = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    body = chunk(b"VP8X", bytes((0x12, 0, 0, 0)) + size)
    body += chunk(b"ANIM", bytes(6))
    for each in frames:
        height, width = each.pixels.shape[:2]
        still = io.BytesIO()
        Image.fromarray(each.pixels).save(still, format="WEBP", lossless=True, exact=True)
        values = (each.x // 2, each.y // 2, width - 1, height - 1, each.milliseconds)
        flags = (0 if each.blend else 2) | (each.dispose == "background")
        place = b"".join(value.to_bytes(3, "little") for value in values) + bytes((flags,))
        body += chunk(b"ANMF", place + still.getvalue()[12:])
    path.write_bytes(b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WEBP" + body)
    return path


@needs_webp
def test_webp_of_every_disposal_and_blend_mode(frame, composed, tmp_path):
    frames = [frame(patch(WIDTH, HEIGHT))]
    modes = itertools.product(("keep", "background"), (False, True))
    for number, (dispose, blend) in enumerate(list(modes) * 2):
        frames.append(frame(patch(7, 5), 2 * number, 2 * (number % 6), dispose, blend))
    path = webp_of(tmp_path / "a.webp", frames)
    assert_shows(path, composed(WIDTH, HEIGHT, frames))
    assert_as_pillow(path)
    assert (inspect(path).format.name, inspect(path).kind, inspect(path).frames) == ("webp", "animation", 9)


@needs_webp
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("loop", [0, 1, 5])
def test_webp_as_pillow_writes_it(tmp_path, mode, lossless, loop):
    pictures = [Image.fromarray(RANDOM.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)).convert(mode) for _ in range(4)]
    pictures[0].save(
        tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=50, lossless=lossless, loop=loop
    )
    decoded = assert_as_pillow(tmp_path / "a.webp")
    assert len(decoded.frames) == 4
    assert decoded.fps == pytest.approx(20)
    assert (decoded.mask is not None) is (mode == "RGBA")


@needs_webp
@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_that_only_could_be_transparent_has_no_mask(tmp_path, lossless):
    """Encoders set the flag of alpha for pictures that come with an alpha channel, whatever is in it."""
    pixels = RANDOM.integers(0, 256, (4, HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., 3] = 255
    pictures = [Image.fromarray(each) for each in pixels]
    path = tmp_path / "a.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], lossless=lossless)
    data = bytearray(path.read_bytes())
    data[data.index(b"VP8X") + 8] |= 0x10
    path.write_bytes(data)
    with Image.open(path) as picture:
        assert picture.mode == "RGBA"
    assert assert_as_pillow(path).mask is None
    assert inspect(path).has_alpha is False


@needs_webp
def test_a_webp_that_becomes_transparent_late_has_a_mask_from_then_on(frame, tmp_path):
    solid = np.full((HEIGHT, WIDTH, 4), 200, np.uint8)
    solid[..., 3] = 255
    clear = solid.copy()
    clear[3:9, 4:10, 3] = 77
    path = webp_of(tmp_path / "a.webp", [frame(solid), frame(solid // 2 + 128), frame(clear), frame(solid)])
    decoded = assert_as_pillow(path)
    assert [each.max() > 0 for each in decoded.mask] == [False, False, True, False]


@needs_avif
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_avif_sequence(tmp_path, mode):
    pictures = [Image.fromarray(patch(WIDTH, HEIGHT)).convert(mode) for _ in range(4)]
    pictures[0].save(tmp_path / "a.avif", save_all=True, append_images=pictures[1:], duration=[50, 100, 150, 100])
    decoded = assert_as_pillow(tmp_path / "a.avif")
    assert decoded.fps == pytest.approx(10)
    assert (inspect(tmp_path / "a.avif").kind, inspect(tmp_path / "a.avif").frames) == ("animation", 4)


@pytest.mark.parametrize("name", ["gif", "png", "webp"])
def test_unequal_durations_give_the_rate_over_all(tmp_path, name):
    if name == "webp" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    pictures = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue", "white", "black")]
    durations = [10, 500, 20, 70, 400]
    pictures[0].save(tmp_path / f"a.{name}", format=name, save_all=True, append_images=pictures[1:], duration=durations)
    info = inspect(tmp_path / f"a.{name}")
    assert info.duration == pytest.approx(1.0)
    assert info.fps == decode(tmp_path / f"a.{name}").fps == pytest.approx(5.0)


def test_a_frame_without_a_duration_lasts_a_tenth_of_a_second(frame, tmp_path):
    pixels = gray(patch(WIDTH, HEIGHT))
    path = gif_of(tmp_path / "a.gif", [frame(pixels)] * 4, delays=[0, 0, 30, 0])
    assert inspect(path).duration == pytest.approx(0.6)


def test_gif_durations_as_ffmpeg_has_them(ffmpeg, frame, tmp_path):
    path = gif_of(tmp_path / "a.gif", [frame(gray(patch(WIDTH, HEIGHT)))] * 5, delays=[10, 4, 6, 50, 10])
    raw = ffmpeg.run("-i", path, "-vsync", "passthrough", "-c", "copy", "-f", "framecrc", "-")
    durations = [int(line.split(b",")[3]) for line in raw.splitlines() if not line.startswith(b"#")]
    assert inspect(path).fps == pytest.approx(5 / (sum(durations) / 100))


@pytest.mark.parametrize("told", [2, 9])
def test_more_or_fewer_frames_than_told(apng, frame, composed, tmp_path, told):
    frames = [frame(patch(WIDTH, HEIGHT)) for _ in range(4)]
    path = apng(tmp_path / "a.png", WIDTH, HEIGHT, frames)
    data = bytearray(path.read_bytes())
    at = data.index(b"acTL") - 4
    announcement = b"acTL" + told.to_bytes(4, "big") + bytes(4)
    data[at + 4 : at + 20] = announcement + crc32(announcement).to_bytes(4, "big")
    path.write_bytes(data)
    assert_shows(path, composed(WIDTH, HEIGHT, frames)[: min(told, 4)])


def test_a_growing_gif_is_read_to_its_end(frame, tmp_path):
    path = gif_of(tmp_path / "a.gif", [frame(gray(patch(WIDTH, HEIGHT))) for _ in range(40)])
    told = []
    decoded = decode_picture(inspect(path), Limits(), lambda done, expected: told.append((done, expected)))
    assert told == [(number, 40) for number in range(1, 41)]
    fewer = decode_picture(replace(inspect(path), frames=3), Limits(), None)
    np.testing.assert_array_equal(fewer.frames, decoded.frames[:3])


def test_ffmpegs_own_animations(ffmpeg, tmp_path):
    kinds = [("a.png", "apng", ("-f", "apng")), ("b.gif", "gif", ()), ("c.webp", "libwebp_anim", ())]
    for name, codec, options in kinds:
        # libwebp_anim joins frames that look alike, so it gets a picture where all differ.
        source = "testsrc2" if codec == "libwebp_anim" else "mandelbrot"
        path = ffmpeg.make(tmp_path / name, codec, *options, source=source)
        decoded = assert_as_pillow(path)
        assert decoded.frames.shape == (7, 64, 96, 3)
        assert decoded.fps == pytest.approx(12, rel=0.05)
