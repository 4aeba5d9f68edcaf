"""A user's program that decodes media. Nothing runs it: mypy reads it, against the installed wheel.

Apart from user_program.py because numpy's own arrays have Any in their types, for the shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

from xalora_client import Client, Decoded, Limits, MediaInfo, Sound, WorkflowTaskResult, decode, decode_sound
from xalora_client.media.decoding.formats import Format, Kind, asked_size
from xalora_client.media.decoding.frames import Array, OnFrame
from xalora_client.media.decoding.limits import require_memory


def show(done: int, expected: int) -> None:
    """What a decoder calls after each frame."""
    print(done, expected)


PROGRESS: OnFrame = show


def frames(client: Client, result: WorkflowTaskResult) -> npt.NDArray[np.float32]:
    """From a finished task to its frames and its sound."""
    file = client.download(result)
    assert_type(file.info, MediaInfo)
    assert_type(file.info.format, Format)
    assert_type(file.info.kind, Kind)
    decoded = decode(file.info, Limits(max_frames=100), progress=PROGRESS)
    assert_type(decoded, Decoded)
    assert_type(decoded.frames, npt.NDArray[np.float32])
    pixels: Array = decoded.frames
    print(pixels.shape)
    assert_type(decoded.mask, npt.NDArray[np.float32] | None)
    assert_type(decoded.fps, float | None)
    sound = decode_sound(file.path)
    assert_type(sound, Sound | None)
    if sound is not None:
        assert_type(sound.samples, npt.NDArray[np.float32])
        assert_type(sound.rate, int)
    require_memory(37, 848, 480, 3, "The batch")
    frames, width, height = asked_size({"parameters": {"length": 37, "width": 848, "height": 480}})
    require_memory(frames, width, height, 3, "The result")
    return decoded.frames
