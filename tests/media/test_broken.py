"""What is no media, or not all of it, is an error that says so, and the file stays where it is."""

from __future__ import annotations

import zlib

import av
import numpy as np
import pytest
from PIL import Image, features

from xalora_client.errors import DecodeError, MediaError, MediaTooLargeError
from xalora_client.media.decoding import Limits, decode, inspect, limits


def refused(path, words, error=DecodeError):
    """Both questions are refused alike, in words that match; the file is unchanged and named."""
    before = path.read_bytes()
    for question in (inspect, decode):
        with pytest.raises(error, match=words) as caught:
            question(path)
        assert path.name in str(caught.value)
    assert path.read_bytes() == before
    if error is DecodeError:
        assert caught.value.path == path
        assert str(path) in str(caught.value)
        assert "kept" in str(caught.value)
        assert "not charged again" in str(caught.value)


def test_empty(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    refused(tmp_path / "a.mp4", "not a media file: the file is empty")


def test_a_web_page_called_mp4(tmp_path):
    (tmp_path / "a.mp4").write_text("<!doctype html>\n<html><head><title>403 Forbidden</title></head></html>")
    refused(tmp_path / "a.mp4", "looks like a web page: “<!doctype html> <html><head><title>403 Forbidden")


def test_json_called_png(tmp_path):
    (tmp_path / "a.png").write_text('{"error": "link expired"}')
    refused(tmp_path / "a.png", "looks like JSON.*link expired")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["index-last.mp4", "index-first.mp4", "a.mov", "a.mkv", "a.webm"])
def test_a_truncated_video(ffmpeg, tmp_path, name, share):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    options = ("-movflags", "+faststart") if name == "index-first.mp4" else ()
    whole = ffmpeg.make(tmp_path / f"whole-{name}", codec, "-pix_fmt", "yuv420p", *options).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    refused(tmp_path / name, "cut off")


def test_a_video_cut_before_its_index(ffmpeg, clip, tmp_path):
    data = clip.read_bytes()
    at = data.index(b"moov") - 4
    (tmp_path / "a.mp4").write_bytes(data[:at])
    refused(tmp_path / "a.mp4", "cut off: its index .“moov”. is missing")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["png", "apng", "gif", "webp", "jpeg", "avif"])
def test_a_truncated_picture(tmp_path, name, share):
    kind = "png" if name == "apng" else name
    if kind in ("webp", "avif") and not features.check(kind):
        pytest.skip(f"this Pillow has no {kind}")
    random = np.random.default_rng(1)
    pictures = [Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)) for _ in range(4)]
    many = {} if name in ("png", "jpeg") else {"save_all": True, "append_images": pictures[1:]}
    pictures[0].save(tmp_path / "whole", format=kind, **many)
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "a").write_bytes(whole[: int(len(whole) * share)])
    refused(tmp_path / "a", "cut off|damaged|Pillow does not open it as")


def test_a_gif_without_a_trailer_is_whole(tmp_path):
    Image.new("P", (4, 4)).save(tmp_path / "a.gif")
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(data[:-1])
    assert decode(tmp_path / "a.gif").frames.shape == (1, 4, 4, 3)


def test_a_png_without_an_end(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-12])
    refused(tmp_path / "a.png", "cut off: its last part .“IEND”. is missing")


def test_sound_only(ffmpeg, tmp_path):
    for name in ("a.mp4", "b.mkv"):
        ffmpeg.run("-f", "lavfi", "-i", "sine=440:duration=0.3", "-c:a", "aac", tmp_path / name)
        refused(tmp_path / name, "sound but no video")


def test_neither_picture_nor_sound(ffmpeg, tmp_path):
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:00,500\nHello\n")
    ffmpeg.run("-i", tmp_path / "words.srt", tmp_path / "words.mkv")
    refused(tmp_path / "words.mkv", "neither picture nor sound")


def test_no_frames(tmp_path):
    with av.open(tmp_path / "a.mkv", "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.start_encoding()
    refused(tmp_path / "a.mkv", "there is a video stream, no frame in it|ends before its first frame")


def test_frames_that_are_not_frames(ffmpeg, tmp_path):
    path = ffmpeg.make(tmp_path / "a.mkv", "ffv1", "-pix_fmt", "yuv420p")
    data = bytearray(path.read_bytes())
    with av.open(path) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for at, size in places:
        data[at + 10 : at + size] = bytes(size - 10)
    path.write_bytes(data)
    with pytest.raises(MediaError):
        decode(path)


def test_damage_in_the_middle_is_found_when_decoding(ffmpeg, tmp_path):
    path = ffmpeg.make(tmp_path / "a.mov", "png", "-pix_fmt", "rgb24")
    data = bytearray(path.read_bytes())
    at = [start for start in range(len(data)) if data[start : start + 8] == b"\x89PNG\r\n\x1a\n"][4]
    data[at : at + 200] = bytes(200)
    path.write_bytes(data)
    assert inspect(path).frames == 7
    with pytest.raises(DecodeError, match=r"damaged after frame [34]"):
        decode(path)


def test_damage_in_a_later_picture_is_found_when_decoding(apng, frame, tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (30, 30, 4), np.uint8)
    path = apng(tmp_path / "a.png", 30, 30, [frame(pixels)] * 3)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"fdAT")
    length = int.from_bytes(data[at - 4 : at], "big")
    data[at + 8 : at + 4 + length] = bytes(length - 4)
    data[at + 4 + length : at + 8 + length] = zlib.crc32(data[at : at + 4 + length]).to_bytes(4, "big")
    path.write_bytes(data)
    assert inspect(path).frames == 3
    with pytest.raises(DecodeError, match="picture 3 of 3 is damaged"):
        decode(path)


def still_times(source, target):
    """Copy an MP4, making every frame, the track and the whole last zero units of time."""
    data = bytearray(source.read_bytes())
    at = data.index(b"stts") + 4
    for entry in range(int.from_bytes(data[at + 4 : at + 8], "big")):
        data[at + 12 + 8 * entry : at + 16 + 8 * entry] = bytes(4)
    for box, offset in ((b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 20)):
        at = data.index(box) + 4 + offset
        data[at : at + 4] = bytes(4)
    target.write_bytes(data)
    return target


def test_frames_that_last_no_time_and_whose_codec_knows_no_rate(ffmpeg, tmp_path):
    path = ffmpeg.make(tmp_path / "whole.mov", "png", "-pix_fmt", "rgb24", "-use_editlist", "0")
    refused(still_times(path, tmp_path / "a.mov"), r"its 7 frames last 0 s in all, so its frame rate")


def test_frames_that_last_no_time_are_shown_at_the_codecs_rate(ffmpeg, tmp_path):
    path = ffmpeg.make(tmp_path / "whole.mp4", "libx264", "-pix_fmt", "yuv420p", "-bf", "0", "-use_editlist", "0")
    decoded = decode(still_times(path, tmp_path / "a.mp4"))
    assert decoded.frames.shape == (7, 64, 96, 3)
    assert decoded.fps == 12
    assert inspect(tmp_path / "a.mp4").duration == pytest.approx(7 / 12)


def test_one_frame_that_lasts_no_time_is_a_frame(ffmpeg, tmp_path):
    path = ffmpeg.make(tmp_path / "whole.mp4", "libx264", "-pix_fmt", "yuv420p", "-frames:v", "1", "-use_editlist", "0")
    decoded = decode(still_times(path, tmp_path / "a.mp4"))
    assert decoded.frames.shape == (1, 64, 96, 3)
    assert 0 < decoded.fps <= 1000


LARGE = 100_000


def test_a_png_header_of_10_gigapixels(header, chunk, tmp_path):
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(header(LARGE, LARGE) + pixels)
    too_large(tmp_path / "a.png", "100000 x 100000")


def too_large(path, words):
    """It is described, and may be saved, but not decoded."""
    assert f"{inspect(path).width} x" in words
    with pytest.raises(MediaTooLargeError, match=f"needs .* of memory .* of {words}") as caught:
        decode(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["gif", "jpeg", "webp"])
def test_headers_of_other_pictures_as_large_as_they_can_be(tmp_path, monkeypatch, name):
    if name == "webp" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    many = {"save_all": True, "append_images": [Image.new("RGB", (4, 4), "red")]} if name == "webp" else {}
    Image.new("RGB", (4, 4)).save(tmp_path / "a", format=name, **many)
    data = bytearray((tmp_path / "a").read_bytes())
    if name == "gif":
        data[6:10] = b"\xff\xff\xff\xff"
    elif name == "jpeg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = b"\xff\xff\xff\xff"
    else:
        at = data.index(b"VP8X") + 12
        data[at : at + 6] = (16382).to_bytes(3, "little") + (16382).to_bytes(3, "little")
    (tmp_path / "a").write_bytes(data)
    monkeypatch.setattr(limits, "free_memory", lambda: limits.FreeMemory(2**31, "this test"))
    too_large(tmp_path / "a", "16383 x 16383" if name == "webp" else "65535 x 65535")


def test_a_video_header_of_10_gigapixels(ffmpeg, tmp_path):
    path = ffmpeg.make(tmp_path / "a.mkv", "ffv1", "-pix_fmt", "yuv420p")
    data = path.read_bytes()
    wide, high = b"\xb0\x81\x60", b"\xba\x81\x40"
    assert data.count(wide) == data.count(high) == 1
    large = LARGE.to_bytes(3, "big")
    grown = data.replace(wide, b"\xb0\x83" + large).replace(high, b"\xba\x83" + large)
    (tmp_path / "a.mkv").write_bytes(grown)
    with pytest.raises(MediaError):
        inspect(tmp_path / "a.mkv")


def test_a_video_larger_inside_than_its_container_says(ffmpeg, tmp_path):
    """The codec's own header is what decoders believe."""
    path = ffmpeg.make(tmp_path / "a.webm", "libvpx-vp9", "-pix_fmt", "yuv420p", size="640x480")
    data = path.read_bytes().replace((640).to_bytes(2, "big"), (64).to_bytes(2, "big"), 1)
    path.write_bytes(data.replace((480).to_bytes(2, "big"), (48).to_bytes(2, "big"), 1))
    with pytest.raises(MediaError):
        inspect(path, Limits(max_pixels=10_000))


def test_a_wild_number_of_frames_is_not_believed(apng, frame, chunk, tmp_path):
    path = apng(tmp_path / "a.png", 2, 2, [frame(np.zeros((2, 2, 4), np.uint8))] * 2)
    data = path.read_bytes()
    at = data.index(b"acTL") - 4
    wild = chunk(b"acTL", (2**31 - 1).to_bytes(4, "big") + bytes(4))
    path.write_bytes(data[:at] + wild + data[at + 20 :])
    assert len(decode(path).frames) == inspect(path).frames == 2


def test_a_playlist_does_not_make_ffmpeg_open_other_files(clip, tmp_path):
    (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{clip}\n")
    refused(tmp_path / "a.mp4", "looks like text")
    (tmp_path / "b.mp4").write_text(f"ffconcat version 1.0\nfile {clip}\n")
    refused(tmp_path / "b.mp4", "looks like text")


def test_a_head_alone_is_refused(clip, tmp_path):
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes()[:40])
    refused(tmp_path / "a.mp4", "cut off")
    (tmp_path / "b.webm").write_bytes(b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm")
    refused(tmp_path / "b.webm", "cut off: it ends before its first part")
    (tmp_path / "c.gif").write_bytes(b"GIF89a\1\0")
    refused(tmp_path / "c.gif", "cut off")
    (tmp_path / "d.webp").write_bytes(b"RIFF\x04\0\0\0WEBP")
    refused(tmp_path / "d.webp", "Pillow does not open it as webp")
