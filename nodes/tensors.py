"""Decoded media to tensors, tensors to PNG, and tensors as images for the miners.

ComfyUI's conventions: IMAGE is ``[F, H, W, 3]`` float32 of 0..1, not premultiplied; MASK is ``[F, H, W]`` float32 of
0..1 and, as LoadImage makes it, 1 - alpha: 0 where the image is opaque, 1 where it is fully transparent.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from blake3 import blake3

from ..xalora_client import InputImage, InvalidParameterError, MediaInfo, decode, decode_sound
from ..xalora_client.media.decoding.limits import require_memory

logger = logging.getLogger("xalora_client")

STILL_FPS = 1.0
"""The frame rate of a single image, which has none of its own."""

_COLOR_TYPES = {1: 0, 3: 2, 4: 6}
"""PNG's numbers for gray, for red, green and blue, and for those with alpha, by the number of channels."""

_UP = 2
"""PNG's filter that stores each row as its difference to the row above."""

_STRIP = 2**18
"""Values that are converted at a time: few enough to stay in a core's cache."""

_PIECE = 2**20
"""Bytes that are filtered and compressed at a time."""

# isal comes with the extra "bucket", and is several times as fast as zlib.
_compressobj: Callable[[int], Any] = import_module("isal.isal_zlib" if find_spec("isal") else "zlib").compressobj


def load_frames(
    media: str | os.PathLike[str] | MediaInfo, progress: Callable[[int, int], None] | None = None
) -> tuple[torch.Tensor, torch.Tensor | None, float]:
    """Return all frames of an image, animation or video, the mask, and the frame rate.

    ``media`` is a file, or its MediaInfo.

    The frames are ``[F, H, W, 3]`` float32 of 0..1 on the CPU, as displayed. The mask is ``[F, H, W]`` float32,
    1 - alpha, or None when the media has no transparency. The rate is in frames per second, 1.0 for a single image.
    The tensors are the decoder's own arrays, not copies of them.

    Blocks while it decodes: call it in a thread. ``progress(done, expected)`` is called after each frame; what it
    raises ends the decoding. Raises DecodeError for a file that is not media or is damaged,
    MediaTooLargeError when it exceeds a limit or does not fit into free memory (the message has the needed and the free
    bytes), and OSError when it cannot be read.
    """
    decoded = decode(media, progress=progress)
    mask = None if decoded.mask is None else torch.from_numpy(decoded.mask)
    return torch.from_numpy(decoded.frames), mask, decoded.fps or STILL_FPS


def load_audio(media: str | os.PathLike[str] | MediaInfo) -> dict[str, Any] | None:
    """Return a video's sound as ComfyUI's AUDIO, or None when it has none.

    AUDIO is a dict: ``waveform`` ``[1, channels, samples]`` float32 of -1..1, and ``sample_rate`` in Hz.
    For a VIDEO that is built from frames, so that it keeps its sound. Blocks, and raises, as ``load_frames`` does.
    """
    sound = decode_sound(media)
    if sound is None:
        return None
    return {"waveform": torch.from_numpy(sound.samples)[None], "sample_rate": sound.rate}


def load_batch(
    files: Sequence[MediaInfo], *, alpha: bool, progress: Callable[[int, int], None] | None = None
) -> torch.Tensor:
    """Return the first frame of each file as one batch ``[B, H, W, 3]``, or ``[B, H, W, 4]`` with ``alpha``.

    There must be a file, and all must have one size. Values are float32 of 0..1, alpha is 1 where a file has none. One
    array is filled, so that the batch is not in memory twice. Blocks, and raises, as ``load_frames`` does;
    ``progress(done, all)`` is called after each file.
    """
    width, height, channels = files[0].width, files[0].height, 4 if alpha else 3
    require_memory(len(files), width, height, channels, f"The batch from {files[0].path} on")
    batch = torch.ones(len(files), height, width, channels, dtype=torch.float32)
    for number, file in enumerate(files):
        frames, mask, _ = load_frames(file)
        batch[number, :, :, :3] = frames[0]
        if alpha and mask is not None:
            batch[number, :, :, 3] = 1 - mask[0]
        if progress is not None:
            progress(number + 1, len(files))
    return batch


LARGEST_VALUE = 2.0
"""The most that a pixel may be, and its negative the least: beyond that it is not meant as 0..1, but as 0..255."""


def checked_images(images: Any) -> torch.Tensor:
    """An IMAGE as a batch ``[B, H, W, C]`` of floats, before any task is created for it.

    What is meant is put right, and the log says so: an image without a batch axis, and whole numbers of 0..255. Blocks
    while it looks at all values. Raises InvalidParameterError for what is no tensor of images, for NaN and infinities,
    and for values far beyond 0..1.
    """
    if not isinstance(images, torch.Tensor):
        raise InvalidParameterError("image", type(images).__name__, "an IMAGE, which is a tensor")
    batch: torch.Tensor = images
    if batch.ndim == 3 and batch.shape[2] in _COLOR_TYPES:
        logger.warning("The image has no batch axis, and is taken for a batch of one")
        batch = batch[None]
    if batch.ndim != 4 or batch.shape[3] not in _COLOR_TYPES or 0 in batch.shape:
        allowed = "a batch of one image or more [count, height, width, 1, 3 or 4 channels]"
        raise InvalidParameterError("image", tuple(batch.shape), allowed)
    if batch.dtype == torch.bool:
        batch = batch.float()
    elif not batch.dtype.is_floating_point:
        logger.warning("The image has whole numbers (%s), which are taken for 0..255", batch.dtype)
        batch = batch.float() / 255
    for number, image in enumerate(batch, 1):
        least, most = (float(value) for value in torch.aminmax(image))
        if not -LARGEST_VALUE <= least <= most <= LARGEST_VALUE:  # NaN is neither.
            found = f"values of {least:g} to {most:g} in image {number} of {len(batch)}"
            raise InvalidParameterError(
                "image", found, "values of 0 to 1, without NaN; those of 0 to 255 divided by 255"
            )
    return batch


MAX_RECENT = min(8, (os.cpu_count() or 1) + 1)
"""How many images' pixels are kept from their hash to their encoding: as many as have an encoder slot."""

LARGEST_RECENT = 32 * 1024 * 1024
"""The most bytes of pixels that are kept for one image."""


class _Pixels:
    """An image's pixels from its hash to its encoding, which usually comes next: converting them takes time."""

    value: Any = None


_recent: deque[weakref.ref[_Pixels]] = deque()
"""The pixels that are kept, as long as their image exists: one whose result is reused is never encoded."""


def input_image(image: torch.Tensor, name: str) -> InputImage:
    """An image for a task's parameter, encoded as a lossless PNG of 8 bits a channel. Messages call it ``name``.

    ``image`` is ``[H, W, C]`` of any dtype and device, with values of 0..1. They are clamped to that range, NaN counts
    as 0, and they are rounded to the nearest of 256 steps (so decoding returns them to within 1/510). C is 1 for gray,
    3 for red, green and blue, 4 with alpha, which is kept and not multiplied into the colors. The tensor must not
    change before the task is created.

    Its hash and its content block while they are computed. Raises InvalidParameterError for another shape.
    """
    if image.ndim != 3 or image.shape[2] not in _COLOR_TYPES or 0 in image.shape:
        raise InvalidParameterError("image", tuple(image.shape), "one image [height, width, 1, 3 or 4 channels]")
    recent = _Pixels()
    reference = weakref.ref(recent)

    def content() -> bytes:
        pixels, recent.value = recent.value, None
        with suppress(ValueError):
            _recent.remove(reference)
        return png_of(to_pixels(image) if pixels is None else pixels)

    def sha256() -> str:
        pixels = to_pixels(image)
        if pixels.nbytes <= LARGEST_RECENT:
            recent.value = pixels
            _recent.append(reference)
            if len(_recent) > MAX_RECENT and (oldest := _recent.popleft()()):
                oldest.value = None
        # BLAKE3 of the pixels, because SHA-256 of so many bytes takes a good part of the encoder's time.
        return hashlib.sha256(f"{pixels.shape}\n{blake3(pixels).hexdigest()}".encode()).hexdigest()

    return InputImage(content, sha256, "image/png", name, is_checked=True)


def to_pixels(image: torch.Tensor) -> Any:
    """The image as an array of uint8 of the same shape, rounded as ``input_image`` says."""
    height, width, channels = image.shape
    pixels: Any = np.empty((height, width, channels), np.uint8)
    rows = max(1, _STRIP // (width * channels))
    for top in range(0, height, rows):
        strip: Any = image[top : top + rows].detach().float().cpu().mul(255).numpy()
        np.fmax(strip, 0, out=strip)  # Of NaN and 0, it takes 0.
        np.minimum(strip, 255, out=strip)
        pixels[top : top + rows] = np.rint(strip, out=strip)
    return pixels


def png_of(pixels: Any) -> bytes:
    """A PNG of an array of uint8 ``[H, W, 1, 3 or 4]``, whose rows all have the filter Up.

    Pillow tries five filters for each row, which takes most of its time: ``python -m benchmarks.encode`` compares.
    """
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", *_chunk(b"IHDR", head)]
    for part in _compressed(pixels.reshape(height, -1)):
        parts += _chunk(b"IDAT", part)
    return b"".join([*parts, *_chunk(b"IEND", b"")])


def _compressed(rows: Any) -> Iterator[bytes]:
    """Rows of uint8 as PNG stores them, in pieces: filtered all at once, they would take the image's memory again."""
    compress = _compressobj(1)
    count = max(1, _PIECE // rows.shape[1])
    filtered: Any = np.empty((count, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    above: Any = np.zeros_like(rows[:1])
    for top in range(0, len(rows), count):
        piece = rows[top : top + count]
        into = filtered[: len(piece), 1:]
        np.subtract(piece[:1], above, out=into[:1])
        np.subtract(piece[1:], piece[:-1], out=into[1:])
        above = piece[-1:]
        yield compress.compress(filtered[: len(piece)])
    yield compress.flush()


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, ...]:
    return struct.pack(">I", len(content)), kind, content, struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
