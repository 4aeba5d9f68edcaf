"""The commands that create tasks, or ask about one."""

from __future__ import annotations

import argparse
import asyncio
import mimetypes
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from ..client.advanced import AdvancedOptions
from ..client.async_ import AsyncClient
from ..client.download import MediaFile
from ..client.records import TaskRecords
from ..config import validation
from ..errors import ConfigurationError, MediaError, one_line
from ..errors.messages import COMMAND
from ..protocol.answers import WorkflowTaskResult
from ..protocol.tasks import CustomTask, WorkflowTask
from ..storage.files import is_written_into
from ..workflows import AvailableWorkflow
from . import output
from .dry_run import show_plan
from .outcome import print_result
from .progress import Progress

STDIN = "-"


async def known_task(arguments: argparse.Namespace) -> int:
    """``xalora text2video PROMPT -o FILE`` and ``xalora flux-lora PROMPT --lora NAME -o FILE``."""
    if arguments.prompt == STDIN:
        arguments.prompt = read_text(STDIN).strip()
    return await _create(arguments, arguments.task_class(**task_values(arguments)))


def task_values(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the arguments say of the task, by the names of its class."""
    names = [name for name, _, _ in arguments.task_class.rules()] + ["workflow_id", "timeout_seconds"]
    return {name: getattr(arguments, name) for name in names}


def read_text(source: str) -> str:
    """A file's text, or that of standard input for "-". Raises ConfigurationError."""
    name = "Standard input" if source == STDIN else source
    try:
        content = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{name} cannot be read: {reason}", advice="Name another file.") from error
    text = content.decode("utf-8-sig", errors="replace")
    if "\0" in text or "\ufffd" in text:
        raise ConfigurationError(f"{name} is no text", advice="Save or send it as UTF-8.")
    return text


async def run(arguments: argparse.Namespace) -> int:
    """``xalora run --task-type T … -o FILE``."""
    task = CustomTask(
        arguments.task_type,
        dict(arguments.parameters),
        workflow_id=arguments.workflow_id,
        timeout_seconds=arguments.timeout_seconds,
    )
    return await _create(arguments, task)


async def fetch(arguments: argparse.Namespace) -> int:
    """``xalora fetch ID -o FILE``: wait until the task is finished, then download. Stopping it cancels nothing."""
    _prepare_output(arguments)
    async with client_of(arguments) as client:
        with closing(Progress(is_shown=not arguments.quiet)) as progress:
            try:
                result = await client.wait_for_result(arguments.task_id, arguments.timeout, on_update=progress.task)
            except asyncio.CancelledError:
                progress.close()
                task_id = one_line(arguments.task_id, 100)
                print(f"Task {task_id} was not canceled. xalora cancel {task_id} does that.", file=sys.stderr)
                raise
            saved = await save_all(client, result, arguments, progress, result.task_details)
    print_result(arguments, saved, *paths(arguments, saved))
    return 0


async def cancel(arguments: argparse.Namespace) -> int:
    """``xalora cancel ID``."""
    async with client_of(arguments) as client:
        message = await client.cancel_task(arguments.task_id)
    print_result(arguments, {"task_id": arguments.task_id, "message": message}, message)
    return 0


def client_of(
    arguments: argparse.Namespace,
    images_at_once: int = 8,
    on_available: Callable[[AvailableWorkflow], object] | None = None,
) -> AsyncClient:
    """A client for the server in force, or for that of the one task that the command is about."""
    server: tuple[str | None, str | None] = (None, validation.SANDBOX if arguments.sandbox else None)
    task_ids = getattr(arguments, "task_ids", [getattr(arguments, "task_id", None)])
    if not arguments.sandbox and len(task_ids) == 1 and task_ids[0]:
        with TaskRecords() as records:
            server = records.client_arguments(task_ids[0])
    options = AdvancedOptions(source="cli", images_at_once=images_at_once, on_available=on_available)
    return AsyncClient(*server, ledger=True, advanced=options)


async def _create(arguments: argparse.Namespace, task: WorkflowTask) -> int:
    if arguments.dry_run:
        if arguments.output and not output.is_folder(arguments.output):  # A folder would be made.
            _prepare_output(arguments)
        return await show_plan(arguments, [task])
    if arguments.no_wait:
        async with client_of(arguments, on_available=lambda workflow: None) as client:
            task_id = await client.execute_workflow(task, reuse=arguments.reuse)
        print_result(arguments, {"task_id": task_id}, task_id)
        return 0
    _prepare_output(arguments)
    async with client_of(arguments, on_available=lambda workflow: None) as client:
        with closing(Progress(is_shown=not arguments.quiet)) as progress:
            result = await run_task(client, task, arguments, progress)
            saved = await save_all(client, result, arguments, progress, task.task_details)
    print_result(arguments, saved, *paths(arguments, saved))
    return 0


def _prepare_output(arguments: argparse.Namespace) -> None:
    """Refuse a place that the results of one task cannot go to, before anything is charged."""
    result = getattr(arguments, "result", None)
    if result != "video" and output.is_folder(arguments.output):
        output.prepare(arguments.output, 1)
    else:
        output.check_file(arguments.output, result, as_json=arguments.json)


async def run_task(
    client: AsyncClient, task: WorkflowTask, arguments: argparse.Namespace, progress: Progress
) -> WorkflowTaskResult:
    return await client.execute_workflow_and_wait_for_result(
        task, timeout=arguments.timeout, on_update=progress.task, reuse=arguments.reuse
    )


async def save_all(
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
    return result_of(result) | saved[0] | {"files": saved}


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


def result_of(result: WorkflowTaskResult) -> dict[str, Any]:
    """A task's answer, for ``--json``."""
    return {
        "task_id": result.task_id,
        "status": str(result.status),
        "result_url": result.media_url,
        "result_urls": result.media_urls,
        "message": result.message,
        "inference_latency": result.inference_latency,
        "upload_latency": result.upload_latency,
    }


def paths(arguments: argparse.Namespace, *saved: dict[str, Any]) -> list[str]:
    """What is printed of saved results: their paths, unless the results went to stdout."""
    return [file["path"] for each in saved for file in each["files"] if arguments.output != output.STDOUT]
