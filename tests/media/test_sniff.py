"""The format is told by content; what is no media is described."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image, features

from xalora_client.media.decoding.formats import FORMATS, SNIFF_BYTES, describe, sniff

VIDEOS = [
    ("mp4", "libx264", ()),
    ("mov", "libx264", ()),
    ("webm", "libvpx-vp9", ()),
    ("mkv", "libx264", ()),
    ("mp4", "libx265", ("-x265-params", "log-level=0")),
    ("mp4", "libaom-av1", ("-cpu-used", "8")),
]


@pytest.mark.parametrize(("name", "codec", "options"), VIDEOS)
def test_videos(ffmpeg, tmp_path, name, codec, options):
    path = ffmpeg.make(tmp_path / f"video.{name}", codec, "-pix_fmt", "yuv420p", *options)
    found = sniff(path.read_bytes()[:SNIFF_BYTES])
    assert found is not None
    assert (found.name, found.kind, found.extension) == (name, "video", f".{name}")
    assert found.mime_type.startswith("video/")


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "webp", "avif"])
def test_pictures(tmp_path, name):
    if name in ("webp", "avif") and not features.check(name):
        pytest.skip(f"this Pillow has no {name}")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "picture", format=name)
    found = sniff((tmp_path / "picture").read_bytes())
    assert found is not None
    assert found.name == name
    assert found.mime_type == f"image/{name}"


def test_an_animated_png_is_told_from_a_png(apng, frame, tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    path = apng(tmp_path / "a.jpg", 2, 2, [frame(pixels), frame(pixels)])
    assert sniff(path.read_bytes()).name == "apng"


def test_an_avif_sequence_is_avif():
    assert sniff(b"\0\0\0\x20ftypavis\0\0\0\0avisavifmsf1iso8").name == "avif"
    assert sniff(b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiafMA1B").name == "avif"


def test_quicktime_without_a_brand():
    assert sniff(b"\0\0\0\x08wide\0\0\1\0mdat").name == "mov"
    assert sniff(b"\0\0\1\0moov").name == "mov"


def test_formats_are_distinct():
    assert len({each.name for each in FORMATS}) == len(FORMATS) == 15
    assert {each.kind for each in FORMATS} == {"image", "animation", "video"}


UNKNOWN = [
    (b"", "empty"),
    (bytes(100), "all zero"),
    (b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title>", "a web page.*502 Bad Gateway"),
    (b"\xef\xbb\xbf\n <HTML><body>Not found", "a web page"),
    (b'{"error": "expired"}', 'JSON.*"expired"'),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML.*AccessDenied"),
    (b"not here, sorry", "text: .*not here, sorry"),
    ("überall ".encode() * 200, "text: .*überall"),
    (b"PK\x03\x04\x14\0", "ZIP"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"%PDF-1.7", "PDF"),
    (b"RIFF\x10\0\0\0AVI LIST", "AVI"),
    (b"OggS\0\x02", "Ogg"),
    (b"\0\0\0\x18ftyp", "cut off"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01", "Matroska"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84abcd", "Matroska"),
    (b"\x07\x13\xff\xfe\x80binary", "bytes 07 13 ff fe 80"),
    (b"\x89PNG", "bytes 89 50 4e 47"),
]


@pytest.mark.parametrize(("head", "words"), UNKNOWN, ids=[repr(head[:12]) for head, _ in UNKNOWN])
def test_what_is_no_media(head, words):
    assert sniff(head) is None
    assert re.search(words, describe(head))


def test_a_description_stays_short():
    assert len(describe(b"word " * 1000)) < 150
