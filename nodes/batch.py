"""Several tasks of one node at once: one for each image of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from .. import xalora_client
from ..xalora_client import MediaError, WorkflowTask, WorkflowTaskResult, XaloraError
from .comfy import outputs
from .comfy.prompt import Interrupted
from .execution import NodeRun, create_and_wait, execute, of_one_size
from .status_lines import Line, Part, several, submitted_line, verbatim

T = TypeVar("T")

MAX_PREPARED = 32
"""How many tasks are prepared while others run. Each has its claim, an open file, and another run waits for it."""

TaskOf = Callable[[int], WorkflowTask]
"""Builds the task for an image, by its number."""


async def run_batch(
    count: int, task_of: TaskOf, *, size: tuple[int, int], parallel: int, reuse: bool, alpha: bool
) -> tuple[list[str], Any, dict[str, Any]]:
    """Create the tasks and wait for them; returns their ids, their images as one batch, and the preview.

    The batch is an IMAGE ``[B, H, W, 3]``, or ``[B, H, W, 4]`` with ``alpha``, and has all images of each task.
    ``size`` are the width and height that are expected of it. Raises MediaError when the images have different sizes.
    """

    async def create(run: NodeRun) -> tuple[tuple[list[str], Any, dict[str, Any]], Line]:
        from .tensors import load_batch

        run.warn_of_size(count, *size)
        batch = _Batch(run, count, task_of, parallel)

        async def create_one(
            number: int, task: WorkflowTask
        ) -> tuple[WorkflowTaskResult, list[xalora_client.MediaFile]]:
            result = await create_and_wait(run, task, lambda update: batch.show_task(number, update))
            files = await run.client.download_all(result, run.show_download if count == 1 else None)
            batch.updates.pop(number, None)
            return result, files

        results = await batch.for_each(create_one)
        made = [of_one_size(files) for _, files in results]
        _check_sizes([fitting[0] for fitting, _ in made])
        files = [file for fitting, _ in made for file in fitting]
        run.begin_decoding()
        images = await asyncio.to_thread(
            load_batch, [file.info for file in files], alpha=alpha, progress=run.show_decoding
        )
        preview = await asyncio.to_thread(outputs.preview, [file.path for file in files], moving=False)
        described: Line = files[0].info.parts()
        described = several(len(files), described) if count == 1 < len(files) else described
        took = results[0][0].inference_latency if count == 1 else None
        line = run.tasks.batch_done_line(list(batch.origins.values()), described, took)
        left_behind = [verbatim(result.left_behind) for result, _ in results if result.left_behind][:1]
        line = [*line, *(part for _, elsewhere in made for part in elsewhere), *left_behind]
        return ([result.task_id for result, _ in results], images, preview), line

    return await execute(create, reuse=reuse, images_at_once=parallel)


async def submit_batch(count: int, task_of: TaskOf, *, parallel: int, reuse: bool) -> list[str]:
    """Create the tasks; returns their ids. Those that exist when Cancel is pressed are canceled too."""

    async def submit(run: NodeRun) -> tuple[list[str], Line]:
        batch = _Batch(run, count, task_of, parallel)

        async def submit_one(number: int, task: WorkflowTask) -> str:
            return await run.client.execute_workflow(task, lambda update: batch.note(number, update), reuse=reuse)

        async def cancel_one(task_id: str) -> None:
            try:
                await run.client.cancel_task(task_id)
                run.tasks.canceled[task_id] = None
            except XaloraError as error:
                run.tasks.canceled[task_id] = error

        try:
            task_ids = await batch.for_each(submit_one)
        except (asyncio.CancelledError, Interrupted) as stop:
            if run.prompt.should_cancel(stop):
                await asyncio.gather(*map(cancel_one, run.tasks.open - set(run.tasks.canceled)))
            raise
        return task_ids, submitted_line(list(batch.origins.values()))

    return await execute(submit, reuse=reuse, images_at_once=parallel)


class _Batch:
    """The tasks of a batch, and what the node shows of them: how many are done, and how far the running ones are."""

    def __init__(self, run: NodeRun, count: int, task_of: TaskOf, parallel: int) -> None:
        self.run = run
        self.count = count
        self.task_of = task_of
        self.parallel = min(parallel, count)
        self.done = 0
        self.updates: dict[int, xalora_client.TaskUpdate] = {}
        self.uploads: dict[int, xalora_client.UploadProgress] = {}
        self.origins: dict[int, str] = {}
        run.line = self._line

    async def for_each(self, step: Callable[[int, WorkflowTask], Coroutine[Any, Any, T]]) -> list[T]:
        """Run the step for every task, ``parallel`` at once. The first error is raised after all have ended.

        Their images are uploaded while earlier tasks run, so that each image is there when its task's turn comes.
        """
        slots, window = asyncio.Semaphore(self.parallel), asyncio.Semaphore(self.parallel + MAX_PREPARED)

        async def run_one(number: int) -> T:
            task = self.task_of(number)

            def on_upload(progress: xalora_client.UploadProgress) -> None:
                self.uploads[number] = progress

            async with window:
                await self.run.client.upload_images(task, on_upload, reuse=self.run.tasks.reuse)
                async with slots:
                    result = await step(number, task)
            self.done += 1
            self.run.tick()
            self.run.fill_bar(self.done, self.count)
            return result

        outcomes = await asyncio.gather(*(run_one(number) for number in range(self.count)), return_exceptions=True)
        results = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, XaloraError) and self.count > 1:
                raise self._with_number(number, outcome, len(results)) from outcome
            if isinstance(outcome, BaseException):
                raise outcome
        return results

    def _with_number(self, number: int, error: XaloraError, finished: int) -> XaloraError:
        advice = error.advice_for("nodes")
        if finished and self.run.tasks.reuse:
            advice = f"{advice.rstrip('.')}; the other {finished} are kept: queue again to send only what failed."
        params = {"image": number + 1, "images": self.count}
        return error.derived(what=f"Image {number + 1} of {self.count}: {error.what}", advice=advice, params=params)

    def note(self, number: int, update: xalora_client.TaskUpdate) -> xalora_client.TaskUpdate:
        """Remember where the task of an image comes from."""
        update = self.run.tasks.note(update, self.run.prompt.submitted)
        self.origins[number] = update.origin
        return update

    def show_task(self, number: int, update: xalora_client.TaskUpdate) -> None:
        """Show that the task of an image has changed. Estimates do not fill the bar."""
        self.updates[number] = update = self.note(number, update)
        if self.count == 1:
            self.run.show_task(update)
            return
        running = [one.progress.share for one in self.updates.values() if one.progress and not one.progress.estimated]
        if running:
            self.run.fill_bar(self.done + sum(running), self.count)

    def _line(self) -> Line:
        lost = any(not update.connected for update in self.updates.values())
        waiting = (update for update in self.updates.values() if update.result and update.result.why_waiting)
        why = next(waiting, None)
        more: Line = [Part("lost")] if lost else why.parts()[1:] if why else []
        if self.done + len(self.updates) < self.parallel and self.uploads:
            sent = sum(progress.sent for progress in self.uploads.values())
            uploading = Part("uploading", count=len(self.uploads), total=self.count)
            return [uploading, Part("megabytes", size=f"{sent / 1e6:.1f}"), *more]
        return [Part("upscaling", done=self.done, total=self.count), *more]


def _check_sizes(files: Sequence[xalora_client.MediaFile]) -> None:
    """Images of one batch have one size. If the miners' sizes differ, nothing is scaled or cropped to fit."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for number, file in enumerate(files, 1):
        sizes.setdefault((file.info.width, file.info.height), []).append(number)
    if len(sizes) > 1:
        images = "; ".join(
            f"{width}x{height}: image {', '.join(map(str, numbers))}" for (width, height), numbers in sizes.items()
        )
        raise MediaError(
            f"The enlarged images have different sizes ({images})",
            advice="The results are kept; enlarge the images one by one, or in batches of one kind.",
        )
