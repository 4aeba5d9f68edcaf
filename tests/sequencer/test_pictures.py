"""Pictures are judged by every header that a library may believe, and nothing is decoded."""

from __future__ import annotations

import io
import time
from contextlib import suppress

import pytest
from PIL import Image

from tests.support.bombs import BOMBS, FRAME, apng, gif, jpeg, png_header, png_of, webp
from tests.support.pictures import encoded, png
from xalora_client.sequencer import pictures
from xalora_client.sequencer.pictures import ImageError, TooManyPixelsError, check_picture

SMALL = Image.new("RGB", (8, 8))


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused(content):
    with pytest.raises(TooManyPixelsError, match=r"too large: it has [\d,]+ (x|frames)"):
        check_picture(content)


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("GIF", "gif")])
@pytest.mark.parametrize("frames", [1, 3])
def test_real_pictures_pass(kind, mime, frames):
    others = [Image.new("RGB", (80, 50), (number * 40, 9, 9)) for number in range(frames)]
    more = {"save_all": True, "append_images": others[1:]} if frames > 1 and kind != "JPEG" else {}
    expected = "image/apng" if kind == "PNG" and frames > 1 else f"image/{mime}"
    assert check_picture(encoded(others[0], kind, **more)) == expected


@pytest.mark.parametrize(
    "content",
    [
        png_of(png_header(8192, 8192)),
        jpeg(8064, 6048, begin=b"\xff\xe1\0\x60Exif" + jpeg(160, 120), end=jpeg(1920, 1440)),
        gif((480, 270), *[(0, 0, 480, 270)] * 1000),
        webp(1920, 1080, FRAME * 129),
        apng(1024, 200),
    ],
    ids=["png", "a phone's jpeg", "gif", "webp", "apng"],
)
def test_what_people_have_passes(content):
    assert check_picture(content).startswith("image/")


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO", "PPM", "JPEG2000", "TGA", "AVIF", "MPO"])
def test_of_other_formats_none_passes_unseen(kind):
    content = io.BytesIO()
    try:
        SMALL.save(content, kind)
    except (KeyError, OSError):
        pytest.skip("this Pillow does not write it")
    if kind == "MPO":  # It is a JPEG.
        assert check_picture(content.getvalue()) == "image/jpeg"
        return
    with pytest.raises(ImageError, match="no PNG, JPEG, WebP or GIF"):
        check_picture(content.getvalue())


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"<html>secret words</html>", b"GIF89a", png()[:10]])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(ImageError, match="cannot be decoded") as caught:
        check_picture(content)
    assert "secret" not in str(caught.value)


SLOW = {
    "blocks of a byte": gif((1, 1), (0, 0, 1, 1))[:-1] + b"!\xfe" + b"\x01\x01" * 30_000_000,
    "bytes between blocks": gif((1, 1), (0, 0, 1, 1))[:-1] + b"\x01" * 60_000_000,
    "empty blocks": gif((1, 1), (0, 0, 1, 1))[:-1] + b"!\xfe\0" * 20_000_000,
    "headers without a size": png_of(png_header(1, 1)) + b"IHDR" * 15_000_000,
    "marks": webp(1, 1, b"VP8L" * 15_000_000),
    "half headers": b"\xff\xd8\xff" + b"\xff\xc0\0\x11" * 15_000_000,
}


@pytest.mark.parametrize("content", SLOW.values(), ids=SLOW)
def test_a_file_made_to_take_long_does_not(content):
    begun = time.perf_counter()
    with suppress(ImageError):
        check_picture(content)
    assert time.perf_counter() - begun < 4


def test_the_limits_are_what_the_readme_says():
    assert (pictures.MOST_PIXELS, pictures.MOST_PIXELS_IN_ALL) == (8192 * 8192, 2**28)
