"""What each command does."""

from __future__ import annotations

import argparse
import asyncio
import json
import mimetypes
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from .. import config
from ..client.async_ import AsyncClient
from ..client.download import MediaFile
from ..config import validation
from ..errors import ConfigurationError, InvalidParameterError, StorageError
from ..media.decoding.formats import SNIFF_BYTES, sniff
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.inputs import InputImage
from ..protocol.parameters import MediaAddress, is_data_uri
from ..protocol.tasks import CustomTask, FluxLoraTask, Text2VideoTask, UpscalerTask, WorkflowTask
from ..sequencer import Options
from .outcome import described, exit_code
from .progress import Progress, progress

AHEAD = 32
"""How many images are uploaded while others are worked on. Each holds a claim in the ledger, which is an open file."""


async def text2video(arguments: argparse.Namespace) -> int:
    """``xalora text2video PROMPT -o FILE``."""
    return await _make(arguments, Text2VideoTask(**_given(arguments, Text2VideoTask)))


async def flux_lora(arguments: argparse.Namespace) -> int:
    """``xalora flux-lora PROMPT --lora NAME -o FILE``."""
    return await _make(arguments, FluxLoraTask(**_given(arguments, FluxLoraTask)))


async def run(arguments: argparse.Namespace) -> int:
    """``xalora run --task-type T … -o FILE``."""
    return await _make(
        arguments,
        CustomTask(
            arguments.task_type,
            dict(arguments.parameters),
            workflow_id=arguments.workflow_id,
            timeout_seconds=arguments.timeout_seconds,
        ),
    )


async def upscale(arguments: argparse.Namespace) -> int:
    """``xalora upscale IMAGE… -o FILE_OR_DIR``. Every image is tried; the first error sets the exit code."""
    if arguments.max_parallel < 1:
        raise ConfigurationError(f"--max-parallel is {arguments.max_parallel}", advice="Allowed: 1 or more.")
    options = {"workflow_id": arguments.workflow_id, "timeout_seconds": arguments.timeout_seconds}
    for image in arguments.images:
        _check_image(image)
    count = len(arguments.images)
    output = Path(arguments.output)
    in_folder = _is_folder(arguments.output, count)
    turns = asyncio.Semaphore(arguments.max_parallel)
    window = asyncio.Semaphore(arguments.max_parallel + AHEAD)

    async def one(client: AsyncClient, number: int) -> dict[str, Any]:
        name = arguments.images[number]
        task = UpscalerTask(_input_image(name), **options)
        async with window:
            with progress(label=name if count > 1 else None) as shown:
                await client.upload_images(task, shown.upload, reuse=arguments.reuse)
                async with turns:
                    file, result = await _run_task(client, task, arguments, shown)
        place = output
        if in_folder:
            stem = _stem(name)
            before = [_stem(each).casefold() for each in arguments.images[:number]].count(stem.casefold())
            place = output / f"{stem}-upscaled{f'-{before + 1}' if before else ''}{file.info.format.extension}"
        return {"image": name, **_save(file, result, place)}

    async with _client(arguments, images_at_once=arguments.max_parallel) as client:
        answers = await asyncio.gather(*(one(client, number) for number in range(count)), return_exceptions=True)
    saved = [answer for answer in answers if isinstance(answer, dict)]
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    for failure in failures:
        print(f"xalora: {failure}", file=sys.stderr)
    if arguments.json:
        # Results are charged, so they are reported even if other images failed.
        summary = {"results": saved} | (described(failures[0]) if failures else {})
        print(json.dumps(summary))
    else:
        for answer in saved:
            print(answer["path"])
    return exit_code(failures[0]) if failures else 0


async def status(arguments: argparse.Namespace) -> int:
    """``xalora status ID``: 1 when the task failed or was canceled, else 0."""
    async with _client(arguments) as client:
        result = await client.query_task_result(arguments.task_id)
    if arguments.json:
        print(json.dumps(_described(result)))
    else:
        print(" ".join(filter(None, [str(result.status), result.media_url, result.message])))
    return 1 if result.status in (TaskStatus.FAILED, TaskStatus.CANCELED) else 0


async def fetch(arguments: argparse.Namespace) -> int:
    """``xalora fetch ID -o FILE``: wait until the task is finished, then download."""
    _check_writable(arguments.output)
    async with _client(arguments) as client:
        with progress() as shown:
            result = await client.wait_for_result(arguments.task_id, timeout=arguments.timeout, on_update=shown.task)
            file = await client.download(result, on_progress=shown.download)
            shown.done(file.info, result.task_details)
    return _print_saved(arguments, _save(file, result, arguments.output))


async def cancel(arguments: argparse.Namespace) -> int:
    """``xalora cancel ID``."""
    async with _client(arguments) as client:
        message = await client.cancel_task(arguments.task_id)
    print(json.dumps({"task_id": arguments.task_id, "message": message}) if arguments.json else message)
    return 0


async def sandbox(arguments: argparse.Namespace) -> int:
    """``xalora sandbox``: serve until stopped."""

    def announce(url: str) -> None:
        line = json.dumps({"url": url}) if arguments.json else f"Xalora sandbox listening on {url}"
        print(line, flush=True)

    from ..sequencer.app import serve  # Imports a web server, which no other command needs.

    options = Options(
        workers=arguments.workers, render_seconds=arguments.render_seconds, video_format=arguments.video_format
    )
    data = arguments.data or config.home_folder() / "sandbox"
    await serve(arguments.host, arguments.port, data, options, on_ready=announce)
    return 0


def _client(arguments: argparse.Namespace, images_at_once: int = 8) -> AsyncClient:
    url = validation.SANDBOX if arguments.sandbox else None
    return AsyncClient(workflow_url=url, ledger=True, source="cli", images_at_once=images_at_once)


def _given(arguments: argparse.Namespace, kind: type[Text2VideoTask | FluxLoraTask]) -> dict[str, Any]:
    names = [name for name, _, _ in kind.rules()] + ["workflow_id", "timeout_seconds"]
    return {name: getattr(arguments, name) for name in names}


async def _make(arguments: argparse.Namespace, task: WorkflowTask) -> int:
    _check_writable(arguments.output)
    async with _client(arguments) as client:
        with progress() as shown:
            file, result = await _run_task(client, task, arguments, shown)
    return _print_saved(arguments, _save(file, result, arguments.output))


async def _run_task(
    client: AsyncClient, task: WorkflowTask, arguments: argparse.Namespace, shown: Progress
) -> tuple[MediaFile, WorkflowTaskResult]:
    result = await client.execute_workflow_and_wait_for_result(
        task, timeout=arguments.timeout, on_update=shown.task, reuse=arguments.reuse
    )
    file = await client.download(result, on_progress=shown.download)
    shown.done(file.info, task.task_details)
    return file, result


def _save(file: MediaFile, result: WorkflowTaskResult, place: Path) -> dict[str, Any]:
    """Copy the file out of the store, completely or not at all, and describe it."""
    is_a = file.info.format
    if place.suffix.lower() != is_a.extension and mimetypes.guess_type(place.name)[0] != is_a.mime_type:
        print(f"xalora: {place} contains {is_a.name}, although its name says otherwise", file=sys.stderr)
    fresh = place.with_name(f".{place.name}.{os.getpid()}.new")
    try:
        shutil.copyfile(file.path, fresh)
        fresh.replace(place)
    except OSError as error:
        raise StorageError(
            f"{place} cannot be written: {error.strerror}",
            task_id=result.task_id,
            advice=f"The result is safe in {file.path}.",
        ) from error
    return _described(result) | {
        "path": str(place),
        "bytes": file.size,
        "width": file.info.width,
        "height": file.info.height,
        "frames": file.info.frames,
        "fps": file.info.fps,
    }


def _described(result: WorkflowTaskResult) -> dict[str, Any]:
    return {
        "task_id": result.task_id,
        "status": str(result.status),
        "result_url": result.media_url,
        "message": result.message,
        "inference_latency": result.inference_latency,
        "upload_latency": result.upload_latency,
    }


def _print_saved(arguments: argparse.Namespace, saved: dict[str, Any]) -> int:
    print(json.dumps(saved) if arguments.json else saved["path"])
    return 0


def _check_writable(output: Path) -> None:
    """Refuse before anything is charged."""
    if output.is_dir():
        raise ConfigurationError(f"{output} is a folder", advice="Name a file after -o.")
    if not output.parent.is_dir():
        raise ConfigurationError(f"There is no folder {output.parent} to write to", advice="Make it first.")
    _check_folder(output.parent)


def _check_folder(folder: Path) -> None:
    if not os.access(folder, os.W_OK):
        raise ConfigurationError(
            f"The folder {folder} cannot be written", advice="Make it writable, or name another after -o."
        )


def _is_folder(output: str, count: int) -> bool:
    """Whether results go *into* the output. It is prepared in either case, before anything is charged.

    ``output`` is the text as typed: a Path would not keep the slash at its end.
    """
    folder = Path(output)
    if count == 1 and not folder.is_dir() and not output.endswith(("/", os.sep)):
        _check_writable(folder)
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be made: {error.strerror}", advice="Name another folder after -o."
        ) from error
    _check_folder(folder)
    return True


def _stem(image: str) -> str:
    """What an image's result is named after: its file name, in characters that every system allows."""
    stem = "" if is_data_uri(image) else Path(image.split("?")[0]).stem
    return re.sub(r'[<>:"|*\\\x00-\x1f]', "_", stem) or "image"


def _check_image(image: str) -> None:
    """Refuse what is not an image before anything is charged."""
    if not MediaAddress("the image").accepts(image):
        _image_type(Path(image))


def _input_image(image: str) -> str | InputImage:
    """The image for the task: an address unchanged, a file as one that is read when it is needed."""
    if MediaAddress("the image").accepts(image):
        return image
    return InputImage.from_file(Path(image), _image_type(Path(image)))


def _image_type(path: Path) -> str:
    found = sniff(_read(path, SNIFF_BYTES))
    if found is None or not found.mime_type.startswith("image/"):
        raise InvalidParameterError("IMAGE", str(path), "an image file, such as PNG, JPEG or WebP")
    return found.mime_type


def _read(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise InvalidParameterError("IMAGE", str(path), f"a file that can be read ({error.strerror})") from error
