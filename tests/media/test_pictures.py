"""Single images: exactly what Pillow makes of them, turned as they are meant, alpha as a mask."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from xalora_client.media.decoding import decode, inspect

RANDOM = np.random.default_rng(7)
NOISE = RANDOM.integers(0, 256, (23, 37, 4), np.uint8)


def expect(path, picture):
    """The file decodes to exactly the pixels of a Pillow image."""
    decoded = decode(path)
    rgba = np.asarray(picture.convert("RGBA"))
    colors = np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))[..., :3]
    np.testing.assert_array_equal(decoded.frames, colors[np.newaxis] / np.float32(255))
    assert decoded.frames.dtype == np.float32
    assert decoded.fps is None
    if picture.has_transparency_data:
        np.testing.assert_array_equal(decoded.mask, 1 - rgba[np.newaxis, ..., 3] / np.float32(255))
    else:
        assert decoded.mask is None
    info = inspect(path)
    assert (info.kind, info.frames, info.fps, info.duration) == ("image", 1, None, 0.0)
    assert (info.width, info.height) == picture.size
    assert info.has_alpha is picture.has_transparency_data
    assert info.remuxable is info.has_audio is False


def png_kinds():
    rgba = Image.fromarray(NOISE)
    rgb = rgba.convert("RGB")
    palette = rgb.quantize(16)
    yield "rgb", rgb, {}
    yield "rgba", rgba, {}
    yield "gray", rgb.convert("L"), {}
    yield "gray-alpha", rgba.convert("LA"), {}
    yield "1-bit", rgb.convert("1"), {}
    yield "palette", palette, {}
    yield "palette-transparent", palette, {"transparency": 3}
    yield "palette-half-transparent", palette, {"transparency": bytes(range(0, 256, 16))}
    yield "rgb-transparent-color", rgb, {"transparency": tuple(int(each) for each in NOISE[0, 0, :3])}
    yield "gray-transparent-level", rgb.convert("L"), {"transparency": 77}
    yield "interlaced-name-lies.jpg", rgb, {"compress_level": 0}


@pytest.mark.parametrize(("name", "picture", "options"), list(png_kinds()), ids=lambda value: str(value)[:20])
def test_png(tmp_path, name, picture, options):
    picture.save(tmp_path / name, format="PNG", **options)
    with Image.open(tmp_path / name) as expected:
        expected.load()
        expect(tmp_path / name, expected)
    assert inspect(tmp_path / name).format.name == "png"


def test_png_of_16_bit_gray_keeps_its_bits(tmp_path):
    gray = RANDOM.integers(0, 65536, (9, 11), np.uint16)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    decoded = decode(tmp_path / "gray.png")
    expected = np.repeat((gray / np.float32(65535))[np.newaxis, ..., np.newaxis], 3, axis=3)
    np.testing.assert_array_equal(decoded.frames, expected.astype(np.float32))


@pytest.mark.parametrize("pixel_format", ["rgb48be", "rgba64be"])
def test_png_of_16_bit_colors(ffmpeg, tmp_path, pixel_format):
    path = ffmpeg.make(tmp_path / "deep.png", "png", "-pix_fmt", pixel_format, "-frames:v", "1", "-update", "1")
    with Image.open(path) as expected:
        expected.load()
        expect(path, expected)


@pytest.mark.parametrize("name", ["tiff", "bmp"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_tiff_and_bmp(tmp_path, name, mode):
    picture = Image.fromarray(np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)).convert(mode)
    picture.save(tmp_path / "a", name)
    assert inspect(tmp_path / "a").format.name == name
    np.testing.assert_array_equal(
        decode(tmp_path / "a").frames[0], np.asarray(picture.convert("RGB")) / np.float32(255)
    )


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (0x8001, np.uint16, 0x8001 / 65535),
        (40_000, np.int32, 40_000 / 65535),
        (0.25, np.float32, 0.25),
        (7.5, np.float32, 1),
    ],
)
def test_tiff_of_more_than_8_bits(tmp_path, value, kind, shown):
    Image.fromarray(np.full((5, 6), value, kind)).save(tmp_path / "a.tiff")
    np.testing.assert_allclose(decode(tmp_path / "a.tiff").frames, shown, atol=1e-5)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(tmp_path, mode):
    Image.fromarray(NOISE).convert("RGB").convert(mode).save(tmp_path / "a.png.bin", format="JPEG", quality=90)
    with Image.open(tmp_path / "a.png.bin") as expected:
        expected.load()
        expect(tmp_path / "a.png.bin", expected)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_rotation(tmp_path, name, turn):
    if name in ("webp", "avif") and not features.check(name):
        pytest.skip(f"this Pillow has no {name}")
    picture = Image.fromarray(NOISE).convert("RGB").resize((32, 20))
    exif = Image.Exif()
    exif[0x0112] = turn
    picture.save(tmp_path / "a", format=name, exif=exif)
    with Image.open(tmp_path / "a") as stored:
        expected = ImageOps.exif_transpose(stored)
    assert expected.size == ((32, 20) if turn < 5 else (20, 32))
    expect(tmp_path / "a", expected)


def test_exif_behind_the_pixels(tmp_path, chunk):
    Image.new("RGB", (6, 4), "red").save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    data = (tmp_path / "a.png").read_bytes()
    late = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "a.png").write_bytes(data[:-12] + late + data[-12:])
    assert (inspect(tmp_path / "a.png").width, inspect(tmp_path / "a.png").height) == (4, 6)
    assert decode(tmp_path / "a.png").frames.shape == (1, 6, 4, 3)


@pytest.mark.parametrize("name", ["webp", "avif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_still_webp_and_avif(tmp_path, name, mode, lossless):
    if not features.check(name):
        pytest.skip(f"this Pillow has no {name}")
    options = {"lossless": lossless} if name == "webp" else {"quality": 100 if lossless else 60}
    Image.fromarray(NOISE).convert(mode).save(tmp_path / "a", format=name, exact=True, **options)
    with Image.open(tmp_path / "a") as expected:
        expected.load()
        expect(tmp_path / "a", expected)
    assert inspect(tmp_path / "a").format.name == name


def test_a_still_gif(tmp_path):
    Image.fromarray(NOISE).convert("RGB").quantize(64).save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as expected:
        expected.load()
        expect(tmp_path / "a.gif", expected)


def test_transparent_pixels_keep_their_color(tmp_path):
    hidden = np.zeros((4, 4, 4), np.uint8)
    hidden[..., 0] = 200
    Image.fromarray(hidden).save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png")
    assert decoded.frames[..., 0].min() == np.float32(200 / 255)
    assert decoded.mask.min() == 1


def test_a_jpeg_of_several_pictures_shows_the_first(tmp_path):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    decoded = decode(tmp_path / "a.jpg")
    assert decoded.frames.shape == (1, 8, 8, 3)
    assert decoded.frames[..., 0].min() > 0.9


def test_a_path_may_be_text_and_relative(tmp_path, monkeypatch):
    Image.new("RGB", (3, 2), "white").save(tmp_path / "a#b%20c.png")
    monkeypatch.chdir(tmp_path)
    assert decode("a#b%20c.png").frames.shape == (1, 2, 3, 3)
    assert inspect("a#b%20c.png").path == tmp_path / "a#b%20c.png"


def test_a_video_with_special_characters_in_its_name(clip, tmp_path):
    odd = tmp_path / "a%03d #?;ü .mp4"
    odd.write_bytes(clip.read_bytes())
    assert inspect(odd).frames == 7


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "nothing.mp4")
