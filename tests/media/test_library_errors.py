"""What a library raises for a file is an error of that file; what is no fault of the file stays what it is."""

from __future__ import annotations

import resource
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.support.processes import ROOT
from xalora_client.errors import DecodeError, MediaTooLargeError
from xalora_client.media.decoding import decode, decode_sound, inspect, video_file
from xalora_client.media.decoding.frames import Pixels

MISTAKES = [AttributeError, TypeError, KeyError, AssertionError, ValueError, IndexError, RuntimeError, MemoryError]


@pytest.fixture
def files(clip, tmp_path):
    """One of each way to decode."""
    pictures = [Image.new("RGB", (8, 8), color) for color in ("red", "green")]
    many = {"save_all": True, "append_images": pictures[1:]}
    for name, options in (("a.jpg", {}), ("a.png", {}), ("b.png", many), ("a.gif", many), ("a.webp", many)):
        pictures[0].save(tmp_path / name, **options)
    return [*sorted(tmp_path.glob("?.*")), clip]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda kind: kind.__name__)
def test_our_own_mistakes_are_no_decode_errors(files, monkeypatch, mistake):
    def fault(*_):
        raise mistake("ours")

    monkeypatch.setattr(Pixels, "write", fault)
    for path in files:
        with pytest.raises(mistake) as caught:
            decode(path)
        assert not isinstance(caught.value, DecodeError), path


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda kind: kind.__name__)
def test_our_own_mistakes_while_looking_at_a_video_are_no_decode_errors(clip, monkeypatch, mistake):
    def fault(*_):
        raise mistake("ours")

    monkeypatch.setattr(video_file, "from_display_matrix", fault)
    monkeypatch.setattr(video_file.Timing, "add", fault)
    with pytest.raises(mistake) as caught:
        inspect(clip)
    assert not isinstance(caught.value, DecodeError)


@pytest.mark.parametrize(
    "raised", [AttributeError, TypeError, KeyError, AssertionError, OSError, SyntaxError, ValueError]
)
def test_whatever_pillow_raises_is_a_decode_error(files, monkeypatch, raised):
    def damaged(self):
        raise raised("odd")

    monkeypatch.setattr(ImageFile.ImageFile, "load", damaged)
    for path in files:
        if path.suffix in (".jpg", ".png", ".webp"):
            with pytest.raises(DecodeError, match=r"damaged .*odd"):
                inspect(path)


def test_memory_that_a_decoder_does_not_get_is_no_decode_error(files, monkeypatch):
    def refused(self):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", refused)
    for path in files:
        if path.suffix in (".jpg", ".png", ".webp"):
            assert inspect(path).width == 8
            with pytest.raises(MediaTooLargeError, match="the decoder got no memory"):
                decode(path)


def test_memory_that_ffmpeg_does_not_get_is_no_decode_error(clip, monkeypatch):
    def refused(*_, **__):
        raise av.error.MemoryError(12, "Cannot allocate memory")

    monkeypatch.setattr(video_file.av, "open", refused)
    for question in (inspect, decode, decode_sound):
        with pytest.raises(MediaTooLargeError, match=r"the decoder got no memory for it \(Cannot allocate memory"):
            question(clip)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="this system does not limit a process's memory")
def test_frames_that_the_system_gives_no_memory_for(tmp_path):
    """Free by all accounts, but not for this process."""
    Image.fromarray(np.zeros((6000, 6000), np.uint8)).save(tmp_path / "a.png")
    script = (
        "import resource, sys\n"
        "from xalora_client.errors import MediaTooLargeError\n"
        "from xalora_client.media.decoding import Limits, inspect\n"
        "from xalora_client.media.decoding.image_file import decode_picture\n"
        "info = inspect(sys.argv[1])\n"
        "held = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + 300 * 2**20, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    decode_picture(info, Limits(), None)\n"
        "except MediaTooLargeError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "a.png"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "a.png needs more memory than the system gives this process" in done.stdout
