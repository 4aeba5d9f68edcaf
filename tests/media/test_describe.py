"""What a result is in a few words, and where it is not what was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.pictures import png
from xalora_client import Text2VideoTask
from xalora_client.media.decoding import inspect

ASKED = {"width": 848, "height": 480, "length": 37, "fps": 24}


@pytest.fixture
def video(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    return replace(inspect(tmp_path / "a.png"), kind="video", width=848, height=480, frames=37, fps=24.0)


def said(info, frames=None, **asked):
    return info.describe({"parameters": asked}, frames=frames)


def test_what_was_asked_for_needs_no_words(video):
    assert said(video, **ASKED) == video.describe() == "848×480 · 37 frames"
    assert video.describe(Text2VideoTask("a rabbit", **ASKED).task_details) == "848×480 · 37 frames"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": 73}, "848×480 · 73 frames, asked for 37"),
        ({"frames": 1}, "848×480 · 1 frame, asked for 37"),
        ({"width": 640}, "640×480, asked for 848×480 · 37 frames"),
        ({"fps": 8.0}, "848×480 · 37 frames · 8 frames per second, asked for 24"),
        ({"fps": 23.976}, "848×480 · 37 frames"),
        ({"frames": None}, "848×480"),
    ],
)
def test_what_differs_is_said(video, changes, words):
    assert said(replace(video, **changes), **ASKED) == words


def test_decoding_knows_better_than_headers(video):
    assert said(replace(video, frames=None), frames=73, **ASKED) == "848×480 · 73 frames, asked for 37"


def test_an_image_has_no_frames_to_speak_of(video):
    image = replace(video, kind="image", frames=1, fps=None)
    assert said(image, width=848, height=480) == "848×480"
    assert said(image, **ASKED) == "848×480 · 1 frame, asked for 37"


def test_an_aspect_ratio_decides_in_place_of_the_size(video):
    image = replace(video, kind="image", frames=1, fps=None)
    assert said(image, aspect_ratio="16:9", width=680, height=1024) == "848×480"
    assert said(image, aspect_ratio="custom", width=680, height=1024) == "848×480, asked for 680×1024"


@pytest.mark.parametrize("strange", [None, "x", [], {"parameters": "x"}, {"parameters": {"width": "8", "fps": True}}])
def test_details_that_say_nothing(video, strange):
    assert video.describe(strange) == "848×480 · 37 frames"
