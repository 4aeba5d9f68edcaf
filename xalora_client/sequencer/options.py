"""How a sandbox is set up."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidParameterError
from ..protocol.parameters import Number, Whole
from ..protocol.requests import Credentials

_WORKERS = Whole("tasks rendered at once", minimum=1, maximum=64)
_RENDER_SECONDS = Number("least seconds a task runs", minimum=0, maximum=86_400)
_VIDEO_FORMATS = ("mp4", "webp")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a sandbox works; the fields are described at ``serve``. Raises ConfigurationError."""

    workers: int = 2
    render_seconds: float = 0.0
    video_format: str = "mp4"
    api_key: str | None = None

    def __post_init__(self) -> None:
        _WORKERS.check("workers", self.workers)
        _RENDER_SECONDS.check("render_seconds", self.render_seconds)
        if self.video_format not in _VIDEO_FORMATS:
            raise InvalidParameterError("video_format", self.video_format, " or ".join(_VIDEO_FORMATS))
        if self.api_key is not None:
            Credentials.parse(self.api_key)
