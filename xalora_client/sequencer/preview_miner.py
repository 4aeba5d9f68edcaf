"""The preview miner: takes tasks from the queue and renders them in this process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import itertools
import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ..protocol.miner import is_name
from ..protocol.parameters import encode_data_uri
from ..protocol.tasks import UpscalerTask, WorkflowTask
from ..storage import files
from ..workflows import WorkflowKey, WorkflowList
from .clock import first_ended
from .options import Options
from .pictures import ImageError
from .queue import TaskQueue
from .rendering import KnownTask, build_task, check_task_type, known_workflows, render
from .values import Attempt, LeaseId, LeaseLost, Result

logger = logging.getLogger(__name__)
_NAME = "sandbox"
_CLOSING_SECONDS = 3.0
_FOREVER = 3600.0
_SECONDS_BETWEEN_PREVIEWS = 0.5
_PREVIEW_SIDE = 256
"""Pixels of a live preview's longer side. A miner's are small as well."""

FAIL = "[fail]"
"""A task with this in its prompt fails."""


class Stopped(Exception):  # noqa: N818 - not an error: the result is no longer needed
    """Raised between two steps to leave a rendering that was stopped."""


class FailedOnRequest(Exception):  # noqa: N818 - not an error of the sandbox, which was asked to
    """Raised in the middle of a rendering that is to fail. The text becomes the task's ``msg``."""


async def read_known_task(body: Mapping[str, Any]) -> tuple[WorkflowTask, tuple[str, ...]]:
    """The task of a create, which must have a class of its own, and which of its parameters are images."""
    options = {name: body.get(name) for name in ("workflow_id", "timeout_seconds")}
    task = build_task(body.get("task_type"), body.get("task_details"), **options)
    return task, ("image",) if isinstance(task, UpscalerTask) else ()


async def any_workflow(body: Mapping[str, Any]) -> WorkflowKey | None:
    """None, because the one miner runs every workflow. Raises InvalidParameterError for an unknown task type."""
    if body.get("task_type") is not None:
        check_task_type(body["task_type"])
    return None


async def preview_workflows(task_type: str | None, workflow_id: str | None) -> WorkflowList:
    """The tasks that have a class of their own, under each workflow id: the one miner does not look at it."""
    found = known_workflows(workflow_id if is_name(workflow_id) else None)
    return WorkflowList(tuple(workflow for workflow in found if task_type in (None, workflow.task_type)))


class PreviewMiner:
    """Runs at most ``workers`` tasks at once. The steps of each are spread over at least ``render_seconds`` seconds.

    Results are rendered in threads, so the loop stays free for answers. A task's progress is what is rendered of it.

    Args:
        queue: The tasks.
        inputs: The folder of inputs.
        results: The folder of results.
        rendering: The folder of files that are not complete.
        options: How it works.
    """

    def __init__(self, queue: TaskQueue, inputs: Path, results: Path, rendering: Path, options: Options) -> None:
        shutil.rmtree(rendering, ignore_errors=True)  # what a killed process left behind
        rendering.mkdir(parents=True, exist_ok=True)
        self._queue = queue
        self._inputs = inputs
        self._results = results
        self._rendering = rendering
        self._options = options
        self._numbers = itertools.count()
        self._workers: list[asyncio.Task[None]] = []
        self._threads: set[concurrent.futures.Future[str]] = set()

    async def start(self) -> None:
        """Begin to take tasks."""
        await self._queue.register_local(_NAME)
        self._workers = [asyncio.create_task(self._run_tasks()) for _ in range(self._options.workers)]

    async def close(self) -> None:
        """Stop rendering. Unfinished tasks stay in the queue for the next start."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        # The threads notice before their next frame. A thread that is busy for longer ends with the process.
        ends = [asyncio.wrap_future(thread) for thread in list(self._threads)]
        await asyncio.wait([asyncio.gather(*ends, return_exceptions=True)], timeout=_CLOSING_SECONDS)

    async def _run_tasks(self) -> None:
        while not self._queue.stopped:
            attempt = await self._queue.claim_next(_NAME, _NAME, seconds=_FOREVER)
            if attempt is not None:
                await first_ended(self._run(attempt), self._wait_for_end(attempt.lease))

    async def _wait_for_end(self, lease: LeaseId) -> None:
        with suppress(LeaseLost):
            while not self._queue.stopped:
                await self._queue.renew(lease, seconds=_FOREVER)
            await asyncio.Event().wait()  # The task keeps running until the server has closed.

    async def _run(self, attempt: Attempt) -> None:
        try:
            await self._render(attempt)
        except LeaseLost:
            pass
        except (ImageError, FailedOnRequest) as error:
            await self._queue.end(attempt.lease, str(error))
        except Exception as error:
            # Whatever the error, the task must not stay "running" forever.
            logger.exception("Task %s could not be rendered", attempt.lease.task_id)
            await self._queue.end(attempt.lease, f"could not be rendered: {type(error).__name__}")

    async def _render(self, attempt: Attempt) -> None:
        begun = time.monotonic()
        task = build_task(attempt.workflow.task_type, {"parameters": attempt.parameters})
        inputs = {name: self._inputs / file.file for name, file in attempt.inputs.items()}
        unfinished = self._rendering / attempt.lease.task_id
        why_to_fail = self._why_to_fail(task)
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        preview, next_preview = None, begun

        def show(picture: Image.Image) -> None:
            nonlocal preview, next_preview
            if time.monotonic() >= next_preview:
                preview, next_preview = _live_preview(picture), time.monotonic() + _SECONDS_BETWEEN_PREVIEWS

        def step(done: int, of: int) -> None:
            nonlocal preview
            if stop.is_set():
                raise Stopped
            progress = {"value": done, "maximum": of, "title": "Preview"}
            asyncio.run_coroutine_threadsafe(self._queue.renew(attempt.lease, (progress, preview)), loop)
            preview = None
            if why_to_fail is not None and 2 * done >= of:
                raise FailedOnRequest(why_to_fail)
            if stop.wait(max(0.0, begun + self._options.render_seconds * done / of - time.monotonic())):
                raise Stopped

        try:
            suffix = await self._in_thread(
                lambda: render(task, inputs, unfinished, video_format=self._options.video_format, step=step, show=show)
            )
        finally:
            stop.set()
        try:
            rendered = time.monotonic()
            media = attempt.lease.task_id + suffix
            size = unfinished.stat().st_size
            files.replace(unfinished, self._results / media)
            # Nothing waits since the rendering: a task that was stopped never gets here.
            await self._queue.attach_result(attempt.lease, media, size)
            seconds = rendered - begun, time.monotonic() - rendered
            await self._queue.finish(attempt.lease, Result(media, *seconds, media=media))
        finally:
            unfinished.unlink(missing_ok=True)

    def _why_to_fail(self, task: KnownTask) -> str | None:
        number, share = next(self._numbers), self._options.fail
        if FAIL in getattr(task, "prompt", ""):
            return f"the sandbox was asked to fail it, by {FAIL} in its prompt"
        if math.floor(share * (number + 1)) > math.floor(share * number):
            return f"the sandbox was asked to fail some of its tasks, by --fail {share:g}"
        return None

    async def _in_thread(self, function: Callable[[], str]) -> str:
        """Call a function in a daemon thread, because the interpreter waits for an executor's threads at exit."""
        future: concurrent.futures.Future[str] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised again where the future is awaited
                future.set_exception(error)

        self._threads.add(future)
        future.add_done_callback(self._threads.discard)
        threading.Thread(target=run, name="xalora-sandbox-render", daemon=True).start()
        return await asyncio.wrap_future(future)


def _live_preview(picture: Image.Image) -> str:
    """The picture as a miner reports it while it works: a small JPEG in a data URI."""
    target = io.BytesIO()
    ImageOps.contain(picture, (_PREVIEW_SIDE, _PREVIEW_SIDE)).convert("RGB").save(target, "JPEG")
    return encode_data_uri(target.getvalue(), "image/jpeg")
