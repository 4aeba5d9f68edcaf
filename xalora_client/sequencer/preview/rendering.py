"""From a task to its media file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from ...protocol.tasks import FluxLoraTask, Text2VideoTask
from ..kinds import KnownTask
from .enlarging import upscale
from .scene import Scene
from .video_writing import write_mp4, write_webp


class Stopped(Exception):  # noqa: N818 - not an error: the image is no longer needed
    """Raised between frames to leave a rendering that was stopped."""


def render(task: KnownTask, image: bytes, path: Path, *, video_format: str, stopped: Callable[[], bool]) -> str:
    """Render the task into the file ``path`` and return the suffix for its name, such as ".mp4".

    ``image`` is the file that an upscaler task enlarges. Parameters that are not set have the defaults of the product's
    pages, and the seed is 0. ``stopped`` is called before every frame and at the end. Raises ImageError or Stopped;
    then no file is left.
    """
    try:
        if isinstance(task, Text2VideoTask):
            write = write_webp if video_format == "webp" else write_mp4
            write(path, _frames(task, stopped), fps=task.fps or 24, quality=task.quality or 80)
            suffix = f".{video_format}"
        elif isinstance(task, FluxLoraTask):
            seed = f"{task.noise_seed or 0} {task.lora_name}"
            picture = Scene(task.width or 680, task.height or 1024, task.prompt, seed).at(0)
            picture.save(path, "JPEG", quality=92)
            suffix = ".jpg"
        else:
            upscale(image, path)
            suffix = ".png"
        if stopped():
            raise Stopped
        return suffix
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _frames(task: Text2VideoTask, stopped: Callable[[], bool]) -> Iterator[Image.Image]:
    scene = Scene(task.width or 848, task.height or 480, task.prompt, str(task.seed or 0))
    for number in range(task.length or 37):
        if stopped():
            raise Stopped
        yield scene.at(number / (task.fps or 24))
