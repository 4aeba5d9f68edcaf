"""GIF by its standard and as browsers show it, where Pillow does otherwise."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest

from xalora_client.errors import DecodeError, MediaTooLargeError
from xalora_client.media.decoding import Limits, decode, inspect

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
TABLE = bytes((*RED, *GREEN, *BLUE, 9, 9, 9))


def picture(number, x=0, y=0, width=4, height=4, disposal=0, transparent=None, indices=None, seconds=10, flags=0):
    """A frame of one color's number: control block, descriptor, codes that reset before they grow."""
    control = bytes((disposal << 2 | (transparent is not None),)) + seconds.to_bytes(2, "little")
    out = b"!\xf9\4" + control + bytes((transparent or 0, 0)) + b","
    out += b"".join(each.to_bytes(2, "little") for each in (x, y, width, height)) + bytes((flags, 7))
    indices = bytes(indices or [number] * (width * height))
    codes = b"".join(b"\x80" + indices[at : at + 100] for at in range(0, len(indices), 100)) + b"\x81"
    return out + bytes((len(codes),)) + codes + b"\0"


def gif(path, *blocks, width=4, height=4, table=TABLE, background=0, end=b";"):
    screen = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    flags = 0xF1 if table else 0x71
    path.write_bytes(b"GIF89a" + screen + bytes((flags, background, 0)) + table + b"".join(blocks) + end)
    return path


def canvas(decoded, number):
    """A frame as ``[H, W, 4]`` bytes."""
    mask = np.zeros(decoded.frames.shape[:3]) if decoded.mask is None else decoded.mask
    return np.rint(np.dstack((decoded.frames[number], 1 - mask[number])) * 255).astype(int)


def test_disposal_to_background_goes_transparent(tmp_path):
    """Opaque pictures, without any transparent color: browsers paint nothing, not even the background color."""
    path = gif(tmp_path / "a.gif", picture(0, disposal=2), picture(1, 1, 1, 2, 2), background=2)
    decoded = decode(path)
    expected = np.zeros((4, 4, 4), int)
    expected[1:3, 1:3] = (*GREEN, 255)
    np.testing.assert_array_equal(canvas(decoded, 0), np.full((4, 4, 4), (*RED, 255)))
    np.testing.assert_array_equal(canvas(decoded, 1), expected)


@pytest.mark.parametrize("number", [3, 4])
def test_disposal_to_what_was_there_before(tmp_path, number):
    blocks = [picture(0), picture(1, 0, 0, 2, 2, disposal=number), picture(2, 3, 3, 1, 1)]
    decoded = decode(gif(tmp_path / "a.gif", *blocks))
    expected = np.full((4, 4, 4), (*RED, 255))
    expected[3, 3] = (*BLUE, 255)
    np.testing.assert_array_equal(canvas(decoded, 2), expected)


def test_before_the_first_picture_nothing_is_there(tmp_path):
    path = gif(tmp_path / "a.gif", picture(0, disposal=3), picture(1, 1, 1, 1, 1))
    assert decode(path).mask[1].sum() == 15


def test_a_first_picture_smaller_than_the_canvas_leaves_the_rest_transparent(tmp_path):
    decoded = decode(gif(tmp_path / "a.gif", picture(1, 1, 1, 2, 2)))
    assert (decoded.mask[0] == 1).sum() == 12
    np.testing.assert_array_equal(canvas(decoded, 0)[1, 1], (*GREEN, 255))


def test_a_first_picture_larger_than_the_canvas_enlarges_it_and_a_later_one_is_cut(tmp_path):
    path = gif(tmp_path / "a.gif", picture(0, 0, 0, 6, 5), picture(1, 4, 4, 9, 9), picture(2, 100, 100, 2, 2))
    assert (inspect(path).width, inspect(path).height) == (6, 5)
    decoded = decode(path)
    assert decoded.frames.shape == (3, 5, 6, 3)
    np.testing.assert_array_equal(canvas(decoded, 2)[4, 4], (*GREEN, 255))
    with pytest.raises(MediaTooLargeError, match="max_pixels"):
        inspect(path, Limits(max_pixels=20))


def test_color_numbers_beyond_the_table_are_transparent(ffmpeg, tmp_path):
    path = gif(tmp_path / "a.gif", picture(0, indices=[0, 1, 2, 3, *range(4, 16)]))
    raw = ffmpeg.run("-i", path, "-pix_fmt", "rgba", "-f", "rawvideo", "-")
    np.testing.assert_array_equal(canvas(decode(path), 0), np.frombuffer(raw, np.uint8).reshape(4, 4, 4))


def test_a_gif_without_any_color_table_is_gray(tmp_path):
    blocks = [picture(7, disposal=2), picture(9, 1, 1, 2, 2, transparent=3), picture(100, 0, 0, 1, 1)]
    decoded = decode(gif(tmp_path / "a.gif", *blocks, table=b""))
    assert decoded.frames.shape == (3, 4, 4, 3)
    np.testing.assert_array_equal(canvas(decoded, 0), np.full((4, 4, 4), (7, 7, 7, 255)))
    np.testing.assert_array_equal(canvas(decoded, 2)[0, 0], (100, 100, 100, 255))


def test_interlaced_rows_come_in_their_order(ffmpeg, tmp_path):
    rows = [number % 4 for number in range(16) for _ in range(4)]
    path = gif(tmp_path / "a.gif", picture(0, height=16, indices=rows, flags=0x40), height=16)
    assert not np.array_equal(canvas(decode(path), 0)[..., :3].reshape(-1, 3), [list(TABLE[3 * n :][:3]) for n in rows])
    np.testing.assert_array_equal(np.rint(decode(path).frames * 255), ffmpeg.rgb24(path, 4, 16))


def test_a_file_ends_where_no_block_begins_and_says_so(tmp_path, caplog):
    """GIF89a calls it corrupt, browsers take it for the end; Pillow goes on at the next comma."""
    path = gif(tmp_path / "a.gif", picture(0), picture(1), b"\0\0junk", picture(2))
    with caplog.at_level(logging.WARNING, "xalora_client"):
        assert inspect(path).frames == 2
    assert "a.gif: no block begins at byte" in caplog.text
    assert "2 frames are read" in caplog.text
    assert decode(path).frames.shape == (2, 4, 4, 3)


@pytest.mark.parametrize("end", [b"", b";", b";junk, and more", bytes(50)], ids=["none", "whole", "after", "zeros"])
def test_what_drops_no_frame_is_not_warned_of(tmp_path, caplog, end):
    path = gif(tmp_path / "a.gif", picture(0), picture(1), end=end)
    assert inspect(path).frames == 2
    assert caplog.text == ""


def test_no_picture_at_all(tmp_path):
    for name, blocks in (("a.gif", []), ("b.gif", [b"\0junk", picture(0)])):
        with pytest.raises(DecodeError, match="there is no picture in it"):
            inspect(gif(tmp_path / name, *blocks))


def test_times_count_for_the_picture_that_follows(tmp_path):
    path = gif(tmp_path / "a.gif", picture(0, seconds=50), picture(1, seconds=0), picture(2, seconds=4))
    assert inspect(path).duration == pytest.approx(0.5 + 0.1 + 0.04)


def test_no_gif_ends_in_a_bare_exception(tmp_path):
    """Tables of all kinds or none, transparent colors inside and outside of them, every disposal, any rectangle."""
    for seed in range(300):
        chance = random.Random(seed)
        blocks = []
        for _ in range(chance.randint(1, 4)):
            width, height = chance.choice((1, 2, 4, 6)), chance.choice((1, 2, 4, 6))
            place = (chance.choice((0, 0, 1, 5)), chance.choice((0, 0, 1, 9)), width, height)
            transparent = chance.choice((None, None, 0, 3, 200))
            blocks.append(picture(chance.choice((0, 1, 7, 120)), *place, chance.randrange(8), transparent))
        path = gif(
            tmp_path / "a.gif", *blocks, width=chance.choice((0, 4, 9)), table=chance.choice((b"", TABLE, bytes(12)))
        )
        assert len(decode(path).frames) == len(blocks), seed
