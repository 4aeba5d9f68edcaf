"""Why a file is refused: it is larger than allowed or than fits into memory, or the libraries cannot decode it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from ...errors import DecodeError, InvalidParameterError, MediaError, MediaTooLargeError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a media file may be. By default, only the free memory limits what can be decoded.

    * ``max_bytes``: size of the file, 4 GiB.
    * ``max_pixels``: width times height of one frame.
    * ``max_frames``: frames of a video or animation.
    * ``max_animation_pixels``: width times height times frames of an animation in an image format. There a frame may
      take 30 bytes of the file, whatever its size.
    * ``max_duration_seconds``: how long a video or animation plays.

    The ``check_*`` methods raise MediaTooLargeError, which names the limit and the value that exceeds it. Raises
    InvalidParameterError for a limit that is not positive.
    """

    max_bytes: int = 4 * 2**30
    max_pixels: float = math.inf
    max_frames: float = math.inf
    max_animation_pixels: float = math.inf
    max_duration_seconds: float = math.inf

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not value > 0:
                raise InvalidParameterError(limit.name, value, "a positive number")

    def check_bytes(self, size: int, subject: str) -> None:
        """Refuse a file of a ``size`` of more than ``max_bytes`` bytes. Messages call it ``subject``."""
        if size > self.max_bytes:
            _refuse(f"{subject} has {size:,} bytes", f"max_bytes = {self.max_bytes:,}")

    def check_pixels(self, width: int, height: int, subject: str) -> None:
        """Refuse frames of ``width`` times ``height`` above ``max_pixels``. Messages call the file ``subject``."""
        if width * height > self.max_pixels:
            frame = f"{width:,} x {height:,} = {width * height:,} pixels a frame"
            _refuse(f"{subject} has {frame}", f"max_pixels = {self.max_pixels:,}")

    def check_frames(self, frames: int, subject: str) -> None:
        """Refuse more ``frames`` than ``max_frames``. Messages call the file ``subject``."""
        if frames > self.max_frames:
            _refuse(f"{subject} has {frames:,} frames or more", f"max_frames = {self.max_frames:,}")

    def check_animation(self, width: int, height: int, frames: int, subject: str) -> None:
        """Refuse an animation of more than ``max_animation_pixels`` in all its frames.

        Args:
            width: Pixels of a frame.
            height: Pixels of a frame.
            frames: How many there are.
            subject: What messages call the file.
        """
        if frames > 1 and width * height * frames > self.max_animation_pixels:
            total = f"{frames:,} frames of {width:,} x {height:,} = {width * height * frames:,} pixels"
            _refuse(f"{subject} has {total}", f"max_animation_pixels = {self.max_animation_pixels:,}")

    def check_duration(self, seconds: float, subject: str) -> None:
        """Refuse ``seconds`` of more than ``max_duration_seconds``. Messages call the file ``subject``."""
        if seconds > self.max_duration_seconds:
            limit = f"max_duration_seconds = {self.max_duration_seconds:,g}"
            _refuse(f"{subject} plays for {seconds:,.1f} s", limit)


def _refuse(fact: str, limit: str) -> None:
    raise MediaTooLargeError(f"{fact}, and the limit is {limit}")


_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")

HEADROOM = 256 * 2**20
"""Bytes left for everything else: decoders at usual sizes, the interpreter, the rest of the graph."""


@dataclass(frozen=True)
class FreeMemory:
    """``size`` bytes can still be allocated without swapping, according to ``source``."""

    size: int
    source: str


_ASSUMED = FreeMemory(8 * 2**30, "assumption: the “psutil” package would know")


def free_memory() -> FreeMemory:
    """Return the smallest amount of free memory any source on this system knows of.

    The sources are the container's own limit (cgroup v2), and psutil where it is installed (ComfyUI requires it), else
    ``/proc/meminfo``. Where none knows, 8 GiB are assumed: a small file may ask for any amount.
    """
    sources = [_from_cgroup(_CGROUP), _from_psutil() or _from_meminfo(_MEMINFO)]
    return min((memory for memory in sources if memory), key=lambda memory: memory.size, default=_ASSUMED)


def require_memory(frames: int, width: int, height: int, planes: int, subject: str, beside: int = 0) -> None:
    """Refuse float32 frames that do not fit into free memory.

    Args:
        frames: How many.
        width: Pixels.
        height: Pixels.
        planes: Values a pixel: 3 for colors.
        subject: What the message calls them.
        beside: The bytes that decoding takes beside them, of which ``HEADROOM`` bytes are free anyway.

    Raises:
        MediaTooLargeError: The frames do not fit. It says what is needed and free, and what to do.
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

    At usual sizes that is less than ``HEADROOM``, and nothing is checked.
    """
    needed = int(width * height * bytes_a_pixel)
    if needed > HEADROOM:
        purpose = f"to decode pictures of {width} x {height}"
        _require(needed, purpose, subject, "Close other programs, or ask for smaller frames.")


def _require(needed: int, purpose: str, subject: str, advice: str) -> None:
    free = free_memory()
    if needed + HEADROOM <= free.size:
        return
    raise MediaTooLargeError(
        f"{subject} needs {_size(needed)} of memory {purpose}, and {_size(max(free.size - HEADROOM, 0))} are free"
        f" (by {free.source}, less {_size(HEADROOM)} for everything else)",
        advice=advice,
    )


def _size(size: int) -> str:
    rounded = f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"
    return f"{rounded} ({size:,} bytes)"


def _from_psutil() -> FreeMemory | None:
    try:
        psutil = import_module("psutil")
    except ImportError:
        return None
    return FreeMemory(int(psutil.virtual_memory().available), "psutil")


def _from_meminfo(path: Path) -> FreeMemory | None:
    try:
        available = re.search(r"^MemAvailable: *(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return FreeMemory(int(available[1]) * 1024, "the system") if available else None


def _from_cgroup(folder: Path) -> FreeMemory | None:
    """The container's limit, less the used memory that cannot be freed; None without a limit."""
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
    everything counts, and only calls of a library belong inside: a mistake of our own must come out unchanged.

    Raises DecodeError. MediaTooLargeError where the library could not allocate what the file asks for (our own arrays
    are allocated elsewhere), or where the picture exceeds Pillow's own limit.
    """
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaTooLargeError(
            f"{path.name} is refused by Pillow: {_reason(error)}",
            advice="Raise PIL.Image.MAX_IMAGE_PIXELS if the file is trusted.",
        ) from error
    except MemoryError as error:
        raise MediaTooLargeError(
            f"{path.name} cannot be decoded: {what}, and the decoder got no memory for it ({_reason(error)})",
            advice="Close other programs, or ask for smaller frames. A damaged file may ask for too much.",
        ) from error
    except Exception as error:  # noqa: BLE001 - see above
        fail(path, f"{what} ({_reason(error)})", cause=error)


def fail(path: Path, what: str, advice: str = "", *, cause: BaseException | None = None) -> NoReturn:
    """Raise the DecodeError for a file: what is wrong with it, where it is kept, and what to do."""
    kept = f"The file is kept for inspection at {path}; fetching the task again is not charged again."
    raise DecodeError(f"{path.name} cannot be read: {what}", advice=f"{advice} {kept}".lstrip(), path=path) from cause


def _reason(error: BaseException) -> str:
    """A library's error in a few words on one line."""
    args: tuple[Any, ...] = error.args
    text = getattr(error, "strerror", None) or (args[0] if args and isinstance(args[0], str) else "")
    return " ".join(str(text).split())[:200] or type(error).__name__
