"""The pool that runs waiting tasks to their end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..protocol.tasks import UpscalerTask
from .kinds import build_task
from .options import Options
from .preview.enlarging import ImageError, fetch_image
from .preview.rendering import render
from .task_store import TaskStore

logger = logging.getLogger(__name__)
_CLOSING_SECONDS = 3.0


class Workers:
    """Runs at most ``workers`` tasks at once; the others wait in their order of arrival.

    Use it inside one event loop. Images are fetched on the loop and results rendered in threads, so the loop stays free
    for answers. A task runs for at least ``render_seconds`` seconds.
    """

    def __init__(self, store: TaskStore, data: Path, options: Options) -> None:
        self.media = data / "media"
        self._rendering = data / "rendering"
        shutil.rmtree(self._rendering, ignore_errors=True)  # what a killed process left behind
        for folder in (self.media, self._rendering):
            folder.mkdir(parents=True, exist_ok=True)
        self._store = store
        self._slots = asyncio.Semaphore(options.workers)
        self._options = options
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._threads: set[concurrent.futures.Future[str]] = set()

    def submit(self, task_id: str) -> None:
        """Queue a waiting task. Its ``timeout_seconds`` count from its creation, including the time in the queue."""
        loop = asyncio.get_running_loop()
        job = self._jobs[task_id] = loop.create_task(self._carry_out(task_id))
        job.add_done_callback(lambda _: self._jobs.pop(task_id))
        deadline = self._store.deadline(task_id)
        if deadline is not None:
            why = "timed out: it did not finish within its timeout_seconds"
            timer = loop.call_later(deadline - time.time(), self.stop, task_id, "failed", why)
            job.add_done_callback(lambda _: timer.cancel())

    def stop(self, task_id: str, status: str, msg: str) -> bool:
        """End an unfinished task as failed or canceled; its rendering stops soon. False if it had already ended."""
        stopped = self._store.give_up(task_id, status, msg)
        if stopped:
            self._jobs[task_id].cancel()
        return stopped

    async def close(self) -> None:
        """Stop rendering. Unfinished tasks stay in the store for the next start."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        # The threads notice before their next frame. A thread that is busy for longer ends with the process.
        ends = [asyncio.wrap_future(thread) for thread in self._threads]
        await asyncio.wait([asyncio.gather(*ends, return_exceptions=True)], timeout=_CLOSING_SECONDS)

    async def _carry_out(self, task_id: str) -> None:
        async with self._slots:
            try:
                await self._run(task_id)
            except ImageError as error:
                self._store.give_up(task_id, "failed", str(error))
            except Exception as error:
                # Whatever the error, the task must not stay "running" forever.
                logger.exception("Task %s could not be rendered", task_id)
                self._store.give_up(task_id, "failed", f"could not be rendered: {type(error).__name__}")

    async def _run(self, task_id: str) -> None:
        begun = time.monotonic()
        task = build_task(*self._store.start(task_id))
        image = await fetch_image(str(task.image_url)) if isinstance(task, UpscalerTask) else b""
        unfinished = self._rendering / task_id
        stop = threading.Event()
        try:
            suffix = await self._in_thread(
                lambda: render(task, image, unfinished, video_format=self._options.video_format, stopped=stop.is_set)
            )
        finally:
            stop.set()
        try:
            await asyncio.sleep(self._options.render_seconds - (time.monotonic() - begun))
            rendered = time.monotonic()
            media = task_id + suffix
            unfinished.replace(self.media / media)
            # No await since the sleep: a task that was stopped never gets here.
            self._store.mark_finished(
                task_id,
                media,
                inference_latency=rendered - begun,
                upload_latency=time.monotonic() - rendered,
            )
        finally:
            unfinished.unlink(missing_ok=True)

    async def _in_thread(self, work: Callable[[], str]) -> str:
        """Run ``work`` in a daemon thread, because the interpreter waits for an executor's threads at exit."""
        future: concurrent.futures.Future[str] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again where the future is awaited
                future.set_exception(error)

        self._threads.add(future)
        future.add_done_callback(self._threads.discard)
        threading.Thread(target=run, name="xalora-sandbox-render", daemon=True).start()
        return await asyncio.wrap_future(future)
