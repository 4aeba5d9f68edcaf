"""The kinds of task that the sandbox takes, and their media: from a task to its file."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
from PIL import Image, ImageOps

from ...errors import InvalidParameterError
from ...protocol.tasks import FluxLoraTask, Text2VideoTask, UpscalerTask
from ..fetching import ImageError
from .scene import Scene

KnownTask: TypeAlias = Text2VideoTask | UpscalerTask | FluxLoraTask

_KINDS: dict[str, type[KnownTask]] = {kind.type_name: kind for kind in (Text2VideoTask, UpscalerTask, FluxLoraTask)}


def check_task_type(task_type: object) -> type[KnownTask]:
    """Return the class of a task type, or raise InvalidParameterError."""
    kind = _KINDS.get(task_type) if isinstance(task_type, str) else None
    if kind is None:
        raise InvalidParameterError("task_type", task_type, ", ".join(_KINDS))
    return kind


def build_task(task_type: object, task_details: object, **options: Any) -> KnownTask:
    """Build the task that a create request describes; unknown parameters are ignored.

    ``task_details`` is ``{"parameters": {...}}`` with the protocol's names; ``options`` are those of
    WorkflowTask. Raises InvalidParameterError.
    """
    kind = check_task_type(task_type)
    parameters = task_details.get("parameters") if isinstance(task_details, dict) else None
    if not isinstance(parameters, dict):
        raise InvalidParameterError("task_details", task_details, 'an object like {"parameters": {...}}')
    values: dict[str, Any] = {name: parameters.get(rule.wire_name or name) for name, rule, _ in kind.rules()}
    return kind(**values, **options)


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
            write = _write_webp if video_format == "webp" else _write_mp4
            write(path, _frames(task, stopped), fps=task.fps or 24, quality=task.quality or 80)
            suffix = f".{video_format}"
        elif isinstance(task, FluxLoraTask):
            seed = f"{task.noise_seed or 0} {task.lora_name}"
            picture = Scene(task.width or 680, task.height or 1024, task.prompt, seed).at(0)
            picture.save(path, "JPEG", quality=92)
            suffix = ".jpg"
        else:
            _upscale(image, path)
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


MAX_PIXELS = 2**25
"""Of the image before it is enlarged; 8K UHD (7680 x 4320) is just below."""


def _upscale(data: bytes, path: Path) -> None:
    """Enlarge an image file twice with Lanczos and write it as a lossless PNG.

    Colors and alpha are resized separately, so colors do not depend on what is transparent. Of an animation the first
    frame is used. Raises ImageError when the bytes are not an image or the image is too large.
    """
    picture = _decode(data)
    size = (2 * picture.width, 2 * picture.height)
    colors = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    if picture.mode == "RGBA":
        colors.putalpha(picture.getchannel("A").resize(size, Image.Resampling.LANCZOS))
    # The fastest level, because the file stays on this machine.
    colors.save(path, "PNG", compress_level=1)


def _decode(data: bytes) -> Image.Image:
    """Return the image upright, as 8-bit RGB or RGBA."""
    try:
        with Image.open(io.BytesIO(data)) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ImageError(f"the image is too large: more than {MAX_PIXELS} pixels")
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):
                # Pillow clips 16-bit values at 255 instead of scaling them.
                picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
            return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"the image is too large: more than {MAX_PIXELS} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image cannot be decoded: {type(error).__name__}") from error


def _write_mp4(path: Path, frames: Iterable[Image.Image], *, fps: int, quality: int) -> None:
    """Write yuv420p H.264 with its index in front. ``quality`` 1..100 becomes crf 51..10 (80: 18)."""
    # A preset without x264's macroblock tree, which does not always give the same bytes for the same pictures.
    options = {"crf": str(round(51.4 - 0.414 * quality)), "preset": "superfast"}
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        # Fixed, because it changes the bytes: the same task must give the same file on every machine.
        stream.thread_count = 2
        for number, image in enumerate(frames):
            if number == 0:
                stream.width, stream.height = image.size
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_webp(path: Path, frames: Iterable[Image.Image], *, fps: int, quality: int) -> None:
    """Write an animated WebP that repeats forever. ``quality`` 1 to 100 is WebP's own.

    Pillow also writes animations, but it holds all frames in memory and merges frames that look alike, so the number of
    frames would change. The layout follows Google's "WebP Container Specification".
    """
    with path.open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBP")
        for number, image in enumerate(frames):
            size = _uint24(image.width - 1) + _uint24(image.height - 1)
            if number == 0:
                animated = struct.pack("<I", 0b10)
                file.write(_chunk(b"VP8X", animated + size))
                file.write(_chunk(b"ANIM", struct.pack("<IH", 0, 0)))
            # Whole milliseconds each, without drifting away from the frame rate.
            duration = round((number + 1) * 1000 / fps) - round(number * 1000 / fps)
            overwrite = b"\x02"
            still = io.BytesIO()
            image.save(still, "WEBP", quality=quality, method=2)
            bitstream = still.getvalue()[12:]
            file.write(_chunk(b"ANMF", _uint24(0) * 2 + size + _uint24(duration) + overwrite + bitstream))
        length = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", length - 8))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")
