"""How large media may be before it is refused, and the error that says so."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ...errors import InvalidParameterError, MediaTooLargeError


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
