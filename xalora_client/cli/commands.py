"""The commands that create tasks, or ask about one."""

from __future__ import annotations

import argparse
import asyncio
import mimetypes
import sys
from contextlib import closing, suppress
from glob import glob
from pathlib import Path
from typing import Any

from ..client.async_ import AsyncClient
from ..client.download import MediaFile
from ..config import validation
from ..errors import ConfigurationError, InvalidParameterError, one_line
from ..media.inputs import input_file
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.inputs import InputImage
from ..protocol.parameters import MediaAddress
from ..protocol.tasks import CustomTask, UpscalerTask, WorkflowTask
from . import output
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
    images = [image for given in arguments.images for image in _files(given)]
    tasks = [UpscalerTask(_input_image(image), **options) for image in images]
    in_folder = output.goes_into_folder(arguments.output, len(images), as_json=arguments.json)
    slots = asyncio.Semaphore(arguments.max_parallel)
    # As many images are uploaded ahead as are worked on. Each holds a claim in the ledger, which is an open file.
    window = asyncio.Semaphore(2 * arguments.max_parallel)

    async def upscale_one(client: AsyncClient, number: int) -> dict[str, Any]:
        image, task, target = images[number], tasks[number], arguments.output
        async with window:
            with closing(Progress(image if len(images) > 1 else None, is_shown=not arguments.quiet)) as progress:
                await client.upload_images(task, progress.upload, reuse=arguments.reuse)
                async with slots:
                    file, result = await _run_task(client, task, arguments, progress)
        if in_folder:
            stem = output.stem(image)
            earlier = [output.stem(other).casefold() for other in images[:number]].count(stem.casefold())
            name = f"{stem}-upscaled{f'-{earlier + 1}' if earlier else ''}{file.info.format.extension}"
            target = str(Path(target, name))
        return {"image": image, **_save(file, result, target)}

    async with _client(arguments, images_at_once=arguments.max_parallel) as client:
        work = (upscale_one(client, number) for number in range(len(images)))
        outcomes = await asyncio.gather(*work, return_exceptions=True)
    saved = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    failed = [(image, error) for image, error in zip(images, outcomes, strict=True) if isinstance(error, BaseException)]
    errors = [error for _, error in failed]
    for image, error in failed:
        print(f"xalora: {one_line(image, 200)}: {text(error)}", file=sys.stderr)
    # Results are charged, so they are reported even if other images failed.
    summary: dict[str, Any] = {"results": saved}
    if failed:
        summary |= described(errors[0]) | {"failed": [{"image": image, **described(error)} for image, error in failed]}
    print_result(arguments, summary, *(result["path"] for result in saved if arguments.output != output.STDOUT))
    return exit_code(errors[0]) if errors else 0


async def status(arguments: argparse.Namespace) -> int:
    """``xalora status ID``: 1 when the task failed or was canceled, else 0."""
    async with _client(arguments) as client:
        result = await client.query_task_result(arguments.task_id)
    words = filter(None, [str(result.status), result.media_url, result.message])
    print_result(arguments, _described(result), " ".join(words))
    return 1 if result.status in (TaskStatus.FAILED, TaskStatus.CANCELED) else 0


async def fetch(arguments: argparse.Namespace) -> int:
    """``xalora fetch ID -o FILE``: wait until the task is finished, then download. Stopping it cancels nothing."""
    output.check_file(arguments.output, as_json=arguments.json)
    async with _client(arguments) as client:
        with closing(Progress(is_shown=not arguments.quiet)) as progress:
            try:
                result = await client.wait_for_result(arguments.task_id, arguments.timeout, on_update=progress.task)
            except asyncio.CancelledError:
                progress.close()
                task_id = one_line(arguments.task_id, 100)
                print(f"Task {task_id} was not canceled. xalora cancel {task_id} does that.", file=sys.stderr)
                raise
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
    output.check_file(arguments.output, getattr(arguments, "result", None), as_json=arguments.json)
    async with _client(arguments) as client:
        with closing(Progress(is_shown=not arguments.quiet)) as progress:
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


def _save(file: MediaFile, result: WorkflowTaskResult, target: str) -> dict[str, Any]:
    """Save the file and describe it."""
    if result.left_behind:
        print(f"xalora: {result.left_behind}", file=sys.stderr)
    format_, name = file.info.format, Path(target).name
    is_named_so = Path(target).suffix.lower() == format_.extension or mimetypes.guess_type(name)[0] == format_.mime_type
    if not is_named_so and target != output.STDOUT:
        print(f"xalora: {target} contains {format_.name}, although its name says otherwise", file=sys.stderr)
    output.save(file, result.task_id, target)
    return _described(result) | {
        "path": target,
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
    print_result(arguments, saved, *([] if arguments.output == output.STDOUT else [saved["path"]]))
    return 0


def _files(image: str) -> list[str]:
    """The images that are meant: those in a folder, or those that fit a pattern, which Windows' shells leave as it is.

    Raises InvalidParameterError when there are none.
    """
    path = Path(image)
    with suppress(OSError):  # Reading it will say why.
        if MediaAddress("the image").accepts(image) or path.is_file():
            return [image]
        if path.is_dir():
            files = sorted(str(file) for file in path.iterdir() if file.is_file() and _is_image(file))
            if not files:
                raise InvalidParameterError("IMAGE", image, "a folder with images in it")
            return files
        return sorted(glob(image)) or [image]  # noqa: PTH207 - a Path's takes no absolute pattern
    return [image]


def _is_image(path: Path) -> bool:
    with suppress(InvalidParameterError):
        input_file(path)
        return True
    return False


def _input_image(image: str) -> str | InputImage:
    """The image for the task: an address unchanged, a file as one that is read when it is needed.

    Raises InvalidParameterError for a file that is not an image.
    """
    if MediaAddress("the image").accepts(image):
        return image
    return input_file(Path(image))
