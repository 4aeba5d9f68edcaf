"""A node's remote work: submit, wait, download, decode, with progress in the node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..xalora_client import BadRequestError, ConflictError, TaskStatus, WorkflowTask, WorkflowTaskResult
from . import _host

if TYPE_CHECKING:
    from ..xalora_client import DownloadProgress, MediaFile, TaskUpdate

T = TypeVar("T")

LOCAL_GRACE_SECONDS = 30.0
"""How much longer the node waits than the sequencer gives the task, so that the sequencer's own timeout comes first."""


@dataclass(frozen=True)
class Media:
    """What a task made, as node outputs. An output without a value (yet) is blocked.

    ``frames`` is an IMAGE ``[F, H, W, 3]``, float32 of 0..1; ``video`` a VIDEO, blocked for a still; ``fps`` frames
    per second. ``ui`` shows the media in the node.
    """

    task_id: str
    frames: Any
    video: Any
    fps: Any
    ui: dict[str, Any]

    @classmethod
    def nothing(cls, task_id: str) -> Media:
        """The outputs of a task that has no media yet."""
        return cls(task_id, _host.blocked(), _host.blocked(), _host.blocked(), {})

    def answer(self, *outputs: Any) -> dict[str, Any]:
        """What the node returns to ComfyUI."""
        return {"ui": self.ui, "result": outputs}


class Remote:
    """The remote work of one node, with its own client and progress, stopped by ComfyUI's Cancel.

    The class methods do all of a node's work. They raise XaloraError, and ComfyUI's InterruptProcessingException
    when Cancel was pressed, after the remote tasks were canceled.
    """

    @classmethod
    async def make(cls, task: WorkflowTask, *, wait: bool, reuse: bool) -> Media:
        """Create the task, and with ``wait`` return its media. ``reuse`` takes up an existing task or result."""
        remote = cls()
        return await remote.perform(remote._make(task, wait, reuse))

    @classmethod
    async def collect(cls, task_id: str, *, wait: bool, timeout_seconds: float) -> tuple[WorkflowTaskResult, Media]:
        """Query a task that was created before, and get its media if it is finished.

        With ``wait``, a task that fails or is canceled is an error; without, it is a status.
        """
        remote = cls()
        return await remote.perform(remote._collect(task_id, wait, timeout_seconds))

    @classmethod
    async def cancel(cls, task_id: str) -> str:
        """Cancel a task; returns the server's message. Canceling one that has ended is no error."""
        remote = cls()
        return await remote.perform(remote._cancel(task_id))

    def __init__(self, images_at_once: int = 8) -> None:
        from ..xalora_client import AsyncClient  # Imports HTTP libraries, which would slow down ComfyUI's start.

        self.prompt = _host.Prompt.current()
        self.client = AsyncClient(
            fallback_home=_host.home(),
            ledger=True,
            source="node",
            cancels=self.prompt.cancels,
            images_at_once=images_at_once,
        )
        self.progress = _host.Progress()
        self.files: list[MediaFile] = []
        self.say: Callable[[], str] = str
        self.ending = "done"

    async def perform(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work, then release everything it used."""
        async with self.client:
            try:
                outcome = await self.prompt.run(work, self.tick)
            finally:
                for file in self.files:
                    self.client.release(file)
            self.progress.text(self.ending, last=True)
            return outcome

    async def _make(self, task: WorkflowTask, wait: bool, reuse: bool) -> Media:
        if wait:
            return await self._media(await self.finish(task, reuse=reuse))
        self.say = lambda: "submitting"
        self.ending = "submitted"
        self.tick()
        return Media.nothing(await self.client.execute_workflow(task, reuse=reuse))

    async def _collect(self, task_id: str, wait: bool, timeout_seconds: float) -> tuple[WorkflowTaskResult, Media]:
        if wait:
            result = await self.client.wait_for_result(task_id, timeout=timeout_seconds, on_update=self.show_task)
        else:
            result = await self.client.query_task_result(task_id)
        self.ending = " · ".join(filter(None, [str(result.status), result.message]))
        finished = result.status == TaskStatus.FINISHED
        return result, await self._media(result) if finished else Media.nothing(task_id)

    async def _cancel(self, task_id: str) -> str:
        try:
            message = await self.client.cancel_task(task_id)
        except (BadRequestError, ConflictError) as error:
            # A server may refuse to cancel what has ended; for the user that is no error.
            if not (await self.client.query_task_result(task_id)).is_final:
                raise
            message = error.message
        self.ending = message
        return message

    async def finish(
        self, task: WorkflowTask, *, reuse: bool, on_update: Callable[[TaskUpdate], object] | None = None
    ) -> WorkflowTaskResult:
        """Create the task and wait for it."""
        timeout = (task.timeout_seconds or 0) + LOCAL_GRACE_SECONDS
        return await self.client.execute_workflow_and_wait_for_result(
            task, timeout=timeout, on_update=on_update or self.show_task, reuse=reuse
        )

    async def download(
        self, result: WorkflowTaskResult, on_progress: Callable[[DownloadProgress], object] | None = None
    ) -> MediaFile:
        """Download the task's media as a file, which stays while the node works."""
        file = await self.client.download(result, on_progress=on_progress or self.show_download)
        self.files.append(file)
        return file

    async def _media(self, result: WorkflowTaskResult) -> Media:
        from ._tensors import load_audio, load_frames  # Import torch and decoders, late for the same reason.

        file = await self.download(result)
        self.say = lambda: "decoding"
        self.tick()
        frames, _, fps = await asyncio.to_thread(load_frames, file.info, progress=self.show_decoding)
        if file.info.kind == "image":
            video = _host.blocked()
        elif file.info.remuxable:
            # In a thread, because the file is copied if ComfyUI's temporary folder is on another disk.
            video = await asyncio.to_thread(_host.video_of, file.path)
        else:
            video = _host.video_from(frames, fps, await asyncio.to_thread(load_audio, file.info))
        moving = file.info.kind != "image"
        preview = await asyncio.to_thread(_host.preview, [file.path], moving=moving)
        return Media(result.task_id, frames, video, fps, preview)

    def tick(self) -> None:
        """Update the text."""
        if text := self.say():
            self.progress.text(text)

    def show_decoding(self, done: int, expected: int) -> None:
        """Show how much is decoded, from the decoding thread. Raises Interrupted once Cancel was pressed."""
        self.prompt.check()
        self.say = lambda: f"decoding {done} / {expected}"

    def show_task(self, update: TaskUpdate) -> None:
        """Show the task's status and the time, which keeps counting between queries."""
        began = time.monotonic() - update.elapsed
        if update.origin == "finished":
            self.ending = "done · reused, no charge"
        self.say = lambda: update.describe(time.monotonic() - began)
        self.tick()

    def show_download(self, progress: DownloadProgress) -> None:
        """Show how much has arrived."""
        done = f"{progress.received / 1e6:.1f}"
        self.say = lambda: (
            f"downloading {done} / {progress.total / 1e6:.1f} MB" if progress.total else f"downloading {done} MB"
        )
        self.tick()
        if progress.total:
            self.progress.bar(progress.received, progress.total)
