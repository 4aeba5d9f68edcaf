"""What the sandbox renders: the types of its tasks, and slow waves of light in colors of the seed, marked PREVIEW."""

from __future__ import annotations

import hashlib
import io
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..errors import InvalidParameterError
from ..protocol.tasks import FluxLoraTask, Text2VideoTask, UpscalerTask
from ..workflows import AvailableWorkflow, WorkflowKey
from .pictures import ImageError

KnownTask: TypeAlias = Text2VideoTask | UpscalerTask | FluxLoraTask

_TASK_CLASSES: tuple[type[KnownTask], ...] = (Text2VideoTask, UpscalerTask, FluxLoraTask)


def check_task_type(task_type: object) -> type[KnownTask]:
    """Return the class of a task type, or raise InvalidParameterError."""
    by_type = {task_class.type_name: task_class for task_class in _TASK_CLASSES}
    if not isinstance(task_type, str) or task_type not in by_type:
        raise InvalidParameterError("task_type", task_type, ", ".join(by_type))
    return by_type[task_type]


def known_workflows(workflow_id: str | None) -> list[AvailableWorkflow]:
    """What can be rendered, under that id. It does not say what it takes: it ignores what it does not know."""
    return [
        AvailableWorkflow(
            WorkflowKey(task_class.type_name, workflow_id),
            {},
            ("video" if task_class is Text2VideoTask else "image",),
            factor=ENLARGED if task_class is UpscalerTask else None,
            others=True,
        )
        for task_class in _TASK_CLASSES
    ]


def build_task(task_type: object, task_details: object, **options: Any) -> KnownTask:
    """Build the task that a create request describes; unknown parameters are ignored.

    ``task_details`` is ``{"parameters": {...}}`` with the protocol's names; ``options`` are those of
    WorkflowTask. Raises InvalidParameterError.
    """
    task_class = check_task_type(task_type)
    parameters = task_details.get("parameters") if isinstance(task_details, dict) else None
    if not isinstance(parameters, dict):
        raise InvalidParameterError("task_details", task_details, 'an object like {"parameters": {...}}')
    values: dict[str, Any] = {name: parameters.get(rule.wire_name or name) for name, rule, _ in task_class.rules()}
    return task_class(**values, **options)


Step: TypeAlias = Callable[[int, int], object]
"""``step(done, of)`` is called before each step of a rendering, and at its end. What it raises ends the rendering."""

Show: TypeAlias = Callable[[Image.Image], object]
"""``show(picture)`` is called with what a step has made, before the next step."""


def render(
    task: KnownTask,
    inputs: Mapping[str, Path],
    path: Path,
    *,
    video_format: str,
    step: Step,
    show: Show = lambda picture: None,
) -> str:
    """Render the task into the file ``path`` and return the suffix for its name, such as ".mp4".

    ``inputs`` are its input files, by parameter. Parameters that are not set have the defaults of the product's pages,
    and the seed is 0. The steps of a video are its frames. Raises ImageError, and what ``step`` raises; then no file is
    left.
    """
    try:
        if isinstance(task, Text2VideoTask):
            write = _write_webp if video_format == "webp" else _write_mp4
            length = task.length or 37
            write(path, _frames(task, length, step, show), fps=task.fps or 24, quality=task.quality or 80)
            step(length, length)
            suffix = f".{video_format}"
        elif isinstance(task, FluxLoraTask):
            seed = f"{task.noise_seed or 0} {task.lora_name}"
            step(0, 2)
            picture = Scene(task.width or 680, task.height or 1024, task.prompt, seed).at(0)
            show(picture)
            step(1, 2)
            picture.save(path, "JPEG", quality=92)
            step(2, 2)
            suffix = ".jpg"
        else:
            _upscale(inputs["image"], path, step, show)
            suffix = ".png"
        return suffix
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _frames(task: Text2VideoTask, length: int, step: Step, show: Show) -> Iterator[Image.Image]:
    scene = Scene(task.width or 848, task.height or 480, task.prompt, str(task.seed or 0))
    for number in range(length):
        step(number, length)
        frame = scene.at(number / (task.fps or 24))
        show(frame)
        yield frame


ENLARGED = 2
"""How many times as wide and high the sandbox makes an image."""

MAX_PIXELS = 2**25
"""Of the image before it is enlarged; 8K UHD (7680 x 4320) is just below."""


def _upscale(image: Path, path: Path, step: Step, show: Show) -> None:
    """Enlarge an image file twice with Lanczos, mark it, and write it as a lossless PNG.

    Colors and alpha are resized separately, so colors do not depend on what is transparent. Of an animation the first
    frame is used. Raises ImageError when the file is not an image or the image is too large.
    """
    step(0, 3)
    picture = _decode(image)
    step(1, 3)
    size = (ENLARGED * picture.width, ENLARGED * picture.height)
    colors = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    if picture.mode == "RGBA":
        colors.putalpha(picture.getchannel("A").resize(size, Image.Resampling.LANCZOS))
    _paste(colors, _label(*size))
    show(colors)
    step(2, 3)
    # The fastest level, because the file stays on this machine.
    colors.save(path, "PNG", compress_level=1)
    step(3, 3)


def _decode(image: Path) -> Image.Image:
    """Return the picture in a file, upright, as 8-bit RGB or RGBA."""
    content = io.BytesIO(
        image.read_bytes()
    )  # Before what follows: that the file cannot be read is not the image's fault.
    try:
        with Image.open(content) as file:
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


_COARSE = 160
"""The longer side, in cells, of the grid of the waves; a smooth image needs no more."""


class Scene:
    """A moving image of ``width`` x ``height`` pixels; the same prompt and seed give the same image."""

    def __init__(self, width: int, height: int, prompt: str, seed: str) -> None:
        self._size = (width, height)
        digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
        random = np.random.default_rng(list(digest))
        scale = min(1.0, _COARSE / max(width, height))
        rows, columns = (max(2, round(side * scale)) for side in (height, width))
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) / (_COARSE / 2)
        angles = random.uniform(0, 2 * math.pi, 5)
        lengths = random.uniform(1.5, 5, 5)
        starts = random.uniform(0, 2 * math.pi, 5)
        self._phases = np.stack(
            [
                length * (math.cos(angle) * x + math.sin(angle) * y) + start
                for angle, length, start in zip(angles, lengths, starts, strict=True)
            ]
        ).astype(np.float32)
        self._speeds = random.uniform(0.6, 1.8, (5, 1, 1)).astype(np.float32)
        # Neighboring hues look calm. The seed also chooses the direction around the color wheel.
        hue, spread = random.uniform(0, 1), random.choice([-1, 1]) * random.uniform(0.08, 0.2)
        self._hues = np.array([hue, hue + spread, hue + 2 * spread], dtype=np.float32)
        self._label = _label(width, height, prompt)

    def at(self, seconds: float) -> Image.Image:
        """Return the image at this time in seconds."""
        waves = np.sin(self._phases + self._speeds * np.float32(seconds)).mean(axis=0)
        turns = 0.6 * waves[..., None] + self._hues + np.float32(0.04 * seconds)
        colors = 0.5 + 0.5 * np.cos(2 * math.pi * turns)
        cells = Image.fromarray((colors * 255).astype(np.uint8))
        picture = cells.resize(self._size, Image.Resampling.BICUBIC)
        _paste(picture, self._label)
        return picture


def _label(width: int, height: int, prompt: str = "") -> Image.Image:
    """Draw the band along the upper edge, where no player has its controls: PREVIEW, and the prompt as far as it fits.

    PREVIEW can be read where the picture is shown a few hundred pixels wide. What is too small to be read is left out.
    """
    shorter, longer = sorted((width, height))
    large, small = max(8, round(min(max(10, shorter / 9, longer / 20), width / 6))), round(shorter / 22)
    margin = large // 3
    top, line = large + 2 * margin, small + margin if prompt and small >= 8 else 0
    font = ImageFont.load_default(large)
    if font.getlength("PREVIEW") > width:
        return Image.new("RGBA", (1, 1))
    band = Image.new("RGBA", (width, min(height, top + line)), (0, 0, 0, 170))
    draw = ImageDraw.Draw(band)
    draw.text((margin, margin), "PREVIEW", font=font, fill="white")
    if line:
        font = ImageFont.load_default(small)
        draw.text((margin, top - margin // 2), _fitting(prompt, font, width - 2 * margin), font=font, fill="white")
    return band


def _paste(picture: Image.Image, label: Image.Image) -> None:
    """Put the label onto the upper edge. It can be seen where the picture is transparent, too."""
    if picture.mode == "RGBA":
        picture.alpha_composite(label)
    else:
        picture.paste(label, (0, 0), label)


def _fitting(prompt: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Return the start of the prompt that is at most ``width`` pixels wide, on one line and printable."""
    text = " ".join(prompt[:500].split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
