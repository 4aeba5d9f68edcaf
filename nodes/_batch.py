"""Several tasks of one node at once: one for each image of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..xalora_client import MediaError, WorkflowTask, XaloraError
from . import _error_messages, _host
from ._remote import Remote, submitted_line

if TYPE_CHECKING:
    from ..xalora_client import MediaFile, TaskUpdate, UploadProgress

T = TypeVar("T")

AHEAD = 32
"""How many tasks are prepared while others run. Each holds its claim, an open file, and another run waits for it."""


class Batch(Remote):
    """A node that runs ``count`` tasks, at most ``parallel`` of them at once.

    ``task_of(number)`` builds each one. Their images are uploaded while earlier tasks run, so that each has its image
    in place when its turn comes; at most ``parallel`` images are held encoded at once.
    """

    def __init__(self, count: int, task_of: Callable[[int], WorkflowTask], *, parallel: int, reuse: bool) -> None:
        super().__init__(images_at_once=parallel, reuse=reuse)
        self.count = count
        self.task_of = task_of
        self.turns_at_once = min(parallel, count)
        self.turns = asyncio.Semaphore(parallel)
        self.window = asyncio.Semaphore(parallel + AHEAD)
        self.done = 0
        self.updates: dict[int, TaskUpdate] = {}
        self.uploads: dict[int, UploadProgress] = {}
        self.origin_of: dict[int, str] = {}
        self.say = self._say

    async def make_images(self, *, alpha: bool) -> tuple[list[str], Any, dict[str, Any]]:
        """Create the tasks and wait for them; returns their ids, their images as one batch, and the preview.

        The batch is an IMAGE ``[B, H, W, 3]``, or ``[B, H, W, 4]`` with ``alpha``. Raises MediaError when the images
        have different sizes.
        """
        return await self.perform(self._make_images(alpha))

    async def submit(self) -> list[str]:
        """Create the tasks; returns their ids. Those that exist when Cancel is pressed are canceled too."""
        return await self.perform(self._submit())

    async def _make_images(self, alpha: bool) -> tuple[list[str], Any, dict[str, Any]]:
        from ._tensors import load_batch

        made = await self._each(self._make_one)
        files = [file for _, file in made]
        _check_sizes(files)
        self.ending = self._done_all(files[0].info.describe())
        images = await asyncio.to_thread(
            load_batch, [file.info for file in files], alpha=alpha, progress=self.show_decoding
        )
        preview = await asyncio.to_thread(_host.preview, [file.path for file in files], moving=False)
        return [task_id for task_id, _ in made], images, preview

    async def _make_one(self, number: int, task: WorkflowTask) -> tuple[str, MediaFile]:
        def show(update: TaskUpdate) -> None:
            self.updates[number] = update = self.note(update)
            self.origin_of[number] = update.origin
            if self.count == 1:
                self.show_task(update)
            else:
                self._show_bar()

        result = await self.finish(task, show)
        file = await self.download(result, on_progress=None if self.count == 1 else lambda _: None)
        self.updates.pop(number, None)
        return result.task_id, file

    async def _submit(self) -> list[str]:
        async def submit_one(number: int, task: WorkflowTask) -> str:
            def note(update: TaskUpdate) -> None:
                self.origin_of[number] = self.note(update).origin

            return await self.client.execute_workflow(task, note, reuse=self.reuse)

        try:
            task_ids = await self._each(submit_one)
            self.ending = submitted_line(list(self.origin_of.values()))
            return task_ids
        except (asyncio.CancelledError, _host.Interrupted) as stop:
            if self.prompt.cancels(stop):
                await asyncio.gather(*map(self._cancel_submitted, self.open - set(self.canceled)))
            raise

    async def _cancel_submitted(self, task_id: str) -> None:
        try:
            await self.client.cancel_task(task_id)
        except XaloraError as error:
            self.canceled[task_id] = error
        else:
            self.canceled[task_id] = None

    async def _each(self, step: Callable[[int, WorkflowTask], Awaitable[T]]) -> list[T]:
        """Run the step for every task. The first failure is raised after all have ended."""
        answers = await asyncio.gather(*(self._one(step, n) for n in range(self.count)), return_exceptions=True)
        kept = [answer for answer in answers if not isinstance(answer, BaseException)]
        for number, answer in enumerate(answers):
            if isinstance(answer, XaloraError) and self.count > 1:
                advice = _error_messages.advice(answer)
                if kept and self.reuse:
                    others = f"the other {len(kept)} are kept: queue again to send only what failed."
                    advice = f"{advice.rstrip('.')}; {others}"
                raise answer.derived(
                    what=f"Image {number + 1} of {self.count}: {answer.what}", advice=advice
                ) from answer
            if isinstance(answer, BaseException):
                raise answer
        return kept

    async def _one(self, step: Callable[[int, WorkflowTask], Awaitable[T]], number: int) -> T:
        task = self.task_of(number)

        def note(progress: UploadProgress) -> None:
            self.uploads[number] = progress

        async with self.window:
            await self.client.upload_images(task, note, reuse=self.reuse)
            async with self.turns:
                answer = await step(number, task)
        self.done += 1
        self.tick()
        self.progress.bar(self.done, self.count)
        return answer

    def _show_bar(self) -> None:
        """Fill the bar: the images that are done, and the parts of those at work. Estimates do not count."""
        at_work = [each.progress for each in self.updates.values() if each.progress and not each.progress.estimated]
        if at_work:
            self.progress.bar(self.done + sum(each.share for each in at_work), self.count)

    def _say(self) -> str:
        lost = any(not update.connected for update in self.updates.values())
        more = " · connection lost, trying again" if lost else ""
        if self.done + len(self.updates) < self.turns_at_once and self.uploads:
            sent = sum(each.sent for each in self.uploads.values())
            return f"uploading {len(self.uploads)} / {self.count} · {sent / 1e6:.1f} MB{more}"
        return f"upscaling {self.done} / {self.count}{more}"

    def _done_all(self, words: str) -> str:
        """The last line when all images are there."""
        origins = list(self.origin_of.values())
        if self.count == 1:
            return self.done_line(origins[0], words)
        reused, earlier = origins.count("finished"), origins.count("attach")
        if reused == self.count:
            return f"done · {reused} of {self.count} reused, no charge"
        parts = [f"{reused} of {self.count} reused"] if reused else []
        parts += [f"{earlier} of {self.count} taken up from an earlier run"] if earlier else []
        return " · ".join(["done", self.took(), f"{self.count} images of {words}", *parts])


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
