"""The options of a sandbox."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidParameterError
from ..protocol.parameters import Number, Whole
from ..protocol.requests import Credentials

_WORKERS = Whole("tasks rendered at once", minimum=1, maximum=64)
_RENDER_SECONDS = Number("least seconds a task runs", minimum=0, maximum=86_400)
VIDEO_FORMATS = ("mp4", "webp")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a sandbox works.

    Args:
        workers: Tasks rendered at once, 1 to 64.
        render_seconds: The shortest time a task runs, 0 to 86,400 seconds.
        video_format: "mp4" (H.264) or "webp" (animated).
        api_key: The only accepted key, as ``consumer#key``. None accepts all keys.

    Raises:
        ConfigurationError: A value is not allowed.
    """

    workers: int = 2
    render_seconds: float = 0.0
    video_format: str = "mp4"
    api_key: str | None = None

    def __post_init__(self) -> None:
        _WORKERS.check("workers", self.workers)
        _RENDER_SECONDS.check("render_seconds", self.render_seconds)
        if self.video_format not in VIDEO_FORMATS:
            raise InvalidParameterError("video_format", self.video_format, " or ".join(VIDEO_FORMATS))
        if self.api_key is not None:
            Credentials.parse(self.api_key)
