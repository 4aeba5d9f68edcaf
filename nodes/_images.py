"""Tensors as images for the miners: encoded when it is needed, and counted by their pixels."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections import OrderedDict
from typing import Any

import torch
from blake3 import blake3

from ..xalora_client import InputImage
from ._tensors import check_image, png_of, to_pixels


def input_image(image: torch.Tensor, name: str) -> InputImage:
    """The image for a task's parameter; ``name`` is what messages call it.

    ``image`` is ``[H, W, C]`` as for ``encode_png``. It must not change before the task is created. Raises
    InvalidParameterError for another shape.
    """
    check_image(image)
    key = object()

    def content() -> bytes:
        held = _recent.take(key)
        return png_of(to_pixels(image) if held is None else held)

    def sha256() -> str:
        pixels = to_pixels(image)
        _recent.put(key, pixels)
        # BLAKE3 of the pixels, because SHA-256 of so many bytes takes a good part of the encoder's time.
        return hashlib.sha256(f"{pixels.shape}\n{blake3(pixels).hexdigest()}".encode()).hexdigest()

    made = InputImage(content, sha256, "image/png", name)
    # What is reused is never encoded.
    weakref.finalize(made, _recent.take, key).atexit = False
    return made


class _Recent:
    """The pixels of the last few images that were hashed: they are usually encoded next, and take time to convert."""

    MOST = min(8, (os.cpu_count() or 1) + 1)  # As many as have an encoder slot, from their hash to their encoding.
    LARGEST = 32 * 1024 * 1024

    def __init__(self) -> None:
        self._held: OrderedDict[object, Any] = OrderedDict()
        self._lock = threading.RLock()  # The collector may run ``take`` in the middle of ``put``.

    def put(self, key: object, pixels: Any) -> None:
        if pixels.nbytes > self.LARGEST:
            return
        with self._lock:
            self._held[key] = pixels
            while len(self._held) > self.MOST:
                self._held.popitem(last=False)

    def take(self, key: object) -> Any:
        with self._lock:
            return self._held.pop(key, None)


_recent = _Recent()
