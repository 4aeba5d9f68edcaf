"""Commands of many tasks: several run at a time, and what goes wrong with one does not stop the others."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from ..client.async_ import AsyncClient
from ..errors import ConfigurationError, InvalidParameterError, StorageError, one_line
from ..media.inputs import input_file, sendable
from ..protocol.inputs import InputImage, images_in
from ..protocol.parameters import MediaAddress
from ..protocol.tasks import UpscalerTask, WorkflowTask
from ..workflows import AvailableWorkflow
from . import output
from .commands import client_of, paths, read_text, run_task, save_all, task_values
from .dry_run import show_plan
from .outcome import described, exit_code, print_result, text
from .progress import Progress

DECODED_AT_ONCE = 4
"""Pictures in memory while they are checked."""

MANY = 20
"""Images that are checked so fast that it needs no word."""

_LONGEST_NAME = 40
"""Characters of a prompt that are in the name of its file."""


@dataclass(frozen=True)
class _Item:
    """One of the tasks.

    Attributes:
        label: What people see before each of its lines, or None for the only one.
        facts: What tells it apart in JSON.
        task: The task.
        name: What its file in a folder is called, without an extension.
        last: How many files before it have such a name: further ones of its own are numbered from there on.
    """

    label: str | None
    facts: dict[str, Any]
    task: WorkflowTask
    name: str
    last: int = 1


async def prompts(arguments: argparse.Namespace) -> int:
    """``xalora text2video --prompts FILE -o DIR/``: a task for each line. The first error sets the exit code."""
    items = _items(arguments)
    target = arguments.output or "./"
    if target == output.STDOUT or (not output.is_folder(target) and Path(target).suffix):
        raise ConfigurationError(f"{target} is one file, and each prompt has its own", advice="Name a folder after -o.")
    if arguments.dry_run:
        return await show_plan(arguments, [item.task for item in items])
    if not arguments.no_wait:
        output.prepare(target, 2)
    errors: list[BaseException] = []

    def report(item: _Item, outcome: dict[str, Any] | BaseException) -> None:
        try:
            if isinstance(outcome, BaseException):
                errors.append(outcome)
                print(f"xalora: {item.label}: {text(outcome)}", file=sys.stderr)
                print_result(arguments, item.facts | described(outcome))
            else:
                ids = [f"{item.facts['line']} {outcome['task_id']}"] if arguments.no_wait else []
                print_result(arguments, item.facts | outcome, *ids, *paths(arguments, outcome))
        except StorageError as error:  # Of stdout. What was paid for is saved all the same.
            errors.append(error)

    async with client_of(arguments, on_available=lambda workflow: None) as client:
        await _run_all(arguments, client, items, arguments.at_once, report)
    return exit_code(errors[0]) if errors else 0


def _items(arguments: argparse.Namespace) -> list[_Item]:
    """A task for each line that is not empty: a prompt, or a JSON object of parameters, which come before the flags."""
    found, lines = list[_Item](), read_text(arguments.prompts).split("\n")
    given = task_values(arguments)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        values: Any = {"prompt": line.strip()}
        if line.lstrip().startswith("{"):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ConfigurationError(
                    f"Line {number} of the prompts is no JSON object: {error}", advice="Nothing was sent."
                ) from error
        try:
            if unknown := values.keys() - given.keys():
                raise TypeError(f"there is no parameter {min(unknown)!r}, only {', '.join(given)}")
            task = arguments.task_class(**given | values)
        except (InvalidParameterError, TypeError) as error:
            raise ConfigurationError(f"Line {number} of the prompts: {error}", advice="Nothing was sent.") from error
        words = re.sub(r"\W+", "-", str(values.get("prompt", "")).lower())[:_LONGEST_NAME].strip("-_")
        name = f"{number:0{max(3, len(str(len(lines))))}}{words and '-'}{words}"
        found.append(_Item(f"line {number}", {"line": number, "prompt": task.prompt}, task, name))
    if not found:
        raise ConfigurationError("There is no prompt in it", advice="Write one in each line.")
    return found


async def upscale(arguments: argparse.Namespace) -> int:
    """``xalora upscale IMAGE… -o FILE_OR_DIR``. The first error sets the exit code.

    Nothing is created as long as one of the images is damaged. After that, every image is tried.
    """
    images = [image for given in arguments.images for image in _files(given)]
    items = _upscales(images, {name: getattr(arguments, name) for name in ("workflow_id", "timeout_seconds")})
    if not (arguments.no_wait or arguments.dry_run):
        output.prepare(arguments.output, len(images), as_json=arguments.json)
    known, saved, failed = dict[str, Any](), list[dict[str, Any]](), list[tuple[str, BaseException]]()

    def report(workflow: AvailableWorkflow) -> None:
        facts = {"factor": workflow.usual_factor, "model": ", ".join(workflow.usual_models)}
        told = {name: fact for name, fact in facts.items() if fact}
        if told and not known:
            words = ", ".join(f"{name} {one_line(str(fact), 200)}" for name, fact in told.items())
            known.update(told)
            if not arguments.quiet:
                print(f"xalora: {workflow.key}: {words}", file=sys.stderr)

    outcomes: Sequence[Any] = await _damage([item.task for item in items])
    if arguments.dry_run and not any(outcomes):
        return await show_plan(arguments, [item.task for item in items])
    if not any(outcomes):
        at_once = arguments.max_parallel
        async with client_of(arguments, images_at_once=at_once, on_available=report) as client:
            outcomes = await _run_all(arguments, client, items, at_once)
    for image, outcome in zip(images, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            failed.append((image, outcome))
            print(f"xalora: {one_line(image, 200)}: {text(outcome)}", file=sys.stderr)
        elif outcome is not None:
            saved.append({"image": image, **outcome})
    # Results are charged, so they are reported even if other images failed.
    summary: dict[str, Any] = {"results": saved} | known
    if failed:
        of_each = [{"image": image, **described(error)} for image, error in failed]
        summary |= described(failed[0][1]) | {"failed": of_each}
    lines = [each["task_id"] for each in saved] if arguments.no_wait else paths(arguments, *saved)
    print_result(arguments, summary, *lines)
    return exit_code(failed[0][1]) if failed else 0


def _upscales(images: list[str], options: dict[str, Any]) -> list[_Item]:
    """A task for each image. Those whose files have the same name are numbered."""
    count, found = Counter(output.stem(image).casefold() for image in images), list[_Item]()
    places = Counter[str]()
    for image in images:
        stem = output.stem(image)
        places[stem.casefold()] += 1
        place = places[stem.casefold()]
        name = f"{stem}-upscaled{f'-{place}' if place > 1 else ''}"
        task = UpscalerTask(_input_image(image), **options)
        found.append(
            _Item(image if len(images) > 1 else None, {"image": image}, task, name, last=count[stem.casefold()])
        )
    return found


async def _run_all(
    arguments: argparse.Namespace,
    client: AsyncClient,
    items: Sequence[_Item],
    at_once: int,
    report: Callable[[_Item, dict[str, Any] | BaseException], object] = lambda item, outcome: None,
) -> list[dict[str, Any] | BaseException]:
    """Run the tasks, so many at once; returns and reports what was saved of each, or what went wrong with it."""
    slots = asyncio.Semaphore(at_once)
    # As many images are uploaded ahead as are worked on. Each holds a claim in the ledger, which is an open file.
    window = asyncio.Semaphore(2 * at_once)

    async def run(item: _Item) -> dict[str, Any]:
        async with window:
            with closing(Progress(item.label, is_shown=not arguments.quiet)) as progress:
                if images_in(item.task.task_details):
                    await client.upload_images(item.task, progress.upload, reuse=arguments.reuse)
                async with slots:
                    if arguments.no_wait:
                        return {"task_id": await client.execute_workflow(item.task, reuse=arguments.reuse), "files": []}
                    result = await run_task(client, item.task, arguments, progress)
                    details = item.task.task_details
                    return await save_all(client, result, arguments, progress, details, item.name, item.last)

    async def run_and_report(item: _Item) -> dict[str, Any] | BaseException:
        try:
            outcome: dict[str, Any] | BaseException = await run(item)
        except Exception as error:  # noqa: BLE001 - it is reported, and the others go on
            outcome = error
        report(item, outcome)
        return outcome

    return await asyncio.gather(*map(run_and_report, items))


async def _damage(tasks: Sequence[WorkflowTask]) -> list[BaseException | None]:
    """Decode every picture, a few at once: what is wrong with that of each task, or None.

    A picture that is sent as it is is not decoded again.
    """
    if len(tasks) > MANY:
        print(f"xalora: reading all {len(tasks):,} images first, so that a damaged one costs nothing", file=sys.stderr)
    slots = asyncio.Semaphore(DECODED_AT_ONCE)

    def check(task: WorkflowTask) -> None:
        for image in images_in(task.task_details):
            content = image.content()
            image.is_checked = sendable(content, image.name, single=True) is content

    async def check_one(task: WorkflowTask) -> None:
        async with slots:
            await asyncio.to_thread(check, task)

    return await asyncio.gather(*map(check_one, tasks), return_exceptions=True)


def _files(image: str) -> list[str]:
    """The images that are meant: those in a folder, or those that fit a pattern, which Windows' shells leave as it is.

    What else is in the folder is named. Raises InvalidParameterError when there are none.
    """
    path = Path(image)
    with suppress(OSError):  # Reading it will say why.
        if MediaAddress("the image").accepts(image) or path.is_file():
            return [image]
        if path.is_dir():
            entries = sorted(path.iterdir())
            images = {file for file in entries if file.is_file() and _is_image(file)}
            if not images:
                raise InvalidParameterError("IMAGE", image, "a folder with images in it")
            for entry in entries:
                if entry not in images:
                    what = "a folder" if entry.is_dir() else "no image"
                    print(f"xalora: {one_line(str(entry), 200)} is skipped: it is {what}", file=sys.stderr)
            return [str(file) for file in entries if file in images]
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
