"""What is rendered, and how it is sent."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import pytest
import requests
from PIL import Image


def frames_of(data):
    """The container's frame rate, the pixel format, and all frames."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return stream.average_rate, stream.codec_context.pix_fmt, stream.codec_context.name, frames


def test_default_video_is_as_long_and_fast_as_the_page_says(shared):
    data = shared.result(shared.create("txt2vid", prompt="a rabbit moving its nose"))
    rate, pixels, codec, frames = frames_of(data)
    assert (rate, pixels, codec, len(frames)) == (Fraction(24), "yuv420p", "h264", 37)
    assert (frames[0].width, frames[0].height) == (848, 480)
    assert [frame.time for frame in frames] == pytest.approx([n / 24 for n in range(37)])
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(("length", "fps"), [(1, 1), (1, 240), (5, 7), (9, 30)])
def test_smallest_videos(shared, length, fps):
    rate, _, _, frames = frames_of(shared.result(shared.video(width=16, height=16, length=length, fps=fps)))
    assert (rate, len(frames)) == (fps, length)
    assert (frames[0].width, frames[0].height) == (16, 16)


def test_the_picture_moves_and_has_a_label(shared):
    _, _, _, frames = frames_of(shared.result(shared.video(width=320, height=160, length=5, fps=1)))
    first, last = (frames[n].to_image().convert("L") for n in (0, 4))
    assert first.tobytes() != last.tobytes()
    band = first.crop((0, 110, 320, 160))
    assert max(band.tobytes()) > 230  # white letters
    assert min(band.tobytes()) < 140  # on a dark ground


def test_prompt_and_seed_decide_the_bytes(shared):
    def render(**parameters):
        return shared.result(shared.video(**parameters))

    first = render(seed=1)
    assert render(seed=1) == first
    assert render(seed=2) != first
    assert render(seed=1, prompt="a hare") != first


def test_quality_decides_the_size(shared):
    low, high = (len(shared.result(shared.video(width=320, height=320, quality=q))) for q in (1, 100))
    assert low < high


@pytest.mark.parametrize("prompt", ["über 兔子 🐇 \x00\x07\n\t‮", "long " * 1000, "W" * 600, "."])
def test_any_prompt_can_be_drawn(shared, prompt):
    assert len(frames_of(shared.result(shared.video(prompt=prompt, length=1)))[3]) == 1


@pytest.mark.parametrize(("width", "height", "length", "fps"), [(848, 480, 37, 24), (16, 16, 1, 1), (48, 32, 5, 240)])
def test_animated_webp(start, width, height, length, fps):
    sandbox = start(video_format="webp")
    task = sandbox.video(width=width, height=height, length=length, fps=fps, quality=1)
    data = sandbox.result(task)
    assert sandbox.query(task)["result"].endswith(".webp")
    assert requests.head(sandbox.query(task)["result"], timeout=30).headers["Content-Type"] == "image/webp"
    durations = []
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size, picture.n_frames) == ("WEBP", (width, height), length)
        for number in range(length):
            picture.seek(number)
            picture.load()
            durations.append(picture.info["duration"])
    assert sum(durations) == round(1000 * length / fps)
    assert max(durations) - min(durations) <= 1
    assert sandbox.result(sandbox.video(width=width, height=height, length=length, fps=fps, quality=1)) == data


@pytest.mark.parametrize(("size", "expected"), [({}, (680, 1024)), ({"width": 17, "height": 17}, (17, 17))])
def test_flux_pictures(shared, size, expected):
    def render(**parameters):
        return shared.result(shared.create("txt2img", **{"prompt": "p", "lora_name": "gecko", **size, **parameters}))

    first = render(noise_seed=1)
    with Image.open(io.BytesIO(first)) as picture:
        assert (picture.format, picture.size, picture.mode) == ("JPEG", expected, "RGB")
    assert render(noise_seed=1) == first
    assert len({first, render(noise_seed=2), render(noise_seed=1, lora_name="newt")}) == 3


def test_media_is_sent_with_what_players_need(shared):
    task = shared.video()
    whole = shared.result(task)
    url = shared.query(task)["result"]
    answer = requests.get(url, timeout=30)
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Content-Length"] == str(len(whole))
    assert answer.headers["Accept-Ranges"] == "bytes"

    part = requests.get(url, headers={"Range": "bytes=10-19"}, timeout=30)
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(whole)}"
    assert requests.get(url, headers={"Range": "bytes=-5"}, timeout=30).content == whole[-5:]
    beyond = requests.get(url, headers={"Range": f"bytes={len(whole)}-"}, timeout=30)
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(whole)}"
    same = requests.get(url, headers={"If-None-Match": answer.headers["ETag"]}, timeout=30)
    assert same.status_code == 304


@pytest.mark.parametrize("name", ["nothing.mp4", "..%2Fsandbox.sqlite3", "..%2Fmedia%2F", "%2e%2e", "a%00.mp4"])
def test_nothing_else_is_sent(shared, name):
    answer = requests.get(f"{shared.url}/media/{name}", timeout=30)
    assert answer.status_code == 404
    assert answer.json()["message"]
