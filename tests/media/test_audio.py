"""The sound of a video is what the ffmpeg program decodes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.support.processes import ROOT
from xalora_client.errors import DecodeError, MediaTooLargeError
from xalora_client.media.decoding import Limits, decode_sound
from xalora_client.media.decoding import limits as memory


@pytest.mark.parametrize(
    ("codec", "name"), [("aac", "a.mp4"), ("libopus", "b.webm"), ("pcm_s16le", "c.mov"), ("flac", "d.mkv")]
)
def test_samples_are_ffmpegs(ffmpeg, tmp_path, codec, name):
    if f" {codec} " not in ffmpeg.run("-encoders").decode():
        pytest.skip(f"this ffmpeg has no encoder {codec}")
    inputs = ("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=10", "-f", "lavfi", "-i", "aevalsrc=sin(900*t)|cos(500*t)")
    video = "libvpx-vp9" if name.endswith("webm") else "libx264"
    ffmpeg.run(*inputs, "-t", "0.5", "-c:v", video, "-pix_fmt", "yuv420p", "-c:a", codec, tmp_path / name)
    raw = ffmpeg.run("-i", tmp_path / name, "-map", "0:a", "-f", "f32le", "-")
    expected = np.frombuffer(raw, np.float32).reshape(-1, 2).T
    sound = decode_sound(tmp_path / name)
    assert sound.samples.dtype == np.float32
    assert sound.rate in (44100, 48000)
    count = min(sound.samples.shape[1], expected.shape[1])
    assert count >= 0.48 * sound.rate
    best = min(np.abs(sound.samples[:, :count] - expected[:, :count]).max(), 1)
    assert best < 1e-3


@pytest.mark.parametrize("channels", [1, 6, 8])
def test_any_number_of_channels(ffmpeg, tmp_path, channels):
    """In a process of its own: one PyAV reads beyond the planes of eight channels."""
    tones = "|".join(f"sin({300 * (number + 1)}*t)" for number in range(channels))
    layout = {1: "mono", 6: "5.1", 8: "7.1"}[channels]
    inputs = ("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=10", "-f", "lavfi", "-i", f"aevalsrc={tones}:c={layout}")
    ffmpeg.run(*inputs, "-t", "0.5", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "flac", tmp_path / "a.mkv")
    raw = ffmpeg.run("-i", tmp_path / "a.mkv", "-map", "0:a", "-f", "f32le", "-")
    script = (
        "import sys, numpy; from xalora_client.media.decoding import decode_sound;"
        "numpy.save(sys.argv[2], decode_sound(sys.argv[1]).samples)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "a.mkv", tmp_path / "a.npy"], check=True, cwd=ROOT)
    samples = np.load(tmp_path / "a.npy")
    expected = np.frombuffer(raw, np.float32).reshape(-1, channels).T
    assert samples.shape == expected.shape
    assert np.abs(samples - expected).max() < 1e-3


def test_sound_that_is_longer_than_its_picture(ffmpeg, tmp_path, monkeypatch):
    inputs = ("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=10:duration=1", "-f", "lavfi", "-i", "sine=duration=60")
    ffmpeg.run(*inputs, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "flac", tmp_path / "a.mkv")
    with pytest.raises(MediaTooLargeError, match=r"The sound of a\.mkv plays for .*max_duration_seconds = 30"):
        decode_sound(tmp_path / "a.mkv", Limits(max_duration_seconds=30))
    free = memory.FreeMemory(memory.HEADROOM + 4_000_000, "this test")
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    with pytest.raises(MediaTooLargeError, match=r"The sound of a\.mkv needs"):
        decode_sound(tmp_path / "a.mkv")


def test_no_sound(ffmpeg, tmp_path):
    assert decode_sound(ffmpeg.make(tmp_path / "a.mkv", "libx264")) is None
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert decode_sound(tmp_path / "a.png") is None


def test_sound_that_does_not_fit_into_memory(clip, monkeypatch):
    monkeypatch.setattr(memory, "HEADROOM", memory.free_memory().size * 2)
    with pytest.raises(MediaTooLargeError, match=r"The sound of clip\.mp4 needs"):
        decode_sound(clip)


def test_a_web_page_has_no_sound(tmp_path):
    (tmp_path / "a.mp4").write_text("<html>")
    with pytest.raises(DecodeError, match="web page"):
        decode_sound(tmp_path / "a.mp4")
