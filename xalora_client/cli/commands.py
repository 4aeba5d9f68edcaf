"""The commands that create tasks, or ask about one."""

from __future__ import annotations

import argparse
import asyncio
import mimetypes
import os
import re
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from ..client.async_ import AsyncClient
from ..client.download import MediaFile
from ..config import validation
from ..errors import ConfigurationError, StorageError
from ..media.inputs import input_file
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.inputs import InputImage
from ..protocol.parameters import MediaAddress, is_data_uri
from ..protocol.tasks import CustomTask, UpscalerTask, WorkflowTask
from .outcome import described, exit_code, print_result, text
from .progress import Progress


async def known_task(arguments: argparse.Namespace) -> int:
    """``xalora text2video PROMPT -o FILE`` and ``xalora flux-lora PROMPT --lora NAME -o FILE``."""
    names = [name for name, _, _ in arguments.task_class.rules()] + ["workflow_id", "timeout_seconds"]
    task = arguments.task_class(**{name: getattr(arguments, name) for name in names})
    return await _create(arguments, task)


async def run(arguments: argparse.Namespace) -> int:
    """``xalora run --task-type T … -o FILE``."""
    task = CustomTask(
        arguments.task_type,
        dict(arguments.parameters),
        workflow_id=arguments.workflow_id,
        timeout_seconds=arguments.timeout_seconds,
    )
    return await _create(arguments, task)


async def upscale(arguments: argparse.Namespace) -> int:
    """``xalora upscale IMAGE… -o FILE_OR_DIR``. Every image is tried; the first error sets the exit code."""
    if arguments.max_parallel < 1:
        raise ConfigurationError(f"--max-parallel is {arguments.max_parallel}", advice="Allowed: 1 or more.")
    options = {"workflow_id": arguments.workflow_id, "timeout_seconds": arguments.timeout_seconds}
    images = arguments.images
    tasks = [UpscalerTask(_input_image(image), **options) for image in images]
    in_folder = _is_folder(arguments.output, len(images))
    slots = asyncio.Semaphore(arguments.max_parallel)
    # As many images are uploaded ahead as are worked on. Each holds a claim in the ledger, which is an open file.
    window = asyncio.Semaphore(2 * arguments.max_parallel)

    async def upscale_one(client: AsyncClient, number: int) -> dict[str, Any]:
        image, task, path = images[number], tasks[number], Path(arguments.output)
        async with window:
            with closing(Progress(image if len(images) > 1 else None)) as progress:
                await client.upload_images(task, progress.upload, reuse=arguments.reuse)
                async with slots:
                    file, result = await _run_task(client, task, arguments, progress)
        if in_folder:
            stem = _stem(image)
            earlier = [_stem(other).casefold() for other in images[:number]].count(stem.casefold())
            path /= f"{stem}-upscaled{f'-{earlier + 1}' if earlier else ''}{file.info.format.extension}"
        return {"image": image, **_save(file, result, path)}

    async with _client(arguments, images_at_once=arguments.max_parallel) as client:
        work = (upscale_one(client, number) for number in range(len(images)))
        outcomes = await asyncio.gather(*work, return_exceptions=True)
    saved = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for error in errors:
        print(f"xalora: {text(error)}", file=sys.stderr)
    # Results are charged, so they are reported even if other images failed.
    summary = {"results": saved} | (described(errors[0]) if errors else {})
    print_result(arguments, summary, *(result["path"] for result in saved))
    return exit_code(errors[0]) if errors else 0


async def status(arguments: argparse.Namespace) -> int:
    """``xalora status ID``: 1 when the task failed or was canceled, else 0."""
    async with _client(arguments) as client:
        result = await client.query_task_result(arguments.task_id)
    words = filter(None, [str(result.status), result.media_url, result.message])
    print_result(arguments, _described(result), " ".join(words))
    return 1 if result.status in (TaskStatus.FAILED, TaskStatus.CANCELED) else 0


async def fetch(arguments: argparse.Namespace) -> int:
    """``xalora fetch ID -o FILE``: wait until the task is finished, then download."""
    _check_writable(arguments.output)
    async with _client(arguments) as client:
        with closing(Progress()) as progress:
            result = await client.wait_for_result(arguments.task_id, timeout=arguments.timeout, on_update=progress.task)
            file = await client.download(result, on_progress=progress.download)
            progress.done(file.info, result.task_details)
    return _print_saved(arguments, _save(file, result, arguments.output))


async def cancel(arguments: argparse.Namespace) -> int:
    """``xalora cancel ID``."""
    async with _client(arguments) as client:
        message = await client.cancel_task(arguments.task_id)
    print_result(arguments, {"task_id": arguments.task_id, "message": message}, message)
    return 0


def _client(arguments: argparse.Namespace, images_at_once: int = 8) -> AsyncClient:
    url = validation.SANDBOX if arguments.sandbox else None
    return AsyncClient(workflow_url=url, ledger=True, source="cli", images_at_once=images_at_once)


async def _create(arguments: argparse.Namespace, task: WorkflowTask) -> int:
    _check_writable(arguments.output)
    async with _client(arguments) as client:
        with closing(Progress()) as progress:
            file, result = await _run_task(client, task, arguments, progress)
    return _print_saved(arguments, _save(file, result, arguments.output))


async def _run_task(
    client: AsyncClient, task: WorkflowTask, arguments: argparse.Namespace, progress: Progress
) -> tuple[MediaFile, WorkflowTaskResult]:
    result = await client.execute_workflow_and_wait_for_result(
        task, timeout=arguments.timeout, on_update=progress.task, reuse=arguments.reuse
    )
    file = await client.download(result, on_progress=progress.download)
    progress.done(file.info, task.task_details)
    return file, result


def _save(file: MediaFile, result: WorkflowTaskResult, path: Path) -> dict[str, Any]:
    """Copy the file out of the store, completely or not at all, and describe it."""
    if result.left_behind:
        print(f"xalora: {result.left_behind}", file=sys.stderr)
    format_ = file.info.format
    if path.suffix.lower() != format_.extension and mimetypes.guess_type(path.name)[0] != format_.mime_type:
        print(f"xalora: {path} contains {format_.name}, although its name says otherwise", file=sys.stderr)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        shutil.copyfile(file.path, fresh)
        fresh.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}",
            task_id=result.task_id,
            advice=f"The result is safe in {file.path}.",
        ) from error
    return _described(result) | {
        "path": str(path),
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
    print_result(arguments, saved, saved["path"])
    return 0


def _check_writable(output: Path) -> None:
    """Refuse before anything is charged."""
    if output.is_dir():
        raise ConfigurationError(f"{output} is a folder", advice="Name a file after -o.")
    _check_folder(output.parent)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigurationError(f"There is no folder {folder} to write to", advice="Make it first.")
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


def _input_image(image: str) -> str | InputImage:
    """The image for the task: an address unchanged, a file as one that is read when it is needed.

    Raises InvalidParameterError for a file that is not an image.
    """
    if MediaAddress("the image").accepts(image):
        return image
    return input_file(Path(image))
