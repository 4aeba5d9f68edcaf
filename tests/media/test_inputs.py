"""What is sent of an input picture: as it is, put right and said, or refused in words before the create."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from xalora_client import InvalidParameterError
from xalora_client.media.inputs import input_file, sendable

PICTURE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8))


def written(kind, picture=PICTURE, **options):
    with io.BytesIO() as file:
        picture.save(file, kind, **options)
        return file.getvalue()


def sent(tmp_path, content, single=True):
    (tmp_path / "photo").write_bytes(content)
    image = input_file(tmp_path / "photo")
    return image.media_type, sendable(image.content(), "photo", single=single)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "MPO"])
def test_what_every_miner_reads_is_sent_as_it_is(tmp_path, kind):
    picture = PICTURE.convert("P") if kind == "GIF" else PICTURE
    content = written(kind, picture, **({"save_all": True, "append_images": [PICTURE]} if kind == "MPO" else {}))
    media_type = {"MPO": "image/jpeg"}.get(kind, f"image/{kind.lower()}")
    assert sent(tmp_path, content) == (media_type, content)


CONVERTED = {
    "bmp": written("BMP"),
    "tiff": written("TIFF"),
    "packed tiff": written("TIFF", compression="tiff_lzw"),
    "tga": written("TGA"),
    "ppm": written("PPM"),
    "ico": written("ICO", PICTURE.resize((32, 32))),
    "cmyk": written("TIFF", PICTURE.convert("CMYK")),
    "16 bits": written("TIFF", Image.fromarray(np.full((24, 32), 0x80FF, np.uint16))),
    "transparent": written("TIFF", PICTURE.convert("RGBA")),
    "turned": written("TIFF", PICTURE.rotate(90, expand=True), tiffinfo={274: 6}),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_what_pillow_reads_is_sent_as_png(tmp_path, caplog, name):
    media_type, content = sent(tmp_path, CONVERTED[name])
    assert media_type == "image/png"
    assert "is sent as PNG" in caplog.text
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture, Image.open(tmp_path / "photo") as original:
        assert picture.size == original.size
        if name == "16 bits":
            assert picture.getpixel((0, 0)) == 0x80
        elif name != "cmyk":
            np.testing.assert_array_equal(np.asarray(picture.convert("RGBA")), np.asarray(original.convert("RGBA")))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_sent_as_png(tmp_path):
    media_type, content = sent(tmp_path, written("AVIF"))
    assert (media_type, content[:4]) == ("image/png", b"\x89PNG")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"v/1\1\2\0\0\0" + bytes(100), "EXR"),
        (b"\xff\x0a" + bytes(100), "JXL"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomiso2", "MP4"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "XML"),
        (b"", "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_format_of_the_rest_is_named(tmp_path, content, name):
    for look in (lambda: sent(tmp_path, content), lambda: sendable(content, "photo", single=True)):
        with pytest.raises(InvalidParameterError, match=rf"photo.*{name}"):
            look()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_what_is_cut_off_is_refused(kind, share):
    content = written(kind, PICTURE.resize((320, 240)))
    with pytest.raises(InvalidParameterError, match="photo"):
        sendable(content[: int(len(content) * share)], "photo", single=False)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_is_cut_off_is_refused_although_another_pack_lets_it_through(monkeypatch, kind):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = written(kind)
    with pytest.raises(InvalidParameterError, match="photo"):
        sendable(content[: len(content) // 2], "photo", single=False)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF"])
def test_an_animation_is_not_sent_where_one_picture_comes_back(kind):
    content = written(kind, save_all=True, append_images=[PICTURE.rotate(180)])
    with pytest.raises(InvalidParameterError, match="animation of 2"):
        sendable(content, "photo", single=True)
    if kind != "TIFF":
        assert sendable(content, "photo", single=False) is content


@pytest.mark.parametrize("announced", [2, 3, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("has", [1, 2])
def test_what_counts_is_how_many_pictures_there_are(announced, has):
    content = written("PNG", save_all=True, append_images=[PICTURE.rotate(180)])
    start = content.index(b"acTL")
    control = b"acTL" + struct.pack(">II", announced, 0)
    content = content[:start] + control + struct.pack(">I", zlib.crc32(control)) + content[start + 16 :]
    if has == 1:
        second = content.index(b"fcTL", content.index(b"IDAT")) - 4
        content = content[:second] + content[content.index(b"IEND") - 4 :]
        with Image.open(io.BytesIO(sendable(content, "photo", single=True))) as picture:
            assert np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(PICTURE))
    elif announced < 2**31:  # Above it, others take it for one picture.
        with pytest.raises(InvalidParameterError, match="animation of 2"):
            sendable(content, "photo", single=True)


ODD = {
    "png profile": written("PNG", icc_profile=np.random.default_rng(1).bytes(3_000_000)),
    "png exif": written("PNG", exif=b"noise that is no TIFF"),
    "webp exif": written("WEBP", lossless=True, exif=b"noise that is no TIFF"),
}


@pytest.mark.parametrize("name", ODD)
def test_metadata_that_stops_comfyui_is_left_out(caplog, name):
    content = sendable(ODD[name], "photo", single=True)
    assert "photo" in caplog.text
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        assert not picture.getexif()
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.asarray(PICTURE))
