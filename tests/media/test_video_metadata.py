"""What video files say of themselves: fields, matrices, EXIF, alpha. It is understood, or does no harm."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

from xalora_client.media.decoding import decode, inspect

INTERLACED = [
    ("h264.mp4", "libx264", "-pix_fmt", "yuv420p", "-flags", "+ildct+ilme", "-x264opts", "tff=1"),
    ("mpeg2.mkv", "mpeg2video", "-pix_fmt", "yuv420p", "-flags", "+ildct+ilme", "-vf", "setfield=bff"),
    ("ffv1.mkv", "ffv1", "-pix_fmt", "yuv420p", "-vf", "setfield=tff"),
    ("ffv1-10.mkv", "ffv1", "-pix_fmt", "yuv420p10le", "-vf", "setfield=bff"),
]


@pytest.mark.parametrize("case", INTERLACED, ids=lambda case: case[0])
def test_interlaced_pixels_are_ffmpegs(ffmpeg, tmp_path, case):
    name, codec, *options = case
    path = ffmpeg.make(tmp_path / name, codec, *options)
    with av.open(path) as container:
        assert next(container.decode(video=0)).interlaced_frame
    np.testing.assert_array_equal(np.rint(decode(path).frames * 255), ffmpeg.rgb24(path, 96, 64))


CONSTANT_LUMINANCE = [
    ("h264.mp4", "libx264", "-pix_fmt", "yuv420p", "-colorspace", "bt2020c"),
    ("hevc.mkv", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=0:colormatrix=bt2020c"),
]


@pytest.mark.parametrize("case", CONSTANT_LUMINANCE, ids=lambda case: case[0])
def test_constant_luminance_pixels_are_ffmpegs(ffmpeg, tmp_path, case):
    name, codec, *options = case
    path = ffmpeg.make(tmp_path / name, codec, *options)
    np.testing.assert_array_equal(np.rint(decode(path).frames * 255), ffmpeg.rgb24(path, 96, 64))


@pytest.mark.parametrize("container", ["mov", "mkv"])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_pictures_with_exif_as_frames_of_a_video(ffmpeg, tmp_path, kind, container):
    """Newer FFmpegs hand EXIF out beside the frame, as side data of a kind that PyAV has no name for."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 3, "turned by half"
    shades = np.linspace(0, 255, 48 * 64 * 3).astype(np.uint8).reshape(48, 64, 3)
    for number in range(3):
        Image.fromarray(shades).save(tmp_path / f"{number}.{kind}", exif=exif, quality=100)
    path = tmp_path / f"a.{container}"
    ffmpeg.run("-framerate", "5", "-i", tmp_path / f"%d.{kind}", "-c", "copy", path)
    assert inspect(path).frames == 3
    frames = decode(path).frames
    assert frames.shape == (3, 48, 64, 3)
    upright = shades / np.float32(255)
    assert min(np.abs(frames - upright).max(), np.abs(frames - upright[::-1, ::-1]).max()) < 0.05


@pytest.mark.parametrize(("name", "codec"), [("vp9.webm", "libvpx-vp9"), ("vp8.mkv", "libvpx")])
def test_alpha_survives_a_remux(ffmpeg, tmp_path, name, codec):
    """FFmpeg writes the tag of a copied stream in capitals."""
    first, second = tmp_path / f"first-{name}", tmp_path / name
    picture = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=12", "-f", "lavfi", "-i", "mandelbrot=size=96x64:rate=12")
    merged = ("-filter_complex", "[1]format=gray[a];[0][a]alphamerge", "-frames:v", "4", "-pix_fmt", "yuva420p")
    ffmpeg.run(*picture, *merged, "-c:v", codec, "-auto-alt-ref", "0", first)
    ffmpeg.run("-i", first, "-c", "copy", second)
    with av.open(second) as container:
        assert "ALPHA_MODE" in container.streams.video[0].metadata
    assert inspect(second).has_alpha
    np.testing.assert_array_equal(decode(second).mask, decode(first).mask)
    assert len(np.unique(decode(second).mask)) > 50
