"""The ways a file is refused: it is larger than allowed or than memory holds, or the libraries cannot decode it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path

from PIL import Image

from ...errors import InvalidParameterError, MediaError, MediaTooLargeError
from .media_info import fail, reason


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a media file may be at most. The defaults let through anything a miner is known to return.

    * ``max_bytes``: size of the file, 4 GiB.
    * ``max_pixels``: width times height of one frame, 16384 x 8192.
    * ``max_frames``: frames of a video or animation, 20 minutes at 30 per second.
    * ``max_animation_pixels``: width times height times frames of an animation in an image format, 258 frames of
      1920 x 1080. There a frame may take 30 bytes of the file, whatever its size.
    * ``max_duration_seconds``: how long a video or animation plays, one hour.

    Each ``check_*`` method raises MediaTooLargeError naming the limit and the value that passed it; ``subject`` is the
    file's name as the message shall show it. Raises InvalidParameterError for a limit that is not positive.
    """

    max_bytes: int = 4 * 2**30
    max_pixels: int = 16384 * 8192
    max_frames: int = 36_000
    max_animation_pixels: int = 2**29
    max_duration_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not value > 0:
                raise InvalidParameterError(each.name, value, "a positive number")

    def check_bytes(self, size: int, subject: str) -> None:
        """Refuse a file of more than ``max_bytes`` bytes."""
        if size > self.max_bytes:
            _refuse(f"{subject} has {size:,} bytes", f"max_bytes = {self.max_bytes:,}")

    def check_pixels(self, width: int, height: int, subject: str) -> None:
        """Refuse frames of more than ``max_pixels`` pixels."""
        if width * height > self.max_pixels:
            frame = f"{width:,} x {height:,} = {width * height:,} pixels a frame"
            _refuse(f"{subject} says it has {frame}", f"max_pixels = {self.max_pixels:,}")

    def check_frames(self, frames: int, subject: str) -> None:
        """Refuse more than ``max_frames`` frames."""
        if frames > self.max_frames:
            _refuse(f"{subject} has {frames:,} frames or more", f"max_frames = {self.max_frames:,}")

    def check_animation(self, width: int, height: int, frames: int, subject: str) -> None:
        """Refuse an animation of more than ``max_animation_pixels`` in all its frames."""
        if frames > 1 and width * height * frames > self.max_animation_pixels:
            total = f"{frames:,} frames of {width:,} x {height:,} = {width * height * frames:,} pixels"
            _refuse(f"{subject} has {total}", f"max_animation_pixels = {self.max_animation_pixels:,}")

    def check_duration(self, seconds: float, subject: str) -> None:
        """Refuse media that plays for more than ``max_duration_seconds``."""
        if seconds > self.max_duration_seconds:
            limit = f"max_duration_seconds = {self.max_duration_seconds:,g}"
            _refuse(f"{subject} plays for {seconds:,.1f} s", limit)


def _refuse(fact: str, limit: str) -> None:
    raise MediaTooLargeError(f"{fact}, and the limit is {limit}")


_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")

HEADROOM = 256 * 2**20
"""Bytes left to everything else: decoders at usual sizes, the interpreter, the rest of the graph."""


@dataclass(frozen=True)
class FreeMemory:
    """``size`` bytes can still be taken without swapping, according to ``source``."""

    size: int
    source: str


def free_memory() -> FreeMemory | None:
    """Return the smallest amount of free memory any source on this system knows of, or None when none does.

    Asked are the container's own limit (cgroup v2), and psutil where it is installed (ComfyUI brings it), else
    ``/proc/meminfo``, else the operating system's count of free pages.
    """
    found = [each for each in (_from_cgroup(_CGROUP), _from_psutil() or _from_meminfo(_MEMINFO)) if each]
    if not found:
        found = [each for each in (_from_sysconf(),) if each]
    return min(found, key=lambda each: each.size, default=None)


def require_memory(frames: int, width: int, height: int, planes: int, subject: str, beside: int = 0) -> None:
    """Raise MediaTooLargeError when float32 frames of ``planes`` values a pixel do not fit into free memory.

    ``beside`` are the bytes that decoding takes beside them, of which ``HEADROOM`` bytes are free anyway. Says what is
    needed and free, and what to do. Passes silently when the free memory is unknown.
    """
    _require(
        frames * width * height * planes * 4 + max(beside - HEADROOM, 0),
        f"as {frames} frames of {width} x {height}",
        subject,
        "Close other programs, ask for fewer or smaller frames, or use the file itself:"
        " the VIDEO output and the saved file need no decoding.",
    )


def require_decoder_memory(width: int, height: int, bytes_a_pixel: float, subject: str) -> None:
    """Raise MediaTooLargeError when what a decoder itself allocates for its pictures does not fit into free memory.

    At usual sizes that is less than ``HEADROOM``, and nothing is asked.
    """
    needed = int(width * height * bytes_a_pixel)
    if needed > HEADROOM:
        purpose = f"to decode pictures of {width} x {height}"
        _require(needed, purpose, subject, "Close other programs, or ask for smaller frames.")


def _require(needed: int, purpose: str, subject: str, advice: str) -> None:
    free = free_memory()
    if free is None or needed + HEADROOM <= free.size:
        return
    raise MediaTooLargeError(
        f"{subject} needs {_show(needed)} of memory {purpose}, and {_show(max(free.size - HEADROOM, 0))} are free"
        f" (by {free.source}, less {_show(HEADROOM)} for everything else)",
        advice=advice,
    )


def _show(size: int) -> str:
    shown = f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"
    return f"{shown} ({size:,} bytes)"


def _from_psutil() -> FreeMemory | None:
    try:
        psutil = import_module("psutil")
    except ImportError:
        return None
    return FreeMemory(int(psutil.virtual_memory().available), "psutil")


def _from_meminfo(path: Path) -> FreeMemory | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return FreeMemory(int(value.split()[0]) * 1024, "the system")
    return None


def _from_sysconf() -> FreeMemory | None:
    try:
        return FreeMemory(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "the system")
    except (AttributeError, ValueError, OSError):
        return None


def _from_cgroup(folder: Path) -> FreeMemory | None:
    """The container's limit less what is used and cannot be dropped; None without a limit."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        free = int(limit) - used + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        return None
    return FreeMemory(max(free, 0), "the container's limit")


@contextmanager
def library_errors(path: Path, what: str) -> Iterator[None]:
    """Turn what Pillow or PyAV raises for a file into the error for that file; ``what`` says what was being read.

    Damaged files make the libraries raise nearly anything, an AssertionError or a TypeError of their own included. So
    everything counts, and only their calls may stand within: a mistake of our own has to come out as what it is.

    Raises DecodeError. MediaTooLargeError where the library could not allocate what the file asks for (our own arrays
    are allocated elsewhere), or where the picture passes Pillow's own limit.
    """
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaTooLargeError(
            f"{path.name} is refused by Pillow: {reason(error)}",
            advice="Raise PIL.Image.MAX_IMAGE_PIXELS if the file is trusted.",
        ) from error
    except MemoryError as error:
        raise MediaTooLargeError(
            f"{path.name} cannot be decoded: {what}, and the decoder got no memory for it ({reason(error)})",
            advice="Close other programs, or ask for smaller frames. A damaged file may ask for too much.",
        ) from error
    except Exception as error:  # noqa: BLE001 - see above
        fail(path, f"{what} ({reason(error)})", cause=error)
