"""One decoded video frame, of any pixel format, to floating point colors, as FFmpeg itself converts it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from .frame_array import store
from .media_info import Array
from .video_file import orientation

_BICUBIC = 4
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_BT709, _BT601 = 1, 5
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9}
"""From a frame's color space to swscale's matrix; what is not here, or not said, is BT.601, as in FFmpeg."""

_NEW_SWSCALE = int(av.__version__.split(".")[0]) >= 17
"""From PyAV 17 on, swscale has threads of its own and moves chroma samples to where the frame says they lie.
"""


class ToRgb:
    """Converts the frames of one video. Call it with a frame, where its colors go ``[H, W, 3]``, and its mask.

    All frames get the size and orientation of the first, as players show a video that changes them midway. Colors go by
    way of 8 bits a channel, bicubic where chroma has to be scaled, which is what the ``ffmpeg`` program makes of a
    video as rgb24; so the pixels are the same as its own, and the same with every PyAV. One thread at a time may use
    one of these.
    """

    def __init__(self, first: VideoFrame, alpha: bool) -> None:
        self._format, self._channels = ("rgba", 4) if alpha else ("rgb24", 3)
        self._width, self._height = first.width, first.height
        self._orientation = orientation(first)
        self._reformatter = VideoReformatter()
        self._options: dict[str, Any] = {"threads": 1} if _NEW_SWSCALE else {}
        self._placing: _ChromaPlacing | None = None

    def __call__(self, frame: VideoFrame, out: Array, mask: Array | None) -> None:
        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        matrix = _MATRICES.get(int(frame.colorspace), _BT601)
        packed = self._reformatter.reformat(
            self._without_chroma_place(frame),
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
        store(self._orientation.apply(self._view(packed)), out, mask)

    def _without_chroma_place(self, frame: VideoFrame) -> VideoFrame:
        if not _NEW_SWSCALE:
            return frame
        if self._placing is None or not self._placing.fits(frame):
            self._placing = _ChromaPlacing(frame)
        return self._placing.forget(frame)

    def _view(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """The frame's pixels ``[H, W, C]``, without a copy and without the padding at the end of each row."""
        plane: Any = frame.planes[0]
        shape = (self._height, self._width, self._channels)
        pixels: npt.NDArray[np.uint8] = np.ndarray(
            shape, np.uint8, buffer=plane, strides=(plane.line_size, self._channels, 1)
        )
        return pixels


class _ChromaPlacing:
    """Makes frames forget where their chroma samples lie; the pixels are shared, not copied."""

    def __init__(self, frame: VideoFrame) -> None:
        self._key = (frame.width, frame.height, frame.format.name)
        self._graph = Graph()
        self._source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
        )
        forget = self._graph.add("setparams", "chroma_location=unspecified")
        self._sink = self._graph.add("buffersink")
        self._source.link_to(forget)
        forget.link_to(self._sink)
        self._graph.configure()

    def fits(self, frame: VideoFrame) -> bool:
        return self._key == (frame.width, frame.height, frame.format.name)

    def forget(self, frame: VideoFrame) -> VideoFrame:
        self._source.push(frame)
        found: Any = self._sink.pull()
        result: VideoFrame = found
        return result
