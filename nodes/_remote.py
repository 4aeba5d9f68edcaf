"""A node's work at the sequencer: submit, wait, download, decode, with progress in the node all the while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..xalora_client import WorkflowTask, WorkflowTaskResult
from . import _host
from ._interrupt import Prompt

if TYPE_CHECKING:
    from ..xalora_client import AsyncClient, DownloadProgress, MediaFile, TaskUpdate

T = TypeVar("T")

LOCAL_GRACE_SECONDS = 30.0
"""How much longer the node waits than the sequencer gives the task, so that the sequencer's verdict is heard."""


@dataclass(frozen=True)
class Frames:
    """Decoded media: ``images`` [F, H, W, 3], float32 of 0..1, ``fps``, and ``audio`` where a VIDEO needs it."""

    images: Any
    fps: float
    audio: Any


class Remote:
    """What a node's work uses. Made by ``perform``."""

    def __init__(self, client: AsyncClient, prompt: Prompt) -> None:
        self.client = client
        self.prompt = prompt
        self.progress = _host.Progress()
        self.files: list[MediaFile] = []
        self.say: Callable[[], str] = str
        self.ending = "done"

    def tick(self) -> None:
        """Bring the text up to date."""
        if text := self.say():
            self.progress.text(text)

    async def submit(self, task: WorkflowTask, *, reuse: bool) -> str:
        """Create the task; returns its id."""
        self.say = lambda: "submitting"
        self.ending = "submitted"
        self.tick()
        return await self.client.execute_workflow(task, reuse=reuse)

    async def finish(
        self, task: WorkflowTask, *, reuse: bool, on_update: Callable[[TaskUpdate], object] | None = None
    ) -> WorkflowTaskResult:
        """Create the task and wait for it."""
        timeout = (task.timeout_seconds or 0) + LOCAL_GRACE_SECONDS
        return await self.client.execute_workflow_and_wait_for_result(
            task, timeout=timeout, on_update=on_update or self.show_task, reuse=reuse
        )

    async def collect(self, task_id: str, timeout_seconds: float) -> WorkflowTaskResult:
        """Wait for a task that was created before."""
        return await self.client.wait_for_result(task_id, timeout=timeout_seconds, on_update=self.show_task)

    async def download(
        self, result: WorkflowTaskResult, on_progress: Callable[[DownloadProgress], object] | None = None
    ) -> MediaFile:
        """Have the task's media as a file, which stays while the node works."""
        file = await self.client.download(result, on_progress=on_progress or self.show_download)
        self.files.append(file)
        return file

    async def decode(self, file: MediaFile) -> Frames:
        """Have the file as tensors."""
        from ._tensors import load_audio, load_frames  # Bring torch and decoders, as late as the client below.

        self.say = lambda: "decoding"
        self.tick()
        images, _, fps = await asyncio.to_thread(load_frames, file.path, progress=self.show_decoding)
        audio = None if file.info.remuxable else await asyncio.to_thread(load_audio, file.path)
        return Frames(images, fps, audio)

    def show_decoding(self, done: int, expected: int) -> None:
        """Show how much is decoded, from the thread that does it; raises Interrupted once Cancel was pressed."""
        self.prompt.check()
        self.say = lambda: f"decoding {done} / {expected}"

    def show_task(self, update: TaskUpdate) -> None:
        """Show the task's status and the time, which goes on between looks."""
        began = time.monotonic() - update.elapsed
        if update.origin == "finished":
            self.ending = "done · reused, no charge"
        self.say = lambda: update.describe(time.monotonic() - began)
        self.tick()

    def show_download(self, progress: DownloadProgress) -> None:
        """Show how much is there."""
        done = f"{progress.received / 1e6:.1f}"
        self.say = lambda: (
            f"downloading {done} / {progress.total / 1e6:.1f} MB" if progress.total else (f"downloading {done} MB")
        )
        self.tick()
        if progress.total:
            self.progress.bar(progress.received, progress.total)


async def perform(work: Callable[[Remote], Awaitable[T]]) -> T:
    """Do a node's work: with a client of its own, progress in the node, and stopped by ComfyUI's Cancel.

    Raises what the work raises, and ComfyUI's InterruptProcessingException when Cancel was pressed, after the remote
    tasks were cancelled.
    """
    from ..xalora_client import AsyncClient  # Brings HTTP libraries, which would slow the start of ComfyUI down.

    prompt = Prompt.current()
    async with AsyncClient(fallback_home=_host.home(), ledger=True, source="node", cancels=prompt.cancels) as client:
        remote = Remote(client, prompt)

        async def working() -> T:
            return await work(remote)

        try:
            outcome = await prompt.run(working(), remote.tick)
        finally:
            for file in remote.files:
                client.release(file)
        remote.progress.text(remote.ending, last=True)
        return outcome


def video_output(file: MediaFile, frames: Frames) -> Any:
    """The VIDEO of a result: its file where ComfyUI can take it as it is, else its frames; blocked for a still."""
    if file.info.kind == "image":
        return _host.blocked()
    return (
        _host.video_of(file.path) if file.info.remuxable else _host.video_from(frames.images, frames.fps, frames.audio)
    )


def answer(file: MediaFile, *result: Any) -> dict[str, Any]:
    """A node's answer with the media shown in the node."""
    return {"ui": _host.preview([file.path], moving=file.info.kind != "image"), "result": result}
