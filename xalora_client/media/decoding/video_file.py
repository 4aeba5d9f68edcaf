"""Video files: opened without trusting them, and inspected without decoding more than the first frame."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import Type as SideDataType
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ...errors import MediaTooLargeError
from .formats import Format, MediaInfo
from .frames import UPRIGHT, Orientation, from_display_matrix
from .limits import Limits, fail, library_errors, require_decoder_memory

logger = logging.getLogger("xalora_client")

_DEMUXERS = {"mp4": "mov", "mov": "mov", "webm": "matroska", "mkv": "matroska"}
_MAX_FPS = 1000
DECODER_FRAMES = 8
"""The number of frames that a decoder keeps to decode others from, at the sizes where memory counts."""

_SIDE_DATA_TYPES = 64
"""More than the kinds of side data that FFmpeg has; they are numbered from 0."""

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@contextmanager
def open_video(path: Path, file_format: Format, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and find its picture stream, checked against ``max_pixels``.

    The demuxer is that of the detected format, and the file is opened as a plain local file, so nothing in it makes
    FFmpeg open other files or addresses. Raises DecodeError when it cannot be opened or has no picture, and
    MediaTooLargeError.
    """
    # Decoders count padding; the exact limit is checked below. FFmpeg's own limit is what it can count to.
    allowed = str(int(min(2 * limits.max_pixels, 2**31 - 1)))
    demuxer = _DEMUXERS[file_format.name]
    with library_errors(path, f"FFmpeg does not open it as {file_format.name}"):
        try:
            container = av.open(
                f"file:{path}", format=demuxer, options={"max_pixels": allowed}, metadata_errors="replace"
            )
        except av.error.EOFError as error:
            fail(path, "it ends before its first frame", cause=error)
    with container:
        stream = _picture_stream(path, container)
        width, height = stream.codec_context.width, stream.codec_context.height
        limits.check_pixels(width, height, path.name)
        stream.codec_context.options = {"max_pixels": allowed}
        yield container, stream


def _picture_stream(path: Path, container: InputContainer) -> VideoStream:
    cover = av.stream.Disposition.attached_pic
    stream = next((stream for stream in container.streams.video if not stream.disposition & cover), None)
    if stream is None:
        fail(path, f"it contains {'sound but no video' if container.streams.audio else 'neither picture nor sound'}")
    if stream.codec_context is None:
        fail(path, "its video codec is unknown to this FFmpeg", "Update the “av” package.")
    return stream


def decoder(path: Path, stream: VideoStream) -> VideoCodecContext:
    """Return the decoder of a stream's packets: its own context, or libvpx's where there is a hidden alpha plane.

    FFmpeg's own VP8 and VP9 decoders drop the alpha that WebM stores beside the picture. Raises MediaTooLargeError
    where the decoder's frames do not fit into free memory.
    """
    width, height = stream.codec_context.width, stream.codec_context.height
    require_decoder_memory(width, height, DECODER_FRAMES * bytes_a_pixel(stream.codec_context.format), path.name)
    name = _ALPHA_DECODERS.get(stream.codec_context.codec.name, "")
    # The name of Matroska's tag is in capitals where FFmpeg has copied it from another file.
    tags = {tag.lower(): value for tag, value in stream.metadata.items()}
    if tags.get("alpha_mode") == "1" and name in av.codecs_available:
        context = av.CodecContext.create(name, "r")
        context.options = stream.codec_context.options
        if isinstance(context, VideoCodecContext):
            return context
    return stream.codec_context


def frame_orientation(path: Path, frame: VideoFrame) -> Orientation:
    """Return how a decoded frame has to be turned."""
    with library_errors(path, "its first frame cannot be read"):
        matrix = _display_matrix(frame)
    return UPRIGHT if matrix is None else from_display_matrix(matrix)


def _display_matrix(frame: VideoFrame) -> bytes | None:
    try:
        found: Any = frame.side_data
    except ValueError:  # PyAV reads all side data or none, and newer FFmpegs have kinds that it has no name for.
        unknown = sorted(set(range(_SIDE_DATA_TYPES)) - {kind.value for kind in SideDataType})
        without_unknown = FrameFilters(frame, [("sidedata", f"mode=delete:type={number}") for number in unknown])
        found = without_unknown(frame).side_data
    matrix = found.get("DISPLAYMATRIX")
    return None if matrix is None else bytes(matrix)


def bytes_a_pixel(pixel_format: VideoFormat | None) -> float:
    """The bytes that a decoded frame takes in memory, for each pixel; 4.0 while the format is unknown."""
    return pixel_format.padded_bits_per_pixel / 8 if pixel_format is not None else 4.0


def has_alpha(frame: VideoFrame) -> bool:
    """Whether a decoded frame has transparency, a palette included."""
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


@dataclass
class Timing:
    """When the packets of a stream are shown, in its time base."""

    packets: int = 0
    first: int | None = None
    last: int | None = None
    end: int | None = None

    def add(self, pts: int | None, duration: int | None) -> None:
        self.packets += 1
        if pts is None:
            return
        if self.first is None or pts < self.first:
            self.first = pts
        if self.last is None or pts > self.last:
            self.last = pts
            self.end = pts + (duration or 0)

    def seconds(self, time_base: Fraction | None) -> float:
        """From the first packet's time to the last one's end; where that is unknown, it lasts as long as the mean.

        0.0 when no time is known, or all packets are shown at the same time.
        """
        if self.first is None or self.last is None or self.end is None or time_base is None:
            return 0.0
        if self.first == self.last and self.packets > 1:
            return 0.0
        length = self.end - self.first
        if self.end == self.last and self.packets > 1:
            length = (self.last - self.first) * self.packets // (self.packets - 1)
        return float(length * time_base)


def inspect_video(path: Path, size: int, file_format: Format, limits: Limits) -> MediaInfo:
    """Read all packets but decode only the first frame, and not even that if it is too large. See ``inspect``."""
    with open_video(path, file_format, limits) as (container, stream):
        context: VideoCodecContext | None = None
        try:
            context = decoder(path, stream)
            context.thread_count = 1
        except MediaTooLargeError as error:
            logger.warning("The result was not checked: %s", error.what)
        timing, first = Timing(), None
        packets = container.demux(stream)
        while True:
            with library_errors(path, f"its video is damaged near frame {max(timing.packets - 1, 0)}"):
                packet = next(packets, None)
                if packet is not None and first is None and context is not None:
                    first = next(iter(context.decode(packet if packet.size else None)), None)
            if packet is None:
                break
            if packet.size and not packet.is_discard:
                timing.add(packet.pts, packet.duration)
                limits.check_frames(timing.packets, path.name)
        if first is None and context is not None:
            found = f"{timing.packets} packets of it, and no frame comes out" if timing.packets else "no frame in it"
            fail(path, f"there is a video stream, but {found}")
        shape = stream.codec_context if first is None else first
        limits.check_pixels(shape.width, shape.height, path.name)
        seconds = timing.seconds(stream.time_base)
        fps = _rate(path, stream, timing.packets, seconds)
        duration = seconds or timing.packets / fps
        limits.check_duration(duration, path.name)
        orientation = UPRIGHT if first is None else frame_orientation(path, first)
        width, height = orientation.size(shape.width, shape.height)
        return MediaInfo(
            path=path,
            size=size,
            format=file_format,
            kind="video",
            width=width,
            height=height,
            frames=timing.packets,
            fps=fps,
            duration=duration,
            has_audio=any(audio.codec_context is not None for audio in container.streams.audio),
            has_alpha=first is not None and has_alpha(first),
            codec=stream.codec_context.codec.canonical_name,
            remuxable=can_remux(container),
        )


def _rate(path: Path, stream: VideoStream, frames: int, seconds: float) -> float:
    """Frames over seconds, or the container's own rate where the two differ only by rounding of times."""
    stated = float(stream.average_rate or 0)
    measured = frames / seconds if seconds > 0 else 0.0
    rate = measured if measured and abs(stated - measured) > 0.01 * measured else stated
    if frames == 1 and not 0 < rate <= _MAX_FPS:
        return 1.0
    if not 0 < rate <= _MAX_FPS:
        fail(path, f"its {frames} frames last {seconds:g} s in all, so its frame rate is unknown")
    return rate


def can_remux(container: InputContainer) -> bool:
    """Return whether the container's streams can be written into an MP4 without encoding again.

    ComfyUI's “Save Video” copies the packets of a ``VideoFromFile`` into an MP4 with FFmpeg, whatever the source's
    container is. What MP4 cannot hold (VP8, PCM in an older FFmpeg, most subtitles) makes it fail there, after the work
    is done. So the same streams are given to FFmpeg's MP4 writer here; only a header is made, and thrown away.
    """
    streams = [stream for stream in container.streams if stream.type in ("video", "audio", "subtitle")]
    if any(stream.codec_context is None for stream in streams):
        return False
    try:
        with av.open(os.devnull, "w", format="mp4") as output:
            for stream in streams:
                output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever the writer refuses, it would refuse in ComfyUI as well
        return False
    return True


class FrameFilters:
    """A chain of filters, given as names and arguments, for frames of the size and format of the first."""

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
