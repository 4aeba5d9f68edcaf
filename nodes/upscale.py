"""Xalora Upscale."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

from ..xalora_client import InvalidParameterError, MediaError, UpscalerTask, XaloraError
from . import _host
from ._inputs import CATEGORY, common_options
from ._remote import Remote, perform

if TYPE_CHECKING:
    from ..xalora_client import TaskUpdate


class XaloraUpscale:
    """Larger versions of images, made on remote GPUs, several at once."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Enlarges images on Xalora's GPU miners: one task per image of the batch, several at once."
    SEARCH_ALIASES = ["upscale", "enlarge", "super resolution", "remote gpu", "cloud upscale", "xalora"]
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "task_ids")
    OUTPUT_IS_LIST = (False, True)
    OUTPUT_TOOLTIPS = (
        "The enlarged images, in the order of the input.",
        "The tasks' ids in the order of the images, for Xalora Task Status and Xalora Cancel Task.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        options = common_options()
        return {
            "required": {"image": ("IMAGE", {"tooltip": "The images to enlarge. Alpha, if there is any, is kept."})},
            "optional": {
                "max_parallel": (
                    "INT",
                    {"default": 8, "min": 1, "max": 64, "tooltip": "How many images are worked on at once."},
                ),
                **options,
            },
        }

    async def upscale(
        self,
        image: Any,
        max_parallel: int = 8,
        timeout_seconds: int = 600,
        wait: bool = True,
        reuse: bool = True,
    ) -> Any:
        """Take images [B, H, W, 3 or 4] (0..1); return them enlarged, and a list of B task ids."""
        if image.shape[0] == 0:
            raise InvalidParameterError("image", tuple(image.shape), "a batch of one image or more")

        async def work(remote: Remote) -> Any:
            batch = _Batch(remote, image, max_parallel, timeout_seconds, reuse)
            if not wait:
                return _host.blocked(), await batch.submit_all()
            results = await batch.each(batch.finish)
            _check_sizes([file for file, _ in results])
            from ._tensors import load_batch

            files = [file.path for file, _ in results]
            images = await asyncio.to_thread(
                load_batch, files, alpha=image.shape[3] == 4, progress=remote.show_decoding
            )
            shown = _host.preview(files, moving=False)
            return {"ui": shown, "result": (images, [task_id for _, task_id in results])}

        return await perform(work)


class _Batch:
    """The images of one run, each a task of its own."""

    def __init__(self, remote: Remote, images: Any, parallel: int, timeout_seconds: int, reuse: bool) -> None:
        self.remote = remote
        self.images = images
        self.turns = asyncio.Semaphore(parallel)
        self.timeout_seconds = timeout_seconds
        self.reuse = reuse
        self.done = 0
        self.count = len(images)
        self.statuses: dict[int, TaskUpdate] = {}

    async def each(self, step: Any) -> list[Any]:
        """Run the step for every image. One that fails is named, after the others have ended."""
        self.remote.say = self._say
        answers = await asyncio.gather(*(self._one(step, n) for n in range(self.count)), return_exceptions=True)
        for number, answer in enumerate(answers):
            if isinstance(answer, XaloraError) and self.count > 1:
                kept = sum(not isinstance(each, BaseException) for each in answers)
                answer.what = f"Image {number + 1} of {self.count}: {answer.what}"
                if kept and self.reuse:
                    answer.advice = f"{answer.advice} The other {kept} are kept: queue again to send only what failed."
            if isinstance(answer, BaseException):
                raise answer
        return answers

    async def submit_all(self) -> list[str]:
        """Create every image's task; returns their ids. Those that exist when Cancel is pressed are cancelled too."""
        submitted: list[str] = []

        async def submit(number: int) -> str:
            task_id = await self.remote.client.execute_workflow(await self._task(number), reuse=self.reuse)
            submitted.append(task_id)
            return task_id

        try:
            return await self.each(submit)
        except asyncio.CancelledError as stop:
            if self.remote.prompt.cancels(stop):
                cancels = [self.remote.client.cancel_task(task_id) for task_id in submitted]
                await asyncio.gather(*cancels, return_exceptions=True)
            raise

    async def finish(self, number: int) -> Any:
        """Have the image enlarged; returns the file and the task's id."""
        task = await self._task(number)

        def note(update: TaskUpdate) -> None:
            self.statuses[number] = update

        result = await self.remote.finish(task, reuse=self.reuse, on_update=note)
        return await self.remote.download(result, on_progress=lambda _: None), result.task_id

    async def _one(self, step: Any, number: int) -> Any:
        async with self.turns:
            answer = await step(number)
        self.done += 1
        self.remote.tick()
        self.remote.progress.bar(self.done, self.count)
        return answer

    async def _task(self, number: int) -> UpscalerTask:
        from ._tensors import encode_png

        png = await asyncio.to_thread(encode_png, self.images[number])
        address = await asyncio.to_thread(image_address, png)
        return UpscalerTask(address, timeout_seconds=self.timeout_seconds)

    def _say(self) -> str:
        if self.count == 1 and self.statuses:
            return self.statuses[0].describe()
        return f"upscaling {self.done} / {self.count}"


def image_address(png: bytes) -> str:
    """Where a miner gets the image: for now the bytes themselves as a ``data:`` URI.

    This is the seam for delivery through buckets: miners are only known to fetch ``http(s)`` URLs.
    """
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _check_sizes(files: list[Any]) -> None:
    """Images of one batch have one size; where the miners disagree, nothing is scaled or cropped to fit."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for number, file in enumerate(files, 1):
        sizes.setdefault((file.info.width, file.info.height), []).append(number)
    if len(sizes) > 1:
        told = "; ".join(
            f"{width}x{height}: image {', '.join(map(str, numbers))}" for (width, height), numbers in sizes.items()
        )
        raise MediaError(
            f"The enlarged images have different sizes ({told})",
            advice="Enlarge them one by one, or with a batch of images of one kind. The results are kept.",
        )
