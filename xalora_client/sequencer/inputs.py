"""The images that tasks work on: fetched right after the create, kept until the task has ended."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from .clock import Clock
from .dispatcher import Dispatcher
from .fetching import ImageError, fetch_image, read_image
from .file_store import Incoming, Received, keep
from .http import is_full
from .images import Images
from .kinds import shortened
from .observer import Observer
from .own_addresses import result_in
from .results import Results
from .store import Store
from .work import Work

logger = logging.getLogger(__name__)
_AT_ONCE = 8
_RETRY_SECONDS = 5.0
_UNUSED_SECONDS = 600.0
"""A file that nothing refers to is removed after this time: its task may just be about to."""


class Inputs(Observer):
    """Brings the inputs of tasks, and then lets the tasks begin. ``local``: see ``fetch_image``."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        images: Images,
        results: Results,
        incoming: Incoming,
        clock: Clock,
        *,
        local: bool,
    ) -> None:
        self.folder = images.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._store = store
        self._dispatcher = dispatcher
        self._images = images
        self._results = results
        self._incoming = incoming
        self._clock = clock
        self._local = local
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._jobs: dict[str, asyncio.Task[None]] = {}

    def bring(self, work: Work) -> None:
        """Let the task begin as soon as its inputs are here; at once if it has none."""
        missing = [name for name, file in self._store.inputs(work.task_id).items() if file is None]
        if not missing:
            self._dispatcher.begin_waiting(work)
            return
        job = asyncio.get_running_loop().create_task(self._bring(work))
        self._jobs[work.task_id] = job
        job.add_done_callback(lambda _: self._jobs.pop(work.task_id, None))

    def task_ended(self, work: Work, outcome: str, now: float) -> None:
        """What is being fetched for it is of no use."""
        job = self._jobs.get(work.task_id)
        if job is not None and job is not asyncio.current_task():
            job.cancel()

    def holds(self, address: str, owner: bytes) -> bool:
        """Whether this is the address of an image that its owner uploaded here, or of a result of its tasks."""
        if self._result_at(address, owner) is not None:
            return True
        return self._images.use(address, owner, self._clock.time()) is not None

    async def close(self) -> None:
        """Stop fetching. It begins again at the next start."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def prune(self) -> None:
        """Remove the files that neither an open task nor an uploaded image needs."""
        needed = self._images.files() | self._store.input_files()
        for path in self.folder.iterdir():
            if path.name not in needed and path.stat().st_mtime < time.time() - _UNUSED_SECONDS:
                path.unlink(missing_ok=True)

    async def _bring(self, work: Work) -> None:
        while True:
            try:
                await self._bring_now(work)
                return
            except (OSError, sqlite3.Error):
                # A full disk is no fault of the task: it waits until there is room.
                logger.exception("The inputs of task %s cannot be stored now", work.task_id)
            await self._clock.wait(asyncio.get_running_loop().create_future(), _RETRY_SECONDS)

    async def _bring_now(self, work: Work) -> None:
        """Raises OSError and sqlite3.Error when the disk is full."""
        try:
            async with self._slots:
                await self._bring_all(work)
        except ImageError as error:
            self._dispatcher.give_up(work.task_id, "failed", "error", str(error))
        except Exception as error:
            if isinstance(error, sqlite3.Error) or (isinstance(error, OSError) and is_full(error)):
                raise
            # Whatever the error, the task must not wait forever.
            logger.exception("The inputs of task %s cannot be had", work.task_id)
            msg = f"the sequencer could not store the image: {type(error).__name__}"
            self._dispatcher.give_up(work.task_id, "failed", "error", msg)
        else:
            self._dispatcher.begin_waiting(work)

    async def _bring_all(self, work: Work) -> None:
        inputs, details = self._store.inputs(work.task_id), self._store.details(work.task_id)
        for name, file in inputs.items():
            if file is None:
                inputs[name] = await self._file(work, details["parameters"][name])
        if self._dispatcher.find(work.task_id) is work:
            self._store.set_inputs(work.task_id, inputs, shortened(details))

    async def _file(self, work: Work, address: str) -> dict[str, Any]:
        owner = self._store.owner_of(work.task_id)
        image = self._images.use(address, owner, self._clock.time())
        if image is not None:
            return {"file": image.sha256, "content_type": image.content_type, "size": image.size}
        result = self._result_at(address, owner)
        content = fetch_image(address, local=self._local) if result is None else asyncio.to_thread(read_image, result)
        received = await self._incoming.write(await content)
        try:
            content_type = await asyncio.to_thread(picture_type, received)
        except BaseException:
            received.discard()
            raise
        await keep(received, self.folder / received.sha256)
        return {"file": received.sha256, "content_type": content_type, "size": received.size}

    def _result_at(self, address: str, owner: bytes) -> Path | None:
        """The file behind the address of a result of the owner's tasks; None for other addresses.

        Whatever its host is: a result's name cannot be guessed.
        """
        name = result_in(address)
        file = None if name is None else self._store.own_result(name, owner)
        path = None if file is None else self._results.folder / file
        return path if path is not None and path.is_file() else None


def picture_type(received: Received) -> str:
    """The media type of a picture's file, told from its content. Raises ImageError when it is no picture."""
    try:
        with Picture.open(received.path) as picture:
            return picture.get_format_mimetype() or "application/octet-stream"
    except (Picture.DecompressionBombError, Picture.DecompressionBombWarning):
        raise ImageError("the image is too large: it has too many pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image cannot be decoded: {type(error).__name__}") from error
