"""Serving a sandbox in the foreground."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .folder_lock import FolderLock
from .options import Options


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
