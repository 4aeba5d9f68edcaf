"""Several tasks of one node at once: one for each image of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..xalora_client import MediaError, WorkflowTask, XaloraError
from . import _error_messages, _host
from ._execution import NodeRun, create_and_wait, execute
from ._last_lines import batch_done_line, submitted_line

if TYPE_CHECKING:
    from ..xalora_client import MediaFile, TaskUpdate, UploadProgress

T = TypeVar("T")

AHEAD = 32
"""How many tasks are prepared while others run. Each holds its claim, an open file, and another run waits for it."""

TaskOf = Callable[[int], WorkflowTask]
"""Builds the task for an image, by its number."""


async def make_images(
    count: int, task_of: TaskOf, *, parallel: int, reuse: bool, alpha: bool
) -> tuple[list[str], Any, dict[str, Any]]:
    """Create the tasks and wait for them; returns their ids, their images as one batch, and the preview.

    The batch is an IMAGE ``[B, H, W, 3]``, or ``[B, H, W, 4]`` with ``alpha``. Raises MediaError when the images have
    different sizes.
    """

    async def work(run: NodeRun) -> tuple[tuple[list[str], Any, dict[str, Any]], str]:
        from ._tensors import load_batch

        show = _BatchProgress(run, count, min(parallel, count))

        async def make_one(number: int, task: WorkflowTask) -> tuple[str, MediaFile]:
            result = await create_and_wait(run, task, lambda update: show.task(number, update))
            file = await run.client.download(result, run.show_download if count == 1 else None)
            show.updates.pop(number, None)
            return result.task_id, file

        made = await _for_each(run, show, task_of, parallel, make_one)
        files = [file for _, file in made]
        _check_sizes(files)
        images = await asyncio.to_thread(
            load_batch, [file.info for file in files], alpha=alpha, progress=run.show_decoding
        )
        preview = await asyncio.to_thread(_host.preview, [file.path for file in files], moving=False)
        line = batch_done_line(run.tasks, list(show.origins.values()), files[0].info.describe())
        return ([task_id for task_id, _ in made], images, preview), line

    return await execute(work, reuse=reuse, images_at_once=parallel)


async def submit_images(count: int, task_of: TaskOf, *, parallel: int, reuse: bool) -> list[str]:
    """Create the tasks; returns their ids. Those that exist when Cancel is pressed are canceled too."""

    async def work(run: NodeRun) -> tuple[list[str], str]:
        show = _BatchProgress(run, count, min(parallel, count))

        async def submit_one(number: int, task: WorkflowTask) -> str:
            return await run.client.execute_workflow(task, lambda update: show.note(number, update), reuse=reuse)

        try:
            task_ids = await _for_each(run, show, task_of, parallel, submit_one)
        except (asyncio.CancelledError, _host.Interrupted) as stop:
            if run.prompt.should_cancel(stop):
                left = run.tasks.open - set(run.tasks.canceled)
                await asyncio.gather(*(_cancel_submitted(run, task_id) for task_id in left))
            raise
        return task_ids, submitted_line(show.origins.values())

    return await execute(work, reuse=reuse, images_at_once=parallel)


async def _cancel_submitted(run: NodeRun, task_id: str) -> None:
    try:
        await run.client.cancel_task(task_id)
    except XaloraError as error:
        run.tasks.canceled[task_id] = error
    else:
        run.tasks.canceled[task_id] = None


async def _for_each(
    run: NodeRun,
    show: _BatchProgress,
    task_of: TaskOf,
    parallel: int,
    step: Callable[[int, WorkflowTask], Coroutine[Any, Any, T]],
) -> list[T]:
    """Run the step for every task, ``parallel`` at once. The first failure is raised after all have ended.

    Their images are uploaded while earlier tasks run, so that each task has its image in place when its turn comes.
    """
    slots, window = asyncio.Semaphore(parallel), asyncio.Semaphore(parallel + AHEAD)

    async def one(number: int) -> T:
        task = task_of(number)
        upload = show.upload_of(number)
        async with window:
            await run.client.upload_images(task, upload, reuse=run.tasks.reuse)
            async with slots:
                answer = await step(number, task)
        show.one_done()
        return answer

    answers = await asyncio.gather(*(one(number) for number in range(show.count)), return_exceptions=True)
    kept = [answer for answer in answers if not isinstance(answer, BaseException)]
    for number, answer in enumerate(answers):
        if isinstance(answer, XaloraError) and show.count > 1:
            advice = _error_messages.advice(answer)
            if kept and run.tasks.reuse:
                others = f"the other {len(kept)} are kept: queue again to send only what failed."
                advice = f"{advice.rstrip('.')}; {others}"
            what = f"Image {number + 1} of {show.count}: {answer.what}"
            raise answer.derived(what=what, advice=advice) from answer
        if isinstance(answer, BaseException):
            raise answer
    return kept


class _BatchProgress:
    """What the node shows of a batch: how many images are done, and the parts of those at work."""

    def __init__(self, run: NodeRun, count: int, at_once: int) -> None:
        self.run = run
        self.count = count
        self.at_once = at_once
        self.done = 0
        self.updates: dict[int, TaskUpdate] = {}
        self.uploads: dict[int, UploadProgress] = {}
        self.origins: dict[int, str] = {}
        run.status_text = self._status_text

    def note(self, number: int, update: TaskUpdate) -> TaskUpdate:
        """Remember where the task of an image comes from."""
        update = self.run.tasks.note(update, self.run.prompt.submitted)
        self.origins[number] = update.origin
        return update

    def task(self, number: int, update: TaskUpdate) -> None:
        """The task of an image has changed. Estimates do not fill the bar."""
        self.updates[number] = update = self.note(number, update)
        if self.count == 1:
            self.run.show_task(update)
            return
        at_work = [each.progress for each in self.updates.values() if each.progress and not each.progress.estimated]
        if at_work:
            self.run.progress.bar(self.done + sum(each.share for each in at_work), self.count)

    def upload_of(self, number: int) -> Callable[[UploadProgress], object]:
        """Takes the progress of an image's upload."""
        return lambda progress: self.uploads.__setitem__(number, progress)

    def one_done(self) -> None:
        """One more image is done."""
        self.done += 1
        self.run.tick()
        self.run.progress.bar(self.done, self.count)

    def _status_text(self) -> str:
        lost = any(not update.connected for update in self.updates.values())
        more = " · connection lost, trying again" if lost else ""
        if self.done + len(self.updates) < self.at_once and self.uploads:
            sent = sum(each.sent for each in self.uploads.values())
            return f"uploading {len(self.uploads)} / {self.count} · {sent / 1e6:.1f} MB{more}"
        return f"upscaling {self.done} / {self.count}{more}"


def _check_sizes(files: Sequence[MediaFile]) -> None:
    """Images of one batch have one size. If the miners' sizes differ, nothing is scaled or cropped to fit."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for number, file in enumerate(files, 1):
        sizes.setdefault((file.info.width, file.info.height), []).append(number)
    if len(sizes) > 1:
        listed = "; ".join(
            f"{width}x{height}: image {', '.join(map(str, numbers))}" for (width, height), numbers in sizes.items()
        )
        raise MediaError(
            f"The enlarged images have different sizes ({listed})",
            advice="The results are kept; enlarge the images one by one, or in batches of one kind.",
        )
