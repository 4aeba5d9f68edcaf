"""Every limit is an error that names the limit and the value, and free memory is asked before it is taken."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image, features

from tests.support.processes import ROOT
from xalora_client.errors import InvalidParameterError, MediaTooLargeError
from xalora_client.media.decoding import decode, inspect
from xalora_client.media.decoding import limits as memory
from xalora_client.media.decoding.limits import Limits, free_memory, require_memory


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
        assert "Ask for fewer or smaller frames" in str(caught.value)
        assert "Client(limits=...)" in str(caught.value)
    assert clip.exists()


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_bytes=10), "max_bytes = 10"),
        (Limits(max_pixels=24), "5 x 5 = 25 pixels a frame, and the limit is max_pixels = 24"),
        (Limits(max_frames=2), "3 frames or more, and the limit is max_frames = 2"),
        (Limits(max_animation_pixels=74), "3 frames of 5 x 5 = 75 pixels, and the limit is max_animation_pixels = 74"),
        (Limits(max_duration_seconds=1), "plays for 1.5 s"),
    ],
    ids=["bytes", "pixels", "frames", "animation", "duration"],
)
def test_each_limit_of_an_animation(tmp_path, limits, words):
    pictures = [Image.new("RGB", (5, 5), color) for color in ("red", "green", "blue")]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=500)
    with pytest.raises(MediaTooLargeError, match=words):
        inspect(tmp_path / "a.gif", limits)


def test_the_limit_of_an_animation_is_not_one_of_a_picture_or_video(clip, tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "a.gif")
    assert inspect(tmp_path / "a.gif", Limits(max_animation_pixels=24)).frames == 1
    assert inspect(clip, Limits(max_animation_pixels=24)).frames == 7


def test_a_file_at_its_limits_passes(clip):
    info = inspect(clip)
    exact = Limits(max_bytes=info.size, max_pixels=96 * 64, max_frames=7, max_duration_seconds=max(info.duration, 0.01))
    assert decode(clip, exact).frames.shape == (7, 64, 96, 3)


@pytest.mark.parametrize("name", [each.name for each in fields(Limits)])
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
    monkeypatch.setattr(memory, "HEADROOM", 2**60)  # More than is free, however much other tests just freed.
    with pytest.raises(MediaTooLargeError, match="of memory as 1 frames of 64 x 64"):
        decode(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["jpeg", "png", "apng", "gif", "webp", "webp-animation", "avif"])
def test_what_a_decoder_takes_for_itself_is_refused_before_it_is_taken(tmp_path, monkeypatch, name):
    """A file of a few hundred bytes: its pictures are large, and decoders hold them several times over."""
    kind = name.removesuffix("-animation").replace("apng", "png")
    if kind in ("webp", "avif") and not features.check(kind):
        pytest.skip(f"this Pillow has no {kind}")
    first, second = (Image.new("RGB", (4200, 4200), color) for color in ("red", "blue"))
    many = {"save_all": True, "append_images": [second]} if name in ("apng", "gif", "webp-animation") else {}
    first.save(tmp_path / "a", format=kind, **many)
    free = memory.FreeMemory(memory.HEADROOM + 200 * 2**20, "this test")
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    info = inspect(tmp_path / "a")
    assert (info.width, info.height, info.frames) == (4200, 4200, 2 if many else 1)
    with pytest.raises(MediaTooLargeError, match=r"a needs .* of memory as . frames of 4200 x 4200"):
        decode(tmp_path / "a", progress=pytest.fail)


def test_what_a_video_decoder_takes_for_itself_is_refused_before_it_is_taken(ffmpeg, tmp_path, monkeypatch):
    source = ("-f", "lavfi", "-i", "color=size=5000x5000:rate=1", "-frames:v", "1")
    ffmpeg.run(*source, "-c:v", "mpeg4", "-pix_fmt", "yuv420p", tmp_path / "a.mp4")
    free = memory.FreeMemory(memory.HEADROOM + 200 * 2**20, "this test")
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    info = inspect(tmp_path / "a.mp4")
    assert (info.width, info.height, info.frames) == (5000, 5000, 1)
    with pytest.raises(MediaTooLargeError, match=r"a\.mp4 needs .* of memory to decode pictures of 5000 x 5000"):
        decode(tmp_path / "a.mp4")


def test_the_decoders_memory_counts_beside_the_frames(clip, monkeypatch):
    frames = 7 * 96 * 64 * 3 * 4
    monkeypatch.setattr(memory, "HEADROOM", 0)
    monkeypatch.setattr(memory, "free_memory", lambda: memory.FreeMemory(frames + 50_000, "this test"))
    with pytest.raises(MediaTooLargeError, match="clip"):
        decode(clip)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read where Linux says it")
def test_a_small_webp_that_claims_much_is_refused_without_its_memory(tmp_path):
    """Within ``max_pixels``, but more than is free: Pillow's decoder takes its canvases as it opens the file."""
    if not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    data = bytearray((tmp_path / "a.webp").read_bytes())
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = (16382).to_bytes(3, "little") + (8190).to_bytes(3, "little")
    (tmp_path / "a.webp").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, tmp_path / "a.webp"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 64 * 2**20


REFUSED = """
import re, sys
from pathlib import Path
from xalora_client.errors import MediaTooLargeError
from xalora_client.media.decoding import decode, inspect, thumbnail
from xalora_client.media.decoding import limits as memory
status = lambda name: 1024 * int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
memory.free_memory = lambda: memory.FreeMemory(2**30, "this test")
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
inspect(sys.argv[1])
for question in (decode, thumbnail):
    try:
        question(sys.argv[1])
    except MediaTooLargeError as error:
        assert "16383 x 8191" in str(error), error
    else:
        raise AssertionError("not refused")
print(status("VmHWM") - before)
"""


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


def test_without_any_source_as_much_is_taken_as_most_machines_have(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "nothing")
    monkeypatch.setattr(memory, "_from_psutil", lambda: None)
    require_memory(1, 16_128, 12_096, 3, "a photo enlarged four times")
    with pytest.raises(MediaTooLargeError, match=r"8\.00 GiB|7\.75 GiB"):
        require_memory(10**9, 10**4, 10**4, 3, "unknown.mp4")


def test_psutil_is_used_where_it_is_installed(monkeypatch):
    found = ModuleType("psutil")
    found.virtual_memory = lambda: SimpleNamespace(available=12345)
    monkeypatch.setitem(sys.modules, "psutil", found)
    assert memory._from_psutil() == memory.FreeMemory(12345, "psutil")
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory._from_psutil() is None
