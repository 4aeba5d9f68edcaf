"""The sound of a video, for a VIDEO that has to be built anew from its frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from .inspection import DEFAULT_LIMITS, inspect
from .limits import Limits, library_errors, require_memory
from .media_info import Array, MediaInfo, fail
from .video_file import open_video


@dataclass(frozen=True)
class Sound:
    """Decoded sound: ``samples`` float32 ``[channels, samples]`` of -1..1, ``rate`` in samples per second."""

    samples: Array
    rate: int


def decode_sound(media: str | os.PathLike[str] | MediaInfo, limits: Limits = DEFAULT_LIMITS) -> Sound | None:
    """Decode the first sound track of a video that has a decoder, or return None when there is none.

    Images and animations have none. Raises what ``inspect`` raises; DecodeError also when the sound is damaged, and
    MediaTooLargeError when it does not fit into free memory.
    """
    info = media if isinstance(media, MediaInfo) else inspect(media, limits)
    if not info.has_audio:
        return None
    with open_video(info.path, info.format, limits) as (container, _):
        stream = next(each for each in container.streams.audio if each.codec_context is not None)
        rate = stream.codec_context.sample_rate or 0
        subject = f"The sound of {info.path.name}"
        parts: list[Array] = []
        samples = checked = 0
        for values, block_rate in _blocks(info.path, container, stream):
            rate = rate or block_rate
            if not rate:
                fail(info.path, "its sound does not say how many samples make a second")
            samples += values.shape[1]
            parts.append(values)
            if samples >= checked:  # Once for each second, beginning with the first.
                limits.check_duration(samples / rate, subject)
                require_memory(2, samples + rate, len(values), 1, subject)
                checked = samples + rate
    return Sound(np.concatenate(parts, axis=1), int(rate)) if parts else None


def _blocks(path: Path, container: InputContainer, stream: AudioStream) -> Iterator[tuple[Array, int]]:
    """Yield decoded sound ``[channels, samples]`` in the layout of the first block, with its samples per second."""
    packed = AudioResampler(format="flt")  # PyAV miscounts the planes of more than 7 channels.
    decoded = container.decode(stream)
    count = 0
    while True:
        with library_errors(path, f"its sound is damaged after {count} blocks"):
            block = next(decoded, None)
            resampled = [] if block is None else packed.resample(block)
            values = [np.asarray(each.to_ndarray(), np.float32).reshape(each.samples, -1).T for each in resampled]
        if block is None:
            return
        for each in values:
            yield each, block.sample_rate
        count += 1
