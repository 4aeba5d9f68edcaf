"""Videos as they come: turned, uneven, without a count or with a wrong one, transparent, changing, with sound."""

from __future__ import annotations

import itertools
import struct
import threading
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from xalora_client.errors import MediaTooLargeError
from xalora_client.media.decoding import Limits, decode, inspect
from xalora_client.media.decoding.video_decoding import decode_video

STRAIGHT = [(a, 0, 0, d) for a, d in itertools.product((1, -1), repeat=2)]
CROSSED = [(0, b, c, 0) for b, c in itertools.product((1, -1), repeat=2)]


def with_matrix(source, target, a, b, c, d):
    """Copy an MP4, putting a display matrix into its first track."""
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", *(round(each * 65536) for each in (a, b, 0, c, d, 0, 0, 0, 16384)))
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("matrix", STRAIGHT + CROSSED, ids=str)
def test_rotation_and_mirroring(ffmpeg, clip, tmp_path, matrix):
    path = with_matrix(clip, tmp_path / "turned.mp4", *matrix)
    info = inspect(path)
    assert (info.width, info.height) == ((64, 96) if matrix in CROSSED else (96, 64))
    expected = ffmpeg.rgb24(path, info.width, info.height)
    assert np.abs(decode(path).frames * 255 - expected).max() <= 1


def test_a_turn_that_is_no_right_angle_is_left_alone(ffmpeg, clip, tmp_path):
    path = with_matrix(clip, tmp_path / "slanted.mp4", 0.8, 0.6, -0.6, 0.8)
    assert np.abs(decode(path).frames * 255 - ffmpeg.rgb24(path, 96, 64, "-noautorotate")).max() <= 1


def write_uneven(path, times, codec="libx264"):
    """Encode frames that are shown at given tenths of a second, the last one for as long as the one before."""
    with av.open(path, "w") as output:
        stream = output.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for shade, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade * 20, np.uint8))
            picture.pts, picture.time_base = time, Fraction(1, 10)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")])
def test_variable_frame_rate(tmp_path, name, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = write_uneven(tmp_path / name, [0, 1, 2, 4, 8, 9, 20, 21], codec)
    decoded = decode(path)
    assert len(decoded.frames) == 8
    assert inspect(path).duration == pytest.approx(2.2, abs=0.31)  # the last frame's own length is not always stored
    assert decoded.fps == pytest.approx(8 / 2.2, rel=0.16)
    means = decoded.frames.mean(axis=(1, 2, 3)) * 255
    assert means == pytest.approx(np.arange(8) * 20, abs=4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fragments.mp4", ("-movflags", "frag_keyframe+empty_moov")),
        ("live.mkv", ("-live", "1", "-f", "matroska")),
        ("live.webm", ("-live", "1", "-f", "webm")),
    ],
)
def test_frame_count_and_duration_missing_from_the_header(ffmpeg, tmp_path, name, options):
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    path = ffmpeg.make(tmp_path / name, codec, "-pix_fmt", "yuv420p", *options)
    info = inspect(path)
    assert info.frames == 7
    assert info.fps == pytest.approx(12, rel=0.02)
    assert info.duration == pytest.approx(7 / 12, rel=0.02)
    assert decode(path).frames.shape == (7, 64, 96, 3)


@pytest.mark.parametrize("told", [1, 6, 7, 8, 500, None])
def test_a_wrong_frame_count_does_no_harm(clip, told):
    info = inspect(clip)
    right = decode(clip).frames
    decoded = decode_video(replace(info, frames=told), Limits(), None)
    np.testing.assert_array_equal(decoded.frames, right)
    assert decoded.frames.base is None


def test_a_count_too_low_still_meets_the_limit(clip):
    with pytest.raises(MediaTooLargeError, match="max_frames = 3"):
        decode_video(replace(inspect(clip), frames=2), Limits(max_frames=3), None)


def test_growing_keeps_the_mask(ffmpeg, tmp_path):
    path = transparent(ffmpeg, tmp_path / "alpha.mov", "png", "-pix_fmt", "rgba")
    right = decode(path)
    grown = decode_video(replace(inspect(path), frames=1), Limits(), None)
    np.testing.assert_array_equal(grown.frames, right.frames)
    np.testing.assert_array_equal(grown.mask, right.mask)


def test_frames_cut_off_by_an_edit_list_are_not_shown(ffmpeg, tmp_path):
    long = ffmpeg.make(tmp_path / "long.mp4", "libx264", "-pix_fmt", "yuv420p", "-g", "100")
    ffmpeg.run("-ss", "0.26", "-i", long, "-c", "copy", tmp_path / "short.mp4")
    expected = ffmpeg.rgb24(tmp_path / "short.mp4", 96, 64)
    decoded = decode(tmp_path / "short.mp4")
    assert 0 < len(expected) < 7
    assert np.abs(decoded.frames * 255 - expected).max() <= 1
    assert decoded.fps == pytest.approx(12, rel=0.02)


def transparent(ffmpeg, path, codec, *options):
    """A video whose colors and alpha have nothing to do with each other."""
    if f" {codec} " not in ffmpeg.run("-encoders").decode():
        pytest.skip(f"this ffmpeg has no encoder {codec}")
    picture = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=12")
    alpha = ("-f", "lavfi", "-i", "mandelbrot=size=96x64:rate=12,format=gray")
    merged = ("-filter_complex", "[0][1]alphamerge", "-frames:v", "5")
    ffmpeg.run(*picture, *alpha, *merged, "-c:v", codec, *options, path)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "options", "decoder"),
    [
        ("vp9.webm", "libvpx-vp9", ("-pix_fmt", "yuva420p"), ("-c:v", "libvpx-vp9")),
        ("vp8.webm", "libvpx", ("-pix_fmt", "yuva420p", "-auto-alt-ref", "0"), ("-c:v", "libvpx")),
        ("prores.mov", "prores_ks", ("-pix_fmt", "yuva444p10le", "-profile:v", "4444"), ()),
        ("png.mov", "png", ("-pix_fmt", "rgba"), ()),
        ("qtrle.mov", "qtrle", ("-pix_fmt", "argb"), ()),
    ],
)
def test_alpha_becomes_a_mask_and_colors_stay_unmultiplied(ffmpeg, tmp_path, name, codec, options, decoder):
    path = transparent(ffmpeg, tmp_path / name, codec, *options)
    raw = ffmpeg.run(*decoder, "-i", path, "-vsync", "passthrough", "-pix_fmt", "rgba", "-f", "rawvideo", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(-1, 64, 96, 4).astype(np.float32)
    decoded = decode(path)
    assert inspect(path).has_alpha
    assert decoded.mask is not None
    assert decoded.mask.dtype == np.float32
    assert np.abs(decoded.frames * 255 - expected[..., :3]).max() <= 1
    assert np.abs((1 - decoded.mask) * 255 - expected[..., 3]).max() <= 1
    assert len(np.unique(decoded.mask)) > 50


def test_a_video_that_changes_its_size_keeps_the_first(ffmpeg, tmp_path):
    small = ffmpeg.make(tmp_path / "small.webm", "libvpx-vp9", "-pix_fmt", "yuv420p")
    large = ffmpeg.make(tmp_path / "large.webm", "libvpx-vp9", "-pix_fmt", "yuv444p", size="192x128")
    with av.open(tmp_path / "both.webm", "w") as output:
        target, at = None, 0
        for source in (small, large):
            with av.open(source) as container:
                target = target or output.add_stream_from_template(container.streams.video[0])
                for packet in container.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = at
                        packet.stream = target
                        output.mux(packet)
                        at += 83
    decoded = decode(tmp_path / "both.webm")
    assert decoded.frames.shape == (14, 64, 96, 3)
    first, second = decoded.frames[:7], decoded.frames[7:]
    assert np.abs(first - second).mean() < 0.05  # the same scene


def test_sound_and_codec_are_seen(clip, ffmpeg, tmp_path):
    info = inspect(clip)
    assert (info.has_audio, info.codec, info.has_alpha) == (True, "h264", False)
    assert info.size == clip.stat().st_size
    silent = ffmpeg.make(tmp_path / "silent.webm", "libvpx-vp9", "-pix_fmt", "yuv420p")
    assert (inspect(silent).has_audio, inspect(silent).codec) == (False, "vp9")


def test_a_cover_picture_is_not_the_video(ffmpeg, clip, tmp_path):
    ffmpeg.run("-i", clip, "-frames:v", "1", "-vf", "scale=40:40", tmp_path / "cover.png")
    inputs = ("-i", tmp_path / "cover.png", "-i", clip, "-map", "0", "-map", "1:v")
    ffmpeg.run(*inputs, "-c", "copy", "-disposition:v:0", "attached_pic", tmp_path / "covered.mp4")
    assert decode(tmp_path / "covered.mp4").frames.shape == (7, 64, 96, 3)


def test_progress_is_told_frame_by_frame(clip):
    told = []
    decode(clip, progress=lambda done, expected: told.append((done, expected)))
    assert told == [(number, 7) for number in range(1, 8)]


def test_progress_can_end_the_decoding(clip):
    class StopError(ValueError):
        pass

    def stop(done, expected):
        if done == 3:
            raise StopError

    with pytest.raises(StopError):
        decode(clip, progress=stop)
    assert not [each for each in threading.enumerate() if each.name.startswith("xalora-decode")]


def test_decoding_is_deterministic(clip):
    first, second = decode(clip), decode(clip)
    np.testing.assert_array_equal(first.frames, second.frames)


SAVED = [
    ("h264.mp4", "libx264", True),
    ("hevc.mkv", "libx265", True),
    ("vp9.webm", "libvpx-vp9", True),
    ("av1.webm", "libaom-av1", True),
    ("mpeg4.mov", "mpeg4", True),
    ("vp8.webm", "libvpx", False),
    ("prores.mov", "prores_ks", False),
]


@pytest.mark.parametrize(("name", "codec", "expected"), SAVED, ids=lambda value: str(value))
def test_what_comfyui_can_save_as_it_is(ffmpeg, tmp_path, name, codec, expected):
    fast = {"libaom-av1": ("-cpu-used", "8"), "libx265": ("-x265-params", "log-level=0")}.get(codec, ())
    pixels = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    path = ffmpeg.make(tmp_path / name, codec, "-pix_fmt", pixels, *fast)
    assert inspect(path).remuxable is expected


def test_a_remuxable_file_really_is(ffmpeg, tmp_path):
    path = ffmpeg.make(tmp_path / "vp9.webm", "libvpx-vp9", "-pix_fmt", "yuv420p")
    with av.open(path) as container, av.open(tmp_path / "saved.mp4", "w") as output:
        target = output.add_stream_from_template(container.streams.video[0], opaque=True)
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = target
                output.mux(packet)
    np.testing.assert_array_equal(decode(tmp_path / "saved.mp4").frames, decode(path).frames)


def test_subtitles_that_mp4_cannot_hold_forbid_saving_as_it_is(ffmpeg, clip, tmp_path):
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:00,500\nHello\n")
    ffmpeg.run("-i", clip, "-i", tmp_path / "words.srt", "-c", "copy", tmp_path / "words.mkv")
    assert inspect(tmp_path / "words.mkv").remuxable is False
