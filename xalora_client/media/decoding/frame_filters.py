"""FFmpeg's filters on single frames: they change what a frame says of itself; its pixels are shared, not copied."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from av.filter import Graph
from av.video.frame import VideoFrame


class FrameFilters:
    """A chain of filters, each a name and its arguments, for frames of the size and format of the first."""

    def __init__(self, first: VideoFrame, filters: Sequence[tuple[str, str]]) -> None:
        self._key = (first.width, first.height, first.format.name)
        graph = Graph()
        self._source = graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=Fraction(1, 1000)
        )
        last: Any = self._source
        for name, arguments in filters:
            following = graph.add(name, arguments)
            last.link_to(following)
            last = following
        self._sink = graph.add("buffersink")
        last.link_to(self._sink)
        graph.configure()
        self._graph = graph

    def fits(self, frame: VideoFrame) -> bool:
        """Whether the frame can go through: FFmpeg's filters are made for one size and format."""
        return self._key == (frame.width, frame.height, frame.format.name)

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        self._source.push(frame)
        found: Any = self._sink.pull()
        result: VideoFrame = found
        return result
