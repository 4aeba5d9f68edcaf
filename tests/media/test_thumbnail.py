"""Small pictures of media, for lists."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from xalora_client import DecodeError, MediaTooLargeError, thumbnail
from xalora_client.media.decoding import Limits


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "JPEG"
    return picture.convert("RGB")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
@pytest.mark.parametrize(("size", "small"), [((400, 200), (192, 96)), ((30, 60), (30, 60))])
def test_a_picture_becomes_small_and_keeps_its_shape(tmp_path, suffix, size, small):
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", size, (200, 40, 40)).save(path)
    picture = opened(thumbnail(path))
    assert picture.size == small
    assert max(abs(a - b) for a, b in zip(picture.getpixel((5, 5)), (200, 40, 40), strict=True)) < 12


def test_of_an_animation_and_a_video_it_is_the_first_frame(tmp_path, video):
    frames = [Image.new("RGB", (64, 64), color) for color in ((0, 0, 250), (250, 0, 0))]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    red, _, blue = opened(thumbnail(tmp_path / "moving.gif")).getpixel((32, 32))
    assert blue > 200 > red
    assert opened(thumbnail(video)).size == (64, 48)


def test_what_is_no_media_is_refused(tmp_path):
    (tmp_path / "page.mp4").write_bytes(b"<html>not found</html>")
    with pytest.raises(DecodeError):
        thumbnail(tmp_path / "page.mp4")


def test_what_passes_the_limits_is_refused(tmp_path):
    Image.new("RGB", (400, 200)).save(tmp_path / "large.png")
    with pytest.raises(MediaTooLargeError):
        thumbnail(tmp_path / "large.png", Limits(max_pixels=1000))


@pytest.fixture
def video(tmp_path):
    """Two small frames as mp4."""
    import av
    import numpy as np

    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
