"""Video frames into one array: decoded by FFmpeg's threads, converted by ours, stored once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .frame_array import FrameArray
from .library_errors import library_errors
from .limits import Limits
from .media_info import Decoded, MediaInfo, Progress, fail
from .video_colors import ToRgb
from .video_file import FRAMES_HELD, bytes_a_pixel, decoder, frame_orientation, has_alpha, open_video


def decode_video(info: MediaInfo, limits: Limits, progress: Progress | None) -> Decoded:
    """Decode every frame of a video that was inspected. See ``decode``."""
    with open_video(info.path, info.format, limits) as (container, stream):
        context = decoder(stream)
        context.thread_type = "AUTO"
        frames = _frames(info.path, container, stream, context)
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


def _frames(
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
