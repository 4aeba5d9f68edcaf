"""A node's outputs in ComfyUI's types: blocked outputs, VIDEO, and previews."""

from __future__ import annotations

import logging
import shutil
import uuid
from fractions import Fraction
from pathlib import Path
from typing import Any

from . import IN_COMFYUI

if IN_COMFYUI:
    from comfy_execution.graph_utils import ExecutionBlocker
    from folder_paths import get_temp_directory
else:

    class ExecutionBlocker:  # type: ignore[no-redef]
        """The value of an output without a result; nodes connected to it do not run."""

        def __init__(self, message: str | None) -> None:
            self.message = message


logger = logging.getLogger("xalora_client")


def blocked() -> Any:
    """The value of an output without a result. Nodes connected to it do not run, without an error."""
    return ExecutionBlocker(None)


def video_from_file(file: Path) -> Any:
    """A VIDEO that is this file: saving it copies the packets, sound included.

    It may be read at any time, because ComfyUI caches it. Its file stays until ComfyUI starts again.
    """
    if not IN_COMFYUI:
        return file
    from comfy_api.input_impl import VideoFromFile

    return VideoFromFile(str(_copy_to_temp(file) or file))


def video_from_frames(frames: Any, fps: float, audio: Any) -> Any:
    """A VIDEO of frames ``[F, H, W, 3]`` (0..1) at ``fps`` frames per second, with an AUDIO or None."""
    rate = Fraction(fps).limit_denominator(100_000)
    if not IN_COMFYUI:
        return frames, rate
    from comfy_api.input_impl import VideoFromComponents
    from comfy_api.util import VideoComponents

    return VideoFromComponents(VideoComponents(images=frames, audio=audio, frame_rate=rate))


def preview(files: list[Path], *, moving: bool) -> dict[str, Any]:
    """The ``ui`` part of a node's answer that shows these media files in the node."""
    if not IN_COMFYUI:
        return {}
    copies = filter(None, map(_copy_to_temp, files))
    images = [{"filename": copy.name, "subfolder": "", "type": "temp"} for copy in copies]
    # Always both: for a list, ComfyUI merges the answers by the names in the first one.
    return {"images": images, "animated": (moving,)}


def _copy_to_temp(file: Path) -> Path | None:
    """The same file in ComfyUI's folder for temporary files, which it serves, and empties when it starts.

    None if that folder cannot be written: the result must not be lost because of that.
    """
    folder = Path(get_temp_directory())
    copy = folder / f"xalora_{file.stem[:16]}{file.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            _link_or_copy(file, copy)
    except OSError as error:
        logger.warning("There is no preview of %s: %s", file, error)
        return None
    return copy


def _link_or_copy(file: Path, copy: Path) -> None:
    try:
        copy.hardlink_to(file)
    except OSError:  # Another disk, or one without links.
        unfinished = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}.part")
        try:
            shutil.copyfile(file, unfinished)
            unfinished.replace(copy)
        finally:
            unfinished.unlink(missing_ok=True)
