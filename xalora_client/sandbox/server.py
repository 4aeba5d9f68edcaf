"""How a sandbox is set up, and serving one in the foreground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidParameterError
from ..parameters import Number, Whole
from .lock import FolderLock

_WORKERS = Whole("tasks rendered at once", minimum=1, maximum=64)
_RENDER_SECONDS = Number("least seconds a task runs", minimum=0, maximum=86_400)
_VIDEO_FORMATS = ("mp4", "webp")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a sandbox works; the fields are described at ``serve``. Raises InvalidParameterError."""

    workers: int = 2
    render_seconds: float = 0.0
    video_format: str = "mp4"
    api_key: str | None = None

    def __post_init__(self) -> None:
        _WORKERS.check("workers", self.workers)
        _RENDER_SECONDS.check("render_seconds", self.render_seconds)
        if self.video_format not in _VIDEO_FORMATS:
            raise InvalidParameterError("video_format", self.video_format, " or ".join(_VIDEO_FORMATS))
        if self.api_key is not None and not all(split_key(self.api_key)):
            raise InvalidParameterError("api_key", "<hidden>", "consumer#key")


def split_key(key: str) -> tuple[str, str]:
    """Split ``consumer#key``, else ``consumer-key``, at the first separator, as the protocol's clients do."""
    consumer_id, _, api_key = key.partition("#" if "#" in key else "-")
    return consumer_id, api_key


async def serve(
    host: str,
    port: int,
    data: Path,
    *,
    workers: int = 2,
    render_seconds: float = 0.0,
    video_format: str = "mp4",
    api_key: str | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the sandbox at ``host``:``port`` until this coroutine is cancelled. Prints nothing.

    * ``port``: 0 takes any free one; ``on_ready`` is called with the real URL, ``http://host:port``.
    * ``data``: the folder for tasks and media. Its tasks are answered for; unfinished ones are rendered.
    * ``workers``: tasks rendered at once, 1 to 64.
    * ``render_seconds``: the least seconds a task spends running, 0 to 86400.
    * ``video_format``: "mp4" (H.264) or "webp" (animated).
    * ``api_key``: as ``consumer#key``, the only key accepted; None accepts all.

    Raises ConfigurationError when an option is not allowed, the address cannot be listened on, the folder
    cannot be written or another sandbox serves it.
    """
    options = Options(workers=workers, render_seconds=render_seconds, video_format=video_format, api_key=api_key)
    # Imported here: it takes long, and whoever imports the SDK for a real sequencer needs none of it.
    from .running import run

    with FolderLock(Path(data)) as lock:
        await run(host, port, lock, options, on_ready)
