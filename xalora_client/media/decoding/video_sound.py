"""The sound of a video, for a VIDEO that has to be built anew from its frames."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from av.audio.resampler import AudioResampler

from .inspection import DEFAULT_LIMITS, inspect
from .limits import Limits
from .media_info import Array, MediaInfo, fail, reason
from .memory import require_memory
from .video_file import AV_ERRORS, open_video


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
        # In the layout and at the rate of the first block. Packed: PyAV miscounts the planes of more than 7 channels.
        packed = AudioResampler(format="flt")
        try:
            for block in container.decode(stream):
                rate = rate or block.sample_rate
                for each in packed.resample(block):
                    values = np.asarray(each.to_ndarray(), np.float32).reshape(each.samples, -1).T
                    samples += each.samples
                    parts.append(values)
                if samples >= checked:  # Once for each second, beginning with the first.
                    limits.check_duration(samples / rate, subject)
                    require_memory(2, samples + rate, len(parts[-1]) if parts else 1, 1, subject)
                    checked = samples + rate
        except (*AV_ERRORS, ZeroDivisionError) as error:
            fail(info.path, f"its sound is damaged after {len(parts)} blocks ({reason(error)})", cause=error)
    return Sound(np.concatenate(parts, axis=1), int(rate)) if parts else None
