"""Media to tensors and tensors to PNG, by ComfyUI's conventions."""

from __future__ import annotations

import importlib
import importlib.util
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tensors():
    """The module as ComfyUI has it: inside a package of any name that is not its own."""
    name = "pack_of_tensor_tests"
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield importlib.import_module(f"{name}.nodes.tensors")
    finally:
        for each in [each for each in sys.modules if each.split(".")[0] == name]:
            del sys.modules[each]


def image(channels, height=31, width=45):
    return torch.rand(height, width, channels, generator=torch.Generator().manual_seed(channels))


def encoded(tensors, image):
    return tensors.input_image(image, "the image").content()


def opened(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        return picture


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_an_image_survives_the_round_trip(tensors, tmp_path, channels, mode):
    before = image(channels)
    png = encoded(tensors, before)
    assert opened(png).mode == mode
    (tmp_path / "a").write_bytes(png)
    frames, mask, fps = tensors.load_frames(tmp_path / "a")
    assert frames.shape == (1, 31, 45, 3)
    assert frames.dtype == torch.float32
    assert fps == 1.0
    assert (frames[0] - before[..., : min(channels, 3)]).abs().max() <= 1 / 510 + 1e-6
    if channels == 4:
        assert (1 - mask[0] - before[..., 3]).abs().max() <= 1 / 510 + 1e-6
    else:
        assert mask is None


def test_what_was_loaded_is_encoded_exactly(tensors, tmp_path):
    values = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    frames, _, _ = tensors.load_frames(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(opened(encoded(tensors, frames[0]))), values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_floating_type_is_rounded_to_the_nearest(tensors, dtype):
    before = image(3).to(dtype)
    expected = (before.double() * 255).round().numpy().astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(encoded(tensors, before))), expected)


def test_values_outside_are_clamped(tensors):
    before = torch.tensor([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 7.0, float("nan"), float("inf"), -float("inf")])
    png = opened(encoded(tensors, before.reshape(3, 3, 1)))
    assert np.asarray(png).ravel().tolist() == [0, 0, 0, 1, 255, 255, 0, 255, 0]


def test_colors_below_transparency_are_kept(tensors):
    before = torch.zeros(2, 2, 4)
    before[..., 0] = 1.0
    assert np.asarray(opened(encoded(tensors, before)))[0, 0].tolist() == [255, 0, 0, 0]


def test_views_and_inference_tensors_are_taken(tensors):
    with torch.inference_mode():
        whole = image(4, 40, 50)
        view = whole[5:25:2, ::3, :3].flip(0)
        np.testing.assert_array_equal(
            np.asarray(opened(encoded(tensors, view))), (view * 255).round().to(torch.uint8).numpy()
        )
    encoded(tensors, image(3).requires_grad_())


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (8, 8), (8, 8, 2), (0, 8, 3), (8, 8, 5)])
def test_other_shapes_are_refused(tensors, shape):
    with pytest.raises(ValueError, match=r"image is .*one image \[height, width"):
        encoded(tensors, torch.zeros(shape))


def test_an_animation_with_its_mask_and_rate(tensors, tmp_path):
    pictures = [Image.new("RGBA", (8, 6), (10 * number, 0, 0, 40 * number)) for number in range(1, 4)]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], duration=125)
    frames, mask, fps = tensors.load_frames(tmp_path / "a.png")
    assert frames.shape == (3, 6, 8, 3)
    assert mask.shape == (3, 6, 8)
    assert mask.dtype == torch.float32
    assert fps == pytest.approx(8)
    assert mask[:, 0, 0].tolist() == pytest.approx([1 - 40 / 255, 1 - 80 / 255, 1 - 120 / 255])
    assert frames[:, 0, 0, 0].tolist() == pytest.approx([10 / 255, 20 / 255, 30 / 255])


def test_limits_and_damage_are_the_sdks_errors(tensors, tmp_path):
    def chunk(kind, content=b""):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT") + chunk(b"IEND"))
    with pytest.raises(Exception, match=r"needs .* of memory .* of 60000 x 60000") as caught:
        tensors.load_frames(tmp_path / "a.png")
    assert type(caught.value).__name__ == "MediaTooLargeError"
    (tmp_path / "b.png").write_text("<html>gone</html>")
    with pytest.raises(ValueError, match="looks like a web page") as caught:
        tensors.load_frames(tmp_path / "b.png")
    assert type(caught.value).__name__ == "DecodeError"


def test_a_batch_of_first_frames(tensors, tmp_path):
    for number, mode in enumerate(("RGB", "RGBA", "RGB")):
        color = (60 * number, 0, 0, 51)[: len(mode)]
        Image.new(mode, (4, 5), color).save(tmp_path / f"{number}.png")
    inspect = sys.modules[tensors.MediaInfo.__module__.rpartition(".")[0]].inspect
    files = [inspect(tmp_path / f"{number}.png") for number in range(3)]
    batch = tensors.load_batch(files, alpha=True)
    assert batch.shape == (3, 5, 4, 4)
    assert batch[:, 0, 0, 0].tolist() == pytest.approx([0, 60 / 255, 120 / 255])
    assert batch[:, 0, 0, 3].tolist() == pytest.approx([1, 51 / 255, 1])
    assert tensors.load_batch(files, alpha=False).shape == (3, 5, 4, 3)


def test_the_sound_of_a_video(tensors, tmp_path):
    av = pytest.importorskip("av")
    with av.open(tmp_path / "a.mov", "w") as output:
        picture = output.add_stream("mpeg4", rate=10)
        sound = output.add_stream("pcm_s16le", rate=8000, layout="stereo")
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        wave = (np.sin(np.arange(8000) / 10) * 20000).astype(np.int16)
        for number in range(10):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts = number
            output.mux(picture.encode(frame))
        samples = av.AudioFrame.from_ndarray(np.stack([wave, -wave], axis=1).reshape(1, -1), "s16", "stereo")
        samples.sample_rate, samples.pts = 8000, 0
        output.mux(sound.encode(samples))
        for stream in (picture, sound):
            output.mux(stream.encode())
    audio = tensors.load_audio(tmp_path / "a.mov")
    assert audio["sample_rate"] == 8000
    assert audio["waveform"].shape == (1, 2, 8000)
    np.testing.assert_allclose(audio["waveform"][0, 0].numpy(), wave / 32768, atol=1e-6)
    np.testing.assert_allclose(audio["waveform"][0, 1].numpy(), -wave / 32768, atol=1e-6)
    Image.new("RGB", (8, 8)).save(tmp_path / "still.png")
    assert tensors.load_audio(tmp_path / "still.png") is None
