"""The preview miner: takes tasks from the dispatcher and renders them in this process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ...protocol.tasks import UpscalerTask
from ..clock import Clock
from ..dispatcher import Dispatcher
from ..fetching import ImageError
from ..kinds import build_task
from ..miners import Miner
from ..options import Options
from ..results import Results
from ..store import Store
from ..work import Lease, Work, Workflow
from .rendering import render

logger = logging.getLogger(__name__)
_CLOSING_SECONDS = 3.0
_FOREVER = 3600.0


class _Everything:
    def runs(self, workflow: Workflow) -> bool:
        return True

    def accepts(self, work: Work) -> bool:
        return True

    def names(self) -> list[str]:
        return ["previews"]


class PreviewMiner:
    """Runs at most ``workers`` tasks at once. Each runs for at least ``render_seconds`` seconds.

    Results are rendered in threads, so the loop stays free for answers.
    """

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        results: Results,
        inputs: Path,
        rendering: Path,
        clock: Clock,
        options: Options,
    ) -> None:
        shutil.rmtree(rendering, ignore_errors=True)  # what a killed process left behind
        rendering.mkdir(parents=True, exist_ok=True)
        self._store = store
        self._dispatcher = dispatcher
        self._results = results
        self._inputs = inputs
        self._rendering = rendering
        self._clock = clock
        self._options = options
        self._miner = Miner("sandbox", _Everything())
        self._workers: list[asyncio.Task[None]] = []
        self._threads: set[concurrent.futures.Future[str]] = set()

    def start(self) -> None:
        """Begin to take tasks."""
        loop = asyncio.get_running_loop()
        self._workers = [loop.create_task(self._work()) for _ in range(self._options.workers)]

    async def close(self) -> None:
        """Stop rendering. Unfinished tasks stay in the store for the next start."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        # The threads notice before their next frame. A thread that is busy for longer ends with the process.
        ends = [asyncio.wrap_future(thread) for thread in list(self._threads)]
        await asyncio.wait([asyncio.gather(*ends, return_exceptions=True)], timeout=_CLOSING_SECONDS)

    async def _work(self) -> None:
        while not self._dispatcher.stopped:
            taken = await self._dispatcher.take(self._miner, _FOREVER)
            if taken is not None:
                await self._carry_out(*taken)

    async def _carry_out(self, work: Work, lease: Lease) -> None:
        """Run a task until it ends, or until its lease does."""
        running = asyncio.ensure_future(self._run(work))
        over = asyncio.ensure_future(lease.watchers.wait(self._clock, _FOREVER))
        try:
            while not running.done() and lease.over is None:
                if over.done():
                    over = asyncio.ensure_future(lease.watchers.wait(self._clock, _FOREVER))
                await asyncio.wait({running, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (running, over):
                each.cancel()
            await asyncio.gather(running, over, return_exceptions=True)

    async def _run(self, work: Work) -> None:
        try:
            await self._render(work)
        except ImageError as error:
            self._dispatcher.give_up(work.task_id, "failed", "error", str(error))
        except Exception as error:
            # Whatever the error, the task must not stay "running" forever.
            logger.exception("Task %s could not be rendered", work.task_id)
            msg = f"could not be rendered: {type(error).__name__}"
            self._dispatcher.give_up(work.task_id, "failed", "error", msg)

    async def _render(self, work: Work) -> None:
        begun = time.monotonic()
        task = build_task(work.workflow.task_type, self._store.details(work.task_id))
        image = await self._image(work) if isinstance(task, UpscalerTask) else b""
        unfinished = self._rendering / work.task_id
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
            media = work.task_id + suffix
            unfinished.replace(self._results.folder / media)
            self._results.add(media, self._clock.time())
            # No await since the sleep: a task that was stopped never gets here.
            self._dispatcher.finish(work, media, media, (rendered - begun, time.monotonic() - rendered))
        finally:
            unfinished.unlink(missing_ok=True)

    async def _image(self, work: Work) -> bytes:
        file = self._store.inputs(work.task_id)["image"]["file"]
        return await asyncio.to_thread((self._inputs / file).read_bytes)

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
