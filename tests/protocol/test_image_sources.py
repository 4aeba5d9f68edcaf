"""Pictures as users have them: a path, bytes, Pillow, numpy, torch. The miner gets the same pixels from each."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.pictures import png
from xalora_client import Client, CustomTask, InputImage, InvalidParameterError, UpscalerTask
from xalora_client.protocol.parameters import decode_data_uri, encode_data_uri

PIXELS = np.random.default_rng(7).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def torch_of(pixels, **options):
    torch = pytest.importorskip("torch")
    return torch.tensor(pixels, **options)


def as_jpeg(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


SOURCES = {
    "Pillow": lambda: Image.fromarray(PIXELS),
    "numpy": lambda: PIXELS,
    "numpy, not in one piece": lambda: np.repeat(PIXELS, 2, axis=1)[:, ::2],
    "numpy of floats": lambda: PIXELS / 255,
    "numpy, a batch of one": lambda: (PIXELS / np.float32(255))[None],
    "torch": lambda: torch_of(PIXELS),
    "torch of floats": lambda: torch_of(PIXELS / 255.0)[None].requires_grad_(),
    "torch, not in one piece": lambda: torch_of(PIXELS.transpose(2, 0, 1).copy()).permute(1, 2, 0),
}


def pixels_sent(task, sequencer):
    """What a miner would get."""
    with Client("a#b", sequencer.url) as client:
        client.execute_workflow(task)
    (seen,) = [seen for seen in sequencer.seen if seen.path == "/task_create"]
    _, content = decode_data_uri(seen.body["task_details"]["parameters"]["image"])
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture(autouse=True)
def in_the_task(monkeypatch):
    monkeypatch.setenv("XALORA_IMAGE_DELIVERY", "data-uri")


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(
    "task", [UpscalerTask, lambda image: CustomTask("edit", {"image": image, "steps": 3})], ids=["known", "custom"]
)
def test_the_pixels_arrive(sequencer, kind, task):
    assert (pixels_sent(task(SOURCES[kind]()), sequencer) == PIXELS).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "PA"])
def test_each_mode_of_pillow(sequencer, mode):
    picture = Image.fromarray(PIXELS).convert("L" if mode == "PA" else "RGB").convert(mode)
    assert pixels_sent(UpscalerTask(picture), sequencer).shape[:2] == (6, 8)


def test_16_bits_become_8_and_32_bits_are_refused(sequencer):
    picture = Image.new("I;16", (8, 6), 30_000)
    assert pixels_sent(UpscalerTask(picture), sequencer)[0, 0] == 30_000 >> 8
    for mode in ("I", "F"):
        with pytest.raises(InvalidParameterError, match="32 bits a channel"):
            UpscalerTask(Image.new(mode, (8, 6)))


@pytest.mark.parametrize("mode", ["P", "P with transparency", "L", "RGB"])
def test_colors_beside_the_pixels_tell_pictures_apart(mode):
    mode, *transparent = mode.split(" with ")
    one, other = Image.new(mode, (8, 6)), Image.new(mode, (8, 6))
    if mode == "P" and not transparent:
        one.putpalette([255, 0, 0])
        other.putpalette([0, 255, 0])
    else:
        other.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
    assert InputImage.of(one).sha256() != InputImage.of(other).sha256()
    assert Image.open(io.BytesIO(InputImage.of(other).content())).has_transparency_data is (
        "transparency" in other.info
    )


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 4), (1, 6, 8, 3)])
def test_each_shape_of_an_array(sequencer, shape):
    assert pixels_sent(UpscalerTask(np.full(shape, 200, np.uint8)), sequencer).flat[0] == 200


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 6, 8)), np.zeros((2, 6, 8, 3)), np.zeros((6, 8, 5)), np.zeros(6), np.zeros((0, 8, 3)),
        np.full((6, 8, 3), np.nan), np.full((6, 8, 3), 255.0), np.full((6, 8, 3), -1.0), np.zeros((6, 8, 3), np.int64),
        Image.new("RGB", (0, 4)), 5, {"a": 1}, [PIXELS], object(),
        io.BytesIO(png()), io.BufferedReader(io.BytesIO(png())),
    ],
    ids=[
        "channels first", "a batch", "five channels", "a row", "nothing", "NaN", "of 0 to 255", "below 0", "int64",
        "Pillow's nothing", "a number", "a dict", "a list", "an object",
        "a file in memory", "an open file",
    ],
)  # fmt: skip
def test_what_is_none_is_refused_before_anything_is_sent(wrong):
    with pytest.raises(InvalidParameterError, match=r"^image is"):
        UpscalerTask(wrong)
    if not isinstance(wrong, int | dict | list):  # Those are JSON.
        with pytest.raises(InvalidParameterError):
            CustomTask("edit", {"image": wrong})


@pytest.mark.parametrize("content", [png(), as_jpeg(Image.fromarray(PIXELS))], ids=["PNG", "JPEG"])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, "path"], ids=str)
def test_bytes_and_paths_go_as_they_are(sequencer, tmp_path, content, kind):
    path = tmp_path / "photo"
    path.write_bytes(content)
    with Client("a#b", sequencer.url) as client:
        client.execute_workflow(UpscalerTask(path if kind == "path" else kind(content)))
    (seen,) = [seen for seen in sequencer.seen if seen.path == "/task_create"]
    assert decode_data_uri(seen.body["task_details"]["parameters"]["image"])[1] == content


def test_a_text_stays_an_address():
    assert UpscalerTask("https://example.com/a.png").image_url == "https://example.com/a.png"
    with pytest.raises(InvalidParameterError, match="image_url"):
        UpscalerTask("photo.png")
    with pytest.raises(InvalidParameterError, match=r"pathlib\.Path"):
        InputImage.of("photo.png")


def test_equal_pixels_are_one_task(sequencer, home):
    with Client("a#b", sequencer.url, home=home, ledger=True) as client:
        ids = {
            client.execute_workflow(UpscalerTask(source)) for source in (PIXELS, Image.fromarray(PIXELS), PIXELS / 255)
        }
    assert (len(ids), sequencer.count("task_create")) == (1, 1)


def test_what_changes_later_is_not_sent(sequencer):
    pixels, picture = PIXELS.copy(), Image.fromarray(PIXELS)
    tasks = [UpscalerTask(pixels), CustomTask("edit", {"image": picture})]
    pixels[:] = 0
    picture.paste("black", (0, 0, 8, 6))
    assert (pixels_sent(tasks[0], sequencer) == PIXELS).all()
    sequencer.seen.clear()
    assert (pixels_sent(tasks[1], sequencer) == PIXELS).all()


def test_images_at_any_depth_of_parameters(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    task = CustomTask("edit", {"frames": [path, {"mask": PIXELS}], "uri": encode_data_uri(png(), "image/png")})
    frames = task.task_details["parameters"]["frames"]
    assert [type(image) for image in (frames[0], frames[1]["mask"])] == [InputImage, InputImage]


def test_nothing_is_imported_for_it():
    code = "import sys; import xalora_client; print({'numpy', 'PIL', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "set()\n"
