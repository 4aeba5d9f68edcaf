"""The parts of files, also where a file's own lengths make no sense."""

from __future__ import annotations

import io
import sys
import tracemalloc

from xalora_client.media.decoding.container_parts import (
    Part,
    frame_seconds,
    gif_blocks,
    iso_boxes,
    missing_end,
    png_chunks,
    riff_chunks,
)
from xalora_client.media.decoding.formats import AVIF, JPEG, MKV, MP4
from xalora_client.media.decoding.frames import UPRIGHT, Orientation, from_display_matrix


def boxes(data):
    return list(iso_boxes(io.BytesIO(data), 0, len(data)))


def test_box_lengths_of_every_kind():
    plain = b"\0\0\0\x0cfreeabcd"
    long = b"\0\0\0\1mdat" + (20).to_bytes(8, "big") + b"abcd"
    rest = b"\0\0\0\0mdatxyz"
    assert boxes(plain + long + rest) == [Part(b"free", 8, 12), Part(b"mdat", 28, 32), Part(b"mdat", 40, 43)]


def test_a_box_longer_than_any_file_is_the_last():
    endless = b"\0\0\0\1mdat" + b"\xff" * 8
    (box,) = iso_boxes(io.BytesIO(endless), 0, 2**64)
    assert (box.name, box.start, box.end) == (b"mdat", 16, 2**64 - 1)


def test_a_box_shorter_than_its_head_ends_the_walk():
    assert boxes(b"\0\0\0\x04freeabcd") == []
    assert boxes(b"\0\0\0\1mdat" + (12).to_bytes(8, "big")) == []
    assert boxes(b"\0\0") == []


def test_riff_png_and_gif_end_with_their_bytes():
    assert [each.name for each in riff_chunks(io.BytesIO(b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0"))] == [b"RIFF", b"VP8 "]
    assert list(png_chunks(io.BytesIO(b"\x89PNG\r\n\x1a\n\0\0"))) == []
    header = b"GIF89a\1\0\1\0\0\0\0"
    assert [each.name for each in gif_blocks(io.BytesIO(header + b";"), 14)] == [b"GIF", b";"]
    assert [each.name for each in gif_blocks(io.BytesIO(header + b"?"), 14)] == [b"GIF"]
    assert list(gif_blocks(io.BytesIO(header + b",\0\0"), 16))[-1].end > 16


def test_a_walk_ends_after_very_many_parts(monkeypatch):
    monkeypatch.setattr("xalora_client.media.decoding.container_parts._MAX_PARTS", 10)
    assert len(boxes(b"\0\0\0\x08free" * 100)) == 10
    assert len(list(png_chunks(io.BytesIO(bytes(8) + (bytes(4) + b"tEXt" + bytes(4)) * 100)))) == 10
    assert len(list(riff_chunks(io.BytesIO(b"RIFF\0\1\0\0WEBP" + b"ABCD\0\0\0\0" * 100)))) == 11
    gif = b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\0" * 100
    assert len(list(gif_blocks(io.BytesIO(gif), len(gif)))) == 11


def test_matroska_of_unknown_length_is_not_called_cut_off(tmp_path):
    head = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska"
    (tmp_path / "a.mkv").write_bytes(head + b"\x18\x53\x80\x67\x01" + b"\xff" * 7)
    assert missing_end(tmp_path / "a.mkv", MKV) is None
    (tmp_path / "a.mkv").write_bytes(head + b"\x18\x53\x80\x67\x84ab")
    assert "extends to byte" in missing_end(tmp_path / "a.mkv", MKV)
    (tmp_path / "b.mkv").write_bytes(b"\x1a\x45\xdf\xa3\xff")
    assert missing_end(tmp_path / "b.mkv", MKV) is None


def test_what_has_no_lengths_is_left_to_the_decoder(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    assert missing_end(tmp_path / "a.jpg", JPEG) is None
    (tmp_path / "a.mkv").write_bytes(b"\x1a\x45\xdf\xa3\x01" + b"\xff" * 6 + b"\xf0")
    assert "ends before" in missing_end(tmp_path / "a.mkv", MKV)
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0")
    assert "moov" in missing_end(tmp_path / "a.mp4", MP4)


def test_display_matrices():
    def matrix(*values):
        return b"".join(value.to_bytes(4, sys.byteorder, signed=True) for value in values)

    assert from_display_matrix(b"short") == UPRIGHT
    assert from_display_matrix(bytes(36)) == UPRIGHT
    turned = from_display_matrix(matrix(0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30))
    assert turned == Orientation(transpose=True, flip_rows=True)


def test_durations_that_a_damaged_file_claims_are_not_all_made(tmp_path):
    def box(name, *content):
        body = b"".join(content)
        return (8 + len(body)).to_bytes(4, "big") + name + body

    claimed = (65536).to_bytes(4, "big") + (1).to_bytes(4, "big")
    table = box(b"stts", bytes(4), (4000).to_bytes(4, "big"), claimed * 4000)
    header = box(b"mdhd", bytes(12), (10).to_bytes(4, "big"), bytes(8))
    media = box(b"mdia", header, box(b"minf", box(b"stbl", table)))
    file = tmp_path / "a.avif"
    file.write_bytes(box(b"moov", box(b"trak", media)))
    tracemalloc.start()
    assert frame_seconds(file, AVIF, 2) == [0.1, 0.1]
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()
