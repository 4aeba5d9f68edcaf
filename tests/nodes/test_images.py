"""Images of a graph count by their pixels: what was paid for is found again, however it is encoded or delivered."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")


def image(seed=0, height=24, width=32, channels=3):
    return torch.rand(1, height, width, channels, generator=torch.Generator().manual_seed(seed))


def pixels_of(tensor):
    return (tensor[0] * 255).round().to(torch.uint8).numpy()


@pytest.fixture
def images(pack):
    import importlib

    return importlib.import_module(f"{pack.module.__name__}.nodes.tensors")


def test_the_same_pixels_are_the_same_image(images):
    one = image()[0]
    same = torch.from_numpy(pixels_of(one[None])).double() / 255
    assert images.input_image(one, "a").sha256() == images.input_image(same, "b").sha256()
    other = one.clone()
    other[3, 4, 1] = 1 - other[3, 4, 1]
    assert images.input_image(one, "a").sha256() != images.input_image(other, "a").sha256()
    assert images.input_image(one, "a").sha256() != images.input_image(one.reshape(32, 24, 3), "a").sha256()


def test_what_is_sent_has_these_pixels(images):
    one = images.input_image(image()[0], "a")
    one.sha256()
    for _ in range(2):  # The second time its pixels are no longer at hand.
        with Image.open(io.BytesIO(one.content())) as picture:
            np.testing.assert_array_equal(np.asarray(picture), pixels_of(image()))


def test_pixels_go_with_their_image(images):
    one = images.input_image(image()[0], "a")
    one.sha256()
    (reference,) = [reference for reference in images._recent if reference() and reference().value is not None]
    del one
    assert reference() is None


def test_a_batch_uploads_each_image_once_and_again_nothing(pack, sandbox):
    def uploads():
        return len(sandbox.rows("SELECT 1 FROM images WHERE complete"))

    before = uploads()
    batch = torch.cat([image(seed) for seed in (21, 22, 21)])
    first, task_ids = pack.run("XaloraUpscale", image=batch)
    assert first.shape == (3, 48, 64, 3)
    assert uploads() - before == 2
    again, same_ids = pack.run("XaloraUpscale", image=batch)
    assert same_ids == task_ids
    assert torch.equal(first, again)
    assert uploads() - before == 2
