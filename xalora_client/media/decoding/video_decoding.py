"""The frames of a video in one array, decoded by FFmpeg's threads and converted to colors by ours; and its sound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from .formats import MediaInfo
from .frames import Array, Decoded, FrameArray, Integers, OnFrame, Pixels, Write
from .limits import Limits, fail, library_errors, require_memory
from .video_file import DECODER_FRAMES, FrameFilters, bytes_a_pixel, decoder, frame_orientation, has_alpha, open_video

_BICUBIC = 4
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_BT709, _BT601 = 1, 5
_BT2020 = 9
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: _BT2020, 10: _BT2020}
"""From a frame's color space to swscale's matrix; for others, or none, it is BT.601, as in FFmpeg.

Constant luminance (10) is no matrix; FFmpeg uses that of BT.2020 for it, and so do we.
"""

_NEW_SWSCALE = int(av.__version__.split(".")[0]) >= 17
"""From PyAV 17 on, swscale has threads of its own and heeds a frame's own metadata.

It moves chroma samples to the positions in the metadata, and scales the chroma of each field by itself. The ``ffmpeg``
program does neither by default, and files have such metadata for frames to which it does not apply.
"""

_PLAIN = "chroma_location=unspecified:field_mode=prog:color_primaries=unknown:color_trc=unknown"

_WORKERS = min(os.cpu_count() or 1, 4)
"""Threads that convert: two keep up with the decoder on two cores, and memory is the limit beyond four."""

_MOST_PENDING = 2 * _WORKERS


class ToRgb:
    """Converts the frames of one video to RGB.

    All frames get the size and orientation of the first, as players show a video that changes them midway. Colors go
    through 8 bits a channel, bicubic where chroma has to be scaled, which is what the ``ffmpeg`` program makes of a
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

    def write(self, frame: VideoFrame, out: Array, mask: Array | None) -> None:
        """Write a frame's colors into ``[H, W, 3]``, and its mask into ``[H, W]``."""
        self.pixels(frame).write(out, mask)

    def pixels(self, frame: VideoFrame) -> Pixels:
        """The pixels of a frame, 8 bits a channel."""
        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        matrix = _MATRICES.get(int(frame.colorspace), _BT601)
        with library_errors(self._path, "a frame of its video cannot be converted"):
            packed = self._reformatter.reformat(
                self._without_metadata(frame, matrix),
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
        # Without a copy, and without the padding at the end of each row.
        plane: Any = packed.planes[0]
        shape = (self._height, self._width, self._channels)
        pixels: Integers = np.ndarray(shape, np.uint8, buffer=plane, strides=(plane.line_size, self._channels, 1))
        return Pixels(pixels[..., :3], pixels[..., 3] if self._channels == 4 else None).turned(self._orientation)

    def _without_metadata(self, frame: VideoFrame, matrix: int) -> VideoFrame:
        """The frame without the metadata, beyond matrix and range, that newer FFmpegs would heed or refuse."""
        if not _NEW_SWSCALE:
            return frame
        if self._plain is None or not self._plain.fits(frame):
            self._plain = FrameFilters(frame, [("setparams", _PLAIN)])
        plain = self._plain(frame)
        plain.colorspace = matrix
        return plain


def decode_video(info: MediaInfo, limits: Limits, progress: OnFrame | None) -> Decoded:
    """Decode every frame of a video that was inspected. See ``decode``."""
    with open_video(info.path, info.format, limits) as (container, stream):
        context = decoder(info.path, stream)
        context.thread_type = "AUTO"
        frames = decoded_frames(info.path, container, stream, context)
        first = next(frames)
        width, height = frame_orientation(info.path, first).size(first.width, first.height)
        beside = int(width * height * _working_bytes(first))
        array = FrameArray(info.frames or 1, width, height, limits, info.path.name, beside)
        alpha = has_alpha(first)
        if alpha:
            array.add_mask()
        converters = cycle([ToRgb(info.path, first, alpha) for _ in range(_MOST_PENDING)])
        writes: Iterator[Write] = (
            partial(converter.write, frame)
            for frame, converter in zip(chain([first], frames), converters, strict=False)
        )
        return array.fill(writes, info.fps, progress, threads=_WORKERS, most_pending=_MOST_PENDING)


def _working_bytes(first: VideoFrame) -> float:
    """What decoding takes beside the result, in bytes for each pixel of a frame.

    Frames that the decoder keeps, one for each of its threads, and those that wait to be converted, each with its RGB.
    """
    frames = DECODER_FRAMES + min(os.cpu_count() or 1, 16) + _MOST_PENDING
    return frames * bytes_a_pixel(first.format) + _MOST_PENDING * 4


def decoded_frames(
    path: Path, container: InputContainer, stream: VideoStream, context: VideoCodecContext
) -> Iterator[VideoFrame]:
    """Yield decoded frames in the order they are shown. Raises DecodeError at the first damaged one, or for none."""
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
    if not count:
        fail(path, "there is a video stream, but no frame comes out of it")


@dataclass(frozen=True)
class Sound:
    """Decoded sound: ``samples`` float32 ``[channels, samples]`` of -1..1, ``rate`` in samples per second."""

    samples: Array
    rate: int


def decode_first_sound(info: MediaInfo, limits: Limits) -> Sound | None:
    """Decode the first sound track of a video that was inspected. See ``decode_sound``."""
    if not info.has_audio:
        return None
    with open_video(info.path, info.format, limits) as (container, _):
        stream = next(stream for stream in container.streams.audio if stream.codec_context is not None)
        rate = stream.codec_context.sample_rate or 0
        subject = f"The sound of {info.path.name}"
        blocks: list[Array] = []
        samples = checked = 0
        for block, block_rate in _blocks(info.path, container, stream):
            rate = rate or block_rate
            if not rate:
                fail(info.path, "its sound has no sample rate")
            samples += block.shape[1]
            blocks.append(block)
            if samples >= checked:  # Once for each second, beginning with the first.
                limits.check_duration(samples / rate, subject)
                require_memory(2, samples + rate, len(block), 1, subject)
                checked = samples + rate
    return Sound(np.concatenate(blocks, axis=1), int(rate)) if blocks else None


def _blocks(path: Path, container: InputContainer, stream: AudioStream) -> Iterator[tuple[Array, int]]:
    """Yield decoded sound ``[channels, samples]`` in the layout of the first block, with its samples per second."""
    packed = AudioResampler(format="flt")  # PyAV miscounts the planes of more than 7 channels.
    decoded = container.decode(stream)
    count = 0
    while True:
        with library_errors(path, f"its sound is damaged after {count} blocks"):
            block = next(decoded, None)
            resampled = [] if block is None else packed.resample(block)
            arrays = [np.asarray(part.to_ndarray(), np.float32).reshape(part.samples, -1).T for part in resampled]
        if block is None:
            return
        for array in arrays:
            yield array, block.sample_rate
        count += 1
