"""Every limit is an error that names the limit and the value, and free memory is asked before it is taken."""

from __future__ import annotations

import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

from xalora_client.errors import InvalidParameterError, MediaTooLargeError
from xalora_client.media.decoding import (
    Limits,
    decode,
    free_memory,
    inspect,
    memory,
    require_memory,
)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_bytes=1000), r"clip\.mp4 has [\d,]+ bytes, and the limit is max_bytes = 1,000"),
        (Limits(max_pixels=6000), r"96 x 64 = 6,144 pixels a frame, and the limit is max_pixels = 6,000"),
        (Limits(max_frames=6), r"7 frames or more, and the limit is max_frames = 6"),
        (Limits(max_duration_seconds=0.5), r"plays for 0\.6 s, and the limit is max_duration_seconds = 0\.5"),
    ],
    ids=["bytes", "pixels", "frames", "duration"],
)
def test_each_limit_of_a_video(clip, limits, words):
    for question in (inspect, decode):
        with pytest.raises(MediaTooLargeError, match=words) as caught:
            question(clip, limits)
        assert "Raise that limit" in str(caught.value)
    assert clip.exists()


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_bytes=10), "max_bytes = 10"),
        (Limits(max_pixels=24), "5 x 5 = 25 pixels a frame, and the limit is max_pixels = 24"),
        (Limits(max_frames=2), "3 frames or more, and the limit is max_frames = 2"),
        (Limits(max_duration_seconds=1), "plays for 1.5 s"),
    ],
    ids=["bytes", "pixels", "frames", "duration"],
)
def test_each_limit_of_an_animation(tmp_path, limits, words):
    pictures = [Image.new("RGB", (5, 5), color) for color in ("red", "green", "blue")]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=500)
    with pytest.raises(MediaTooLargeError, match=words):
        inspect(tmp_path / "a.gif", limits)


def test_a_file_at_its_limits_passes(clip):
    info = inspect(clip)
    exact = Limits(max_bytes=info.size, max_pixels=96 * 64, max_frames=7, max_duration_seconds=max(info.duration, 0.01))
    assert decode(clip, exact).frames.shape == (7, 64, 96, 3)


@pytest.mark.parametrize("name", ["max_bytes", "max_pixels", "max_frames", "max_duration_seconds"])
def test_a_limit_has_to_be_positive(name):
    with pytest.raises(InvalidParameterError, match=name):
        Limits(**{name: 0})


def test_a_limit_above_pillows_own_is_honored(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(tmp_path / "a.png").frames.shape == (1, 100, 100, 3)


def test_memory_that_is_not_there_is_refused_with_both_numbers():
    free = free_memory()
    assert free is not None
    assert free.size > 0
    frames = free.size // (1920 * 1080 * 12) + 1
    with pytest.raises(MediaTooLargeError, match=r"big\.mp4 needs") as caught:
        require_memory(frames, 1920, 1080, 3, "big.mp4")
    text = str(caught.value)
    assert f"{frames * 1920 * 1080 * 12:,} bytes" in text
    assert re.search(r"\([\d,]+ bytes\) are free \(by .+, less 0.25 GiB", text)
    assert "fewer or smaller frames" in text
    require_memory(1, 64, 64, 3, "small.mp4")


def test_decoding_refuses_before_it_takes_memory(tmp_path, monkeypatch):
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr(memory, "HEADROOM", free_memory().size)
    with pytest.raises(MediaTooLargeError, match="of memory as 1 frames of 64 x 64"):
        decode(tmp_path / "a.png")


def test_free_memory_of_the_system(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:    64 kB\n")
    assert memory._from_meminfo(tmp_path / "meminfo").size == 65536
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\n")
    assert memory._from_meminfo(tmp_path / "meminfo") is None
    assert memory._from_meminfo(tmp_path / "nothing") is None


def test_free_memory_of_a_container(tmp_path):
    assert memory._from_cgroup(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    assert memory._from_cgroup(tmp_path) == memory.FreeMemory(400, "the container's limit")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._from_cgroup(tmp_path) is None


def test_free_memory_without_any_source_lets_through(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "nothing")
    monkeypatch.setattr(memory, "_from_psutil", lambda: None)
    assert free_memory() is None or free_memory().source == "the system"
    monkeypatch.delattr(memory.os, "sysconf")
    assert free_memory() is None
    require_memory(10**9, 10**4, 10**4, 3, "unknown.mp4")


def test_psutil_is_used_where_it_is_installed(monkeypatch):
    found = ModuleType("psutil")
    found.virtual_memory = lambda: SimpleNamespace(available=12345)
    monkeypatch.setitem(sys.modules, "psutil", found)
    assert memory._from_psutil() == memory.FreeMemory(12345, "psutil")
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory._from_psutil() is None
