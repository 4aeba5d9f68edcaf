"""The commands that create tasks, or ask about one."""

from __future__ import annotations

import argparse
import asyncio
import mimetypes
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from glob import glob
from pathlib import Path
from typing import Any

from ..client.advanced import AdvancedOptions
from ..client.async_ import AsyncClient
from ..client.download import MediaFile
from ..config import validation
from ..errors import ConfigurationError, InvalidParameterError, MediaError, one_line
from ..errors.messages import COMMAND
from ..media.inputs import input_file, sendable
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.inputs import InputImage, images_in
from ..protocol.parameters import MediaAddress
from ..protocol.tasks import CustomTask, UpscalerTask, WorkflowTask
from ..storage.files import is_written_into
from ..workflows import AvailableWorkflow
from . import output
from .outcome import described, exit_code, print_result, text
from .progress import Progress

STDIN = "-"
DECODED_AT_ONCE = 4
"""Pictures in memory while they are checked."""

MANY = 20
"""Images that are checked so fast that it needs no word."""


async def known_task(arguments: argparse.Namespace) -> int:
    """``xalora text2video PROMPT -o FILE`` and ``xalora flux-lora PROMPT --lora NAME -o FILE``."""
    names = [name for name, _, _ in arguments.task_class.rules()] + ["workflow_id", "timeout_seconds"]
    if arguments.prompt == STDIN:
        arguments.prompt = _read_stdin()
    task = arguments.task_class(**{name: getattr(arguments, name) for name in names})
    return await _create(arguments, task)


def _read_stdin() -> str:
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise ConfigurationError("Standard input is no text", advice="Send the prompt as UTF-8.") from error


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
    """``xalora upscale IMAGE… -o FILE_OR_DIR``. The first error sets the exit code.

    Nothing is created as long as one of the images is damaged. After that, every image is tried.
    """
    if arguments.max_parallel < 1:
        raise ConfigurationError(f"--max-parallel is {arguments.max_parallel}", advice="Allowed: 1 or more.")
    options = {"workflow_id": arguments.workflow_id, "timeout_seconds": arguments.timeout_seconds}
    images = [image for given in arguments.images for image in _files(given)]
    tasks = [UpscalerTask(_input_image(image), **options) for image in images]
    same_names, places = Counter[str](), list[int]()
    for image in images:
        same_names[output.stem(image).casefold()] += 1
        places.append(same_names[output.stem(image).casefold()])
    if not arguments.no_wait:
        output.prepare(arguments.output, len(images), as_json=arguments.json)
    slots = asyncio.Semaphore(arguments.max_parallel)
    # As many images are uploaded ahead as are worked on. Each holds a claim in the ledger, which is an open file.
    window = asyncio.Semaphore(2 * arguments.max_parallel)

    async def upscale_one(client: AsyncClient, number: int) -> dict[str, Any]:
        image, task, stem = images[number], tasks[number], output.stem(images[number])
        name = f"{stem}-upscaled{f'-{places[number]}' if places[number] > 1 else ''}"
        async with window:
            with closing(Progress(image if len(images) > 1 else None, is_shown=not arguments.quiet)) as progress:
                await client.upload_images(task, progress.upload, reuse=arguments.reuse)
                async with slots:
                    if arguments.no_wait:
                        task_id = await client.execute_workflow(task, reuse=arguments.reuse)
                        return {"image": image, "task_id": task_id, "files": []}
                    result = await _run_task(client, task, arguments, progress)
                    names = name, same_names[stem.casefold()]
                    saved = await _save_all(client, result, arguments, progress, task.task_details, *names)
                    return {"image": image, **saved}

    known = dict[str, Any]()

    def report(workflow: AvailableWorkflow) -> None:
        facts = {"factor": workflow.usual_factor, "model": ", ".join(workflow.usual_models)}
        told = {name: fact for name, fact in facts.items() if fact}
        if told and not known:
            words = ", ".join(f"{name} {one_line(str(fact), 200)}" for name, fact in told.items())
            known.update(told)
            if not arguments.quiet:
                print(f"xalora: {workflow.key}: {words}", file=sys.stderr)

    outcomes: list[Any] = await _damage(tasks)
    if not any(outcomes):
        async with _client(arguments, images_at_once=arguments.max_parallel, on_available=report) as client:
            work = (upscale_one(client, number) for number in range(len(images)))
            outcomes = await asyncio.gather(*work, return_exceptions=True)
    saved = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    failed = [(image, error) for image, error in zip(images, outcomes, strict=True) if isinstance(error, BaseException)]
    errors = [error for _, error in failed]
    for image, error in failed:
        print(f"xalora: {one_line(image, 200)}: {text(error)}", file=sys.stderr)
    # Results are charged, so they are reported even if other images failed.
    summary: dict[str, Any] = {"results": saved} | known
    if failed:
        summary |= described(errors[0]) | {"failed": [{"image": image, **described(error)} for image, error in failed]}
    lines = [each["task_id"] for each in saved] if arguments.no_wait else _paths(arguments, *saved)
    print_result(arguments, summary, *lines)
    return exit_code(errors[0]) if errors else 0


async def _damage(tasks: list[UpscalerTask]) -> list[BaseException | None]:
    """Decode every picture, a few at once: what is wrong with that of each task, or None.

    A picture that is sent as it is is not decoded again.
    """
    if len(tasks) > MANY:
        print(f"xalora: reading all {len(tasks):,} images first, so that a damaged one costs nothing", file=sys.stderr)
    slots = asyncio.Semaphore(DECODED_AT_ONCE)

    def check(task: UpscalerTask) -> None:
        for image in images_in(task.task_details):
            content = image.content()
            image.is_checked = sendable(content, image.name, single=True) is content

    async def check_one(task: UpscalerTask) -> None:
        async with slots:
            await asyncio.to_thread(check, task)

    return await asyncio.gather(*map(check_one, tasks), return_exceptions=True)


async def status(arguments: argparse.Namespace) -> int:
    """``xalora status ID``: 1 when the task failed or was canceled, else 0."""
    async with _client(arguments) as client:
        result = await client.query_task_result(arguments.task_id)
    words = filter(None, [str(result.status), *result.media_urls, result.message])
    print_result(arguments, _described(result), " ".join(words))
    return 1 if result.status in (TaskStatus.FAILED, TaskStatus.CANCELED) else 0


async def fetch(arguments: argparse.Namespace) -> int:
    """``xalora fetch ID -o FILE``: wait until the task is finished, then download. Stopping it cancels nothing."""
    _prepare_output(arguments)
    async with _client(arguments) as client:
        with closing(Progress(is_shown=not arguments.quiet)) as progress:
            try:
                result = await client.wait_for_result(arguments.task_id, arguments.timeout, on_update=progress.task)
            except asyncio.CancelledError:
                progress.close()
                task_id = one_line(arguments.task_id, 100)
                print(f"Task {task_id} was not canceled. xalora cancel {task_id} does that.", file=sys.stderr)
                raise
            saved = await _save_all(client, result, arguments, progress, result.task_details)
    print_result(arguments, saved, *_paths(arguments, saved))
    return 0


async def cancel(arguments: argparse.Namespace) -> int:
    """``xalora cancel ID``."""
    async with _client(arguments) as client:
        message = await client.cancel_task(arguments.task_id)
    print_result(arguments, {"task_id": arguments.task_id, "message": message}, message)
    return 0


def _client(
    arguments: argparse.Namespace,
    images_at_once: int = 8,
    on_available: Callable[[AvailableWorkflow], object] | None = None,
) -> AsyncClient:
    url = validation.SANDBOX if arguments.sandbox else None
    options = AdvancedOptions(source="cli", images_at_once=images_at_once, on_available=on_available)
    return AsyncClient(workflow_url=url, ledger=True, advanced=options)


async def _create(arguments: argparse.Namespace, task: WorkflowTask) -> int:
    if arguments.no_wait:
        async with _client(arguments, on_available=lambda workflow: None) as client:
            task_id = await client.execute_workflow(task, reuse=arguments.reuse)
        print_result(arguments, {"task_id": task_id}, task_id)
        return 0
    _prepare_output(arguments)
    async with _client(arguments, on_available=lambda workflow: None) as client:
        with closing(Progress(is_shown=not arguments.quiet)) as progress:
            result = await _run_task(client, task, arguments, progress)
            saved = await _save_all(client, result, arguments, progress, task.task_details)
    print_result(arguments, saved, *_paths(arguments, saved))
    return 0


def _prepare_output(arguments: argparse.Namespace) -> None:
    """Refuse a place that the results of one task cannot go to, before anything is charged."""
    result = getattr(arguments, "result", None)
    if result != "video" and output.is_folder(arguments.output):
        output.prepare(arguments.output, 1)
    else:
        output.check_file(arguments.output, result, as_json=arguments.json)


async def _run_task(
    client: AsyncClient, task: WorkflowTask, arguments: argparse.Namespace, progress: Progress
) -> WorkflowTaskResult:
    return await client.execute_workflow_and_wait_for_result(
        task, timeout=arguments.timeout, on_update=progress.task, reuse=arguments.reuse
    )


async def _save_all(
    client: AsyncClient,
    result: WorkflowTaskResult,
    arguments: argparse.Namespace,
    progress: Progress,
    task_details: object,
    name: str = "",
    last: int = 1,
) -> dict[str, Any]:
    """Download the results and save each before the next; returns their description.

    In a folder they have the ``name``, or else the task's id. Names of all but the first end with a number, from the
    one after ``last`` on.
    """
    if result.left_behind:
        print(f"xalora: {result.left_behind}", file=sys.stderr)
    saved: list[dict[str, Any]] = []

    def save(file: MediaFile) -> None:
        nonlocal last
        progress.done(file.info, task_details)
        path = arguments.output
        if saved:
            path, last = output.next_name(saved[0]["path"], last + 1, file.path)
        elif output.is_folder(path):
            path = str(Path(path, f"{name or output.stem(result.task_id)}{file.info.format.extension}"))
        saved.append(_save(file, result, path))

    try:
        await client.download_all(result, progress.download, save)
    except MediaError as error:
        target = arguments.output
        if saved or error.path is None or not output.is_free(target):
            raise
        # One that cannot be read is saved, too: it is paid for.
        output.save(error.path, result.task_id, target)
        advice = error.advice_for(COMMAND).replace(str(error.path), target)
        raise error.derived(advice=advice, path=Path(target)) from error
    return _described(result) | saved[0] | {"files": saved}


def _save(file: MediaFile, result: WorkflowTaskResult, target: str) -> dict[str, Any]:
    """Save the file, unless it is there, and describe it."""
    format_, name = file.info.format, Path(target).name
    is_named_so = Path(target).suffix.lower() == format_.extension or mimetypes.guess_type(name)[0] == format_.mime_type
    if not is_named_so and target != output.STDOUT and not is_written_into(Path(target)):
        print(f"xalora: {target} contains {format_.name}, although its name says otherwise", file=sys.stderr)
    if target == str(file.path):
        print(f"xalora: another result is in {target}", file=sys.stderr)
    else:
        output.save(file.path, result.task_id, target)
    return {
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
        "result_urls": result.media_urls,
        "message": result.message,
        "inference_latency": result.inference_latency,
        "upload_latency": result.upload_latency,
    }


def _paths(arguments: argparse.Namespace, *saved: dict[str, Any]) -> list[str]:
    """What is printed of saved results: their paths, unless the results went to stdout."""
    return [file["path"] for each in saved for file in each["files"] if arguments.output != output.STDOUT]


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
