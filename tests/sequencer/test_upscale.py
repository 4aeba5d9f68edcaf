"""The upscaler's fetching, decoding and enlarging."""

from __future__ import annotations

import base64
import io
import struct
import time
import zlib
from urllib.parse import quote_from_bytes

import numpy as np
import pytest
from PIL import Image

from tests.support.pictures import unmarked
from xalora_client.sequencer import inputs


def noise(mode, width=37, height=23):
    """A picture no filter leaves as it is."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(5).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(values if channels > 1 else values[..., 0])


def png(picture, **options):
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def data_uri(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


def enlarged(sandbox, address):
    with Image.open(io.BytesIO(sandbox.result(sandbox.create("upscaler", image=address)))) as picture:
        assert picture.format == "PNG"
        picture.load()
        return picture


def lanczos(picture):
    """What a local Lanczos makes of each channel by itself."""
    size = (2 * picture.width, 2 * picture.height)
    bands = [band.resize(size, Image.Resampling.LANCZOS) for band in picture.split()]
    return Image.merge(picture.mode, bands)


def why_failed(sandbox, address):
    state = sandbox.wait(sandbox.create("upscaler", image=address))
    assert state["status"] == "failed", state
    return state["msg"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("way", ["http", "data"])
def test_every_pixel_is_lanczos(shared, website, mode, way):
    picture = noise(mode)
    website.pages["/image.png"] = png(picture)
    address = f"{website.url}/image.png" if way == "http" else data_uri(png(picture))
    result = enlarged(shared, address)
    assert (result.mode, result.size) == (mode, (74, 46))
    assert np.array_equal(unmarked(result), unmarked(lanczos(picture)))


def test_result_is_sent_as_png(shared):
    task = shared.create("upscaler", image=data_uri(png(noise("RGB", 1, 1))))
    assert shared.wait(task)["result"].endswith(".png")


@pytest.mark.parametrize("mode", ["L", "LA", "P"])
def test_other_modes_become_rgb_or_rgba(shared, mode):
    picture = noise("RGB").quantize(8) if mode == "P" else noise(mode)
    expected = picture.convert("RGBA" if mode == "LA" else "RGB")
    assert np.array_equal(unmarked(enlarged(shared, data_uri(png(picture)))), unmarked(lanczos(expected)))


def test_16_bit_greys_are_scaled(shared):
    values = np.full((4, 4), 257 * 100, dtype=np.uint16)
    result = enlarged(shared, data_uri(png(Image.fromarray(values))))
    assert set(result.tobytes()) == {100}


def test_turned_photos_come_out_upright(shared):
    picture = noise("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise for showing
    result = enlarged(shared, data_uri(png(picture, exif=exif)))
    assert np.array_equal(unmarked(result), unmarked(lanczos(picture.transpose(Image.Transpose.ROTATE_270))))


def test_percent_encoded_data_uris(shared):
    picture = noise("RGB", 3, 3)
    result = enlarged(shared, "data:image/png," + quote_from_bytes(png(picture)))
    assert np.array_equal(unmarked(result), unmarked(lanczos(picture)))


def test_a_4k_picture_fits(shared):
    picture = Image.linear_gradient("L").resize((3840, 2160)).convert("RGB")
    uri = data_uri(png(picture, compress_level=0))
    assert len(uri) > 30 * 2**20
    assert enlarged(shared, uri).size == (7680, 4320)


def bomb(width, height):
    """A small file that claims to be a large picture."""
    header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [6000, 10_000, 60_000])
def test_too_many_pixels(shared, side):
    assert "pixels" in why_failed(shared, data_uri(bomb(side, side)))


def test_too_many_bytes(shared, website):
    assert "bytes" in why_failed(shared, f"{website.url}/endless")
    answer = shared.try_create("upscaler", {"image": "data:," + "x" * (inputs.MAX_BYTES + 1)})
    assert answer.status_code == 400
    assert "image: the image is too large" in answer.json()["message"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,%%%", "not base64"),
        ("data:text/plain,hello", "cannot be decoded"),
        ("data:image/png;base64," + base64.b64encode(png(noise("RGB"))[:200]).decode(), "cannot be decoded"),
        ("http://127.0.0.1:1/image.png", "cannot be fetched"),
        ("http://", "cannot be fetched"),
        ("http://[", "cannot be fetched"),
    ],
)
def test_images_that_cannot_be_had(shared, address, said):
    assert said in why_failed(shared, address)


def test_an_image_that_is_not_there(shared, website):
    assert "answered 404" in why_failed(shared, f"{website.url}/missing.png")


def test_a_silent_server_is_given_up(shared, website, monkeypatch):
    monkeypatch.setattr(inputs, "FETCH_SECONDS", 0.2)
    assert "no answer within 0.2 s" in why_failed(shared, f"{website.url}/silent")


def test_cancel_interrupts_fetching(shared, website, poll):
    task = shared.create("upscaler", image=f"{website.url}/silent")
    poll(website.asked.is_set)
    begun = time.monotonic()
    shared.cancel(task)
    assert shared.query(task)["status"] == "canceled"
    assert time.monotonic() - begun < 2


def test_a_canceled_enlarging_leaves_nothing(shared, poll):
    rendering = shared.data / "rendering"
    task = shared.create("upscaler", image=data_uri(png(noise("RGB", 1500, 1500), compress_level=0)))
    poll(lambda: list(rendering.iterdir()))
    shared.cancel(task)
    assert shared.query(task)["status"] == "canceled"
    poll(lambda: not list(rendering.iterdir()))
    assert not list((shared.data / "media").glob(f"{task}*"))
