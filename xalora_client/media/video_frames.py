"""Video frames into one array: decoded by FFmpeg's threads, converted by ours, stored once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from .frame_array import FrameArray, store
from .info import Array, Decoded, MediaInfo, Progress, fail, reason
from .limits import Limits
from .video import AV_ERRORS, decoder, has_alpha, open_video, orientation

_BICUBIC = 4
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_BT601 = 5
_MATRICES = {1: 1, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9}
"""From a frame's color space to swscale's matrix; what is not here, or not said, is BT.601, as in FFmpeg."""

_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
"""Our own threads are enough; before PyAV 17 swscale had no others."""


def decode_video(info: MediaInfo, limits: Limits, progress: Progress | None) -> Decoded:
    """Decode every frame of a video that was inspected. See ``decode``."""
    with open_video(info.path, info.format, limits) as (container, stream):
        context = decoder(stream)
        context.thread_type = "AUTO"
        frames = _frames(info.path, container, stream, context)
        first = next(frames, None)
        if first is None:
            fail(info.path, "there is a video stream, but no frame comes out of it")
        width, height = orientation(first).size(first.width, first.height)
        array = FrameArray(info.frames or 1, width, height, limits, info.path.name)
        if has_alpha(first):
            array.add_mask()
        with ThreadPoolExecutor(_workers(), thread_name_prefix="xalora-decode") as pool:
            count = _fill(info.path, array, first, frames, pool, progress)
    return array.finish(count, info.fps)


def _workers() -> int:
    """Threads that convert: two keep up with the decoder on two cores, and memory is the limit beyond
    four.
    """
    return min(os.cpu_count() or 1, 4)


def _frames(
    path: Path, container: InputContainer, stream: VideoStream, context: VideoCodecContext
) -> Iterator[VideoFrame]:
    """Yield decoded frames in the order they are shown. Raises DecodeError at the first damaged one."""
    count = 0
    try:
        for packet in container.demux(stream):
            if packet.size:
                for frame in context.decode(packet):
                    yield frame
                    count += 1
        for frame in context.decode(None):
            yield frame
            count += 1
    except AV_ERRORS as error:
        fail(path, f"its video is damaged after frame {count} ({reason(error)})", cause=error)


def _fill(
    path: Path,
    array: FrameArray,
    first: VideoFrame,
    frames: Iterator[VideoFrame],
    pool: ThreadPoolExecutor,
    progress: Progress | None,
) -> int:
    """Convert ``first`` and all other frames into the array, several at a time. Return how many there
    were.
    """
    at_once = 2 * _workers()
    converters = [_Converter(first, array.mask is not None) for _ in range(at_once)]
    pending: deque[Future[None]] = deque()
    count = 0
    frame: VideoFrame | None = first
    try:
        while frame is not None:
            if len(pending) == at_once:
                pending.popleft().result()
            if count == array.capacity:
                while pending:
                    pending.popleft().result()
                array.grow()
            mask = None if array.mask is None else array.mask[count]
            pending.append(pool.submit(converters[count % at_once], frame, array.frames[count], mask))
            count += 1
            if progress is not None:
                progress(count, max(array.capacity, count))
            frame = next(frames, None)
        while pending:
            pending.popleft().result()
    except AV_ERRORS as error:
        fail(path, f"frame {count} cannot be converted ({reason(error)})", cause=error)
    finally:
        for each in pending:
            each.cancel()
    return count


class _Converter:
    """Turns decoded frames of any pixel format into rows of the array. One thread at a time may use it.

    All frames get the size, depth and orientation of the first, which is what a video that changes them
    midway is shown as. More than 8 bits a channel are converted by way of 16.
    """

    def __init__(self, first: VideoFrame, alpha: bool) -> None:
        deep = max(part.bits for part in first.format.components) > 8
        self._format = ("rgba64le" if alpha else "rgb48le") if deep else ("rgba" if alpha else "rgb24")
        self._dtype = np.dtype("<u2" if deep else "u1")
        self._channels = 4 if alpha else 3
        self._width, self._height = first.width, first.height
        self._orientation = orientation(first)
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame, out: Array, mask: Array | None) -> None:
        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        packed = self._reformatter.reformat(
            frame,
            self._width,
            self._height,
            self._format,
            src_colorspace=_MATRICES.get(int(frame.colorspace), _BT601),
            dst_colorspace=_BT601,
            interpolation=_BICUBIC,
            src_color_range=_FULL_RANGE if full else _LIMITED_RANGE,
            dst_color_range=_FULL_RANGE,
            **_ONE_THREAD,
        )
        pixels = self._view(packed)
        store(self._orientation.apply(pixels), out, mask)

    def _view(self, frame: VideoFrame) -> npt.NDArray[Any]:
        """The frame's pixels ``[H, W, C]``, without a copy and without the padding at the end of each row."""
        plane: Any = frame.planes[0]
        item = self._dtype.itemsize
        shape = (self._height, self._width, self._channels)
        strides = (plane.line_size, self._channels * item, item)
        return np.ndarray(shape, self._dtype, buffer=plane, strides=strides)
