"""Video pixels are the ones the ffmpeg program decodes, for every codec, depth, range and matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xalora_client.media.decoding import decode, inspect

X265 = ("-x265-params", "log-level=0")
BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
FULL = ("-vf", "scale=out_range=full", "-color_range", "pc")

CASES = [
    ("h264.mp4", "libx264", "-pix_fmt", "yuv420p"),
    ("h264_bt709.mp4", "libx264", "-pix_fmt", "yuv420p", *BT709),
    ("h264_full.mp4", "libx264", "-pix_fmt", "yuvj420p"),
    ("h264_full_bt709.mov", "libx264", "-pix_fmt", "yuvj420p", *BT709),
    ("h264_422.mkv", "libx264", "-pix_fmt", "yuv422p"),
    ("h264_444.mp4", "libx264", "-pix_fmt", "yuv444p"),
    ("h264_rgb.mkv", "libx264rgb"),
    ("h264_gray.mkv", "libx264", "-pix_fmt", "gray"),
    ("h264_10bit.mp4", "libx264", "-pix_fmt", "yuv420p10le"),
    ("h264_10bit_full.mp4", "libx264", "-pix_fmt", "yuv420p10le", *FULL),
    ("hevc.mp4", "libx265", "-pix_fmt", "yuv420p", *X265),
    ("hevc_10bit.mp4", "libx265", "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1", *X265),
    ("hevc_10bit_bt709.mkv", "libx265", "-pix_fmt", "yuv420p10le", *X265[:1], "log-level=0:colormatrix=bt709"),
    ("hevc_bt2020.mkv", "libx265", "-pix_fmt", "yuv420p10le", *X265[:1], "log-level=0:colormatrix=bt2020nc"),
    ("hevc_12bit.mkv", "libx265", "-pix_fmt", "yuv422p12le", *X265),
    ("av1.mp4", "libaom-av1", "-cpu-used", "8", "-pix_fmt", "yuv420p"),
    ("av1_10bit.mkv", "libaom-av1", "-cpu-used", "8", "-pix_fmt", "yuv420p10le"),
    ("av1_full.webm", "libaom-av1", "-cpu-used", "8", "-pix_fmt", "yuv420p", *FULL),
    ("vp9.webm", "libvpx-vp9", "-pix_fmt", "yuv420p"),
    ("vp9_full.webm", "libvpx-vp9", "-pix_fmt", "yuv420p", *FULL),
    ("vp9_bt709.webm", "libvpx-vp9", "-pix_fmt", "yuv420p", *BT709),
    ("vp9_10bit.webm", "libvpx-vp9", "-pix_fmt", "yuv420p10le"),
    ("vp9_rgb.webm", "libvpx-vp9", "-pix_fmt", "gbrp"),
    ("vp9.mp4", "libvpx-vp9", "-pix_fmt", "yuv420p"),
    ("vp8.webm", "libvpx"),
    ("prores.mov", "prores_ks", "-profile:v", "3"),
    ("png.mov", "png"),
    ("raw.mov", "rawvideo", "-pix_fmt", "rgb24"),
    ("mpeg4.mp4", "mpeg4"),
]


def assert_same(path: Path, expected: np.ndarray) -> None:
    frames = decode(path).frames
    assert frames.dtype == np.float32
    assert frames.shape == expected.shape
    difference = np.abs(frames - expected / np.float32(255))
    assert difference.max() <= 1 / 255 + 1e-6
    assert difference.mean() <= 0.1 / 255


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_pixels_are_ffmpegs(ffmpeg, tmp_path, case):
    name, codec, *options = case
    path = ffmpeg.make(tmp_path / name, codec, *options)
    info = inspect(path)
    assert (info.format.name, info.kind, info.width, info.height) == (path.suffix[1:], "video", 96, 64)
    assert info.frames == 7
    assert info.fps == pytest.approx(12, rel=1e-3)
    assert_same(path, ffmpeg.rgb24(path, 96, 64))


@pytest.mark.parametrize("size", ["97x65", "97x64", "96x65", "33x17", "15x9", "2x2", "1x1"])
@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("odd.webm", "libvpx-vp9", "yuv420p"),
        ("odd10.webm", "libvpx-vp9", "yuv420p10le"),
        ("odd422.mkv", "ffv1", "yuv422p"),
        ("odd444.mkv", "ffv1", "yuv444p16le"),
        ("oddrgb.mov", "png", "rgb24"),
    ],
)
def test_odd_sizes(ffmpeg, tmp_path, size, name, codec, pixel_format):
    width, height = map(int, size.split("x"))
    scaled = ("-vf", f"scale={width}:{height}", "-pix_fmt", pixel_format)
    path = ffmpeg.make(tmp_path / name, codec, *scaled)
    assert_same(path, ffmpeg.rgb24(path, width, height))


def test_values_are_exactly_the_bytes_over_255(ffmpeg, tmp_path):
    values = np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "all.png")
    ffmpeg.run("-i", tmp_path / "all.png", "-c:v", "png", tmp_path / "all.mov")
    frames = decode(tmp_path / "all.mov").frames
    np.testing.assert_array_equal(frames[0], values.astype(np.float32) / np.float32(255))
