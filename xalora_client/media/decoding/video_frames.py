"""Video frames into one array: decoded by FFmpeg's threads, converted to colors by ours, stored once."""

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

from .frame_array import FrameArray, write_pixels
from .limits import Limits, library_errors
from .media_info import Array, Decoded, MediaInfo, Progress, fail
from .video_file import FRAMES_HELD, FrameFilters, bytes_a_pixel, decoder, frame_orientation, has_alpha, open_video

_BICUBIC = 4
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_BT709, _BT601 = 1, 5
_BT2020 = 9
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: _BT2020, 10: _BT2020}
"""From a frame's color space to swscale's matrix; what is not here, or not said, is BT.601, as in FFmpeg.

Constant luminance (10) is no matrix; FFmpeg takes the one of BT.2020 for it, and so do we.
"""

_NEW_SWSCALE = int(av.__version__.split(".")[0]) >= 17
"""From PyAV 17 on, swscale has threads of its own and believes what a frame says of itself.

It moves chroma samples to where they are said to lie, and scales the chroma of each field by itself. The ``ffmpeg``
program does neither unless it is told to, and files say both of frames that are not so.
"""

_PLAIN = "chroma_location=unspecified:field_mode=prog:color_primaries=unknown:color_trc=unknown"


class ToRgb:
    """Converts the frames of one video. Call it with a frame, where its colors go ``[H, W, 3]``, and its mask.

    All frames get the size and orientation of the first, as players show a video that changes them midway. Colors go by
    way of 8 bits a channel, bicubic where chroma has to be scaled, which is what the ``ffmpeg`` program makes of a
    video as rgb24; so the pixels are the same as its own, and the same with every PyAV. One thread at a time may use
    one of these. Raises DecodeError for a frame that cannot be converted; ``path`` is the file.
    """

    def __init__(self, path: Path, first: VideoFrame, alpha: bool) -> None:
        self._path = path
        self._format, self._channels = ("rgba", 4) if alpha else ("rgb24", 3)
        self._width, self._height = first.width, first.height
        self._orientation = frame_orientation(path, first)
        self._reformatter = VideoReformatter()
        self._options: dict[str, Any] = {"threads": 1} if _NEW_SWSCALE else {}
        self._plain: FrameFilters | None = None

    def __call__(self, frame: VideoFrame, out: Array, mask: Array | None) -> None:
        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        matrix = _MATRICES.get(int(frame.colorspace), _BT601)
        with library_errors(self._path, "a frame of its video cannot be converted"):
            packed = self._reformatter.reformat(
                self._as_plain(frame, matrix),
                self._width,
                self._height,
                self._format,
                src_colorspace=matrix,
                dst_colorspace=_BT709 if matrix == _BT601 else _BT601,  # RGB has none; PyAV < 17 must see a difference
                interpolation=_BICUBIC,
                src_color_range=_FULL_RANGE if full else _LIMITED_RANGE,
                dst_color_range=_FULL_RANGE,
                **self._options,
            )
        pixels = self._orientation.apply(self._view(packed))
        write_pixels(pixels[..., :3], pixels[..., 3] if self._channels == 4 else None, out, mask)

    def _as_plain(self, frame: VideoFrame, matrix: int) -> VideoFrame:
        """The frame without what newer FFmpegs would make of it beyond matrix and range, or refuse."""
        if not _NEW_SWSCALE:
            return frame
        if self._plain is None or not self._plain.fits(frame):
            self._plain = FrameFilters(frame, [("setparams", _PLAIN)])
        plain = self._plain(frame)
        plain.colorspace = matrix
        return plain

    def _view(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """The frame's pixels ``[H, W, C]``, without a copy and without the padding at the end of each row."""
        plane: Any = frame.planes[0]
        shape = (self._height, self._width, self._channels)
        pixels: npt.NDArray[np.uint8] = np.ndarray(
            shape, np.uint8, buffer=plane, strides=(plane.line_size, self._channels, 1)
        )
        return pixels


def decode_video(info: MediaInfo, limits: Limits, progress: Progress | None) -> Decoded:
    """Decode every frame of a video that was inspected. See ``decode``."""
    with open_video(info.path, info.format, limits) as (container, stream):
        context = decoder(stream)
        context.thread_type = "AUTO"
        frames = decoded_frames(info.path, container, stream, context)
        first = next(frames, None)
        if first is None:
            fail(info.path, "there is a video stream, but no frame comes out of it")
        width, height = frame_orientation(info.path, first).size(first.width, first.height)
        beside = int(width * height * _working_bytes(first))
        array = FrameArray(info.frames or 1, width, height, limits, info.path.name, beside)
        if has_alpha(first):
            array.add_mask()
        with ThreadPoolExecutor(_workers(), thread_name_prefix="xalora-decode") as pool:
            count = _fill(info.path, array, first, frames, pool, progress)
    return array.trimmed(count, info.fps)


def _workers() -> int:
    """Threads that convert: two keep up with the decoder on two cores, and memory is the limit beyond four."""
    return min(os.cpu_count() or 1, 4)


def _working_bytes(first: VideoFrame) -> float:
    """What decoding takes beside the result, for each pixel of a frame.

    Frames that the decoder keeps, one for each of its threads, and those that wait to be converted, each with its RGB.
    """
    waiting = 2 * _workers()
    frames = FRAMES_HELD + min(os.cpu_count() or 1, 16) + waiting
    return frames * bytes_a_pixel(first.format) + waiting * 4


def decoded_frames(
    path: Path, container: InputContainer, stream: VideoStream, context: VideoCodecContext
) -> Iterator[VideoFrame]:
    """Yield decoded frames in the order they are shown. Raises DecodeError at the first damaged one."""
    count = 0
    packets = container.demux(stream)
    more = True
    while more:
        with library_errors(path, f"its video is damaged after frame {count}"):
            packet = next(packets, None)
            more = packet is not None
            frames = context.decode(packet) if packet is None or packet.size else []
        for frame in frames:
            yield frame
            count += 1


def _fill(
    path: Path,
    array: FrameArray,
    first: VideoFrame,
    frames: Iterator[VideoFrame],
    pool: ThreadPoolExecutor,
    progress: Progress | None,
) -> int:
    """Convert ``first`` and all other frames into the array, several at a time. Return how many there were."""
    at_once = 2 * _workers()
    converters = [ToRgb(path, first, array.mask is not None) for _ in range(at_once)]
    pending: deque[Future[None]] = deque()
    count = 0
    frame: VideoFrame | None = first
    try:
        while frame is not None:
            _settle(pending, at_once - 1)
            if count == array.capacity:
                _settle(pending, 0)
                array.grow()
            mask = None if array.mask is None else array.mask[count]
            pending.append(pool.submit(converters[count % at_once], frame, array.frames[count], mask))
            count += 1
            if progress is not None:
                progress(count, array.capacity)
            frame = next(frames, None)
        _settle(pending, 0)
    finally:
        for each in pending:
            each.cancel()
    return count


def _settle(pending: deque[Future[None]], leave: int) -> None:
    """Wait for the oldest conversions until no more than ``leave`` are under way, and raise what they raised."""
    while len(pending) > leave:
        pending.popleft().result()
