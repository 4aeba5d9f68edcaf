"""A node's remote work: submit, wait, download, decode, with progress in the node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..xalora_client import (
    BadRequestError,
    ConflictError,
    TaskCanceledError,
    TaskFailedError,
    TaskStatus,
    WorkflowTask,
    WorkflowTaskResult,
)
from . import _host
from ._host_place import place
from ._host_progress import Progress

if TYPE_CHECKING:
    from ..xalora_client import DownloadProgress, MediaFile, TaskUpdate, XaloraError

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
        remote = cls(reuse=reuse)
        return await remote.perform(remote._make(task, wait))

    @classmethod
    async def collect(cls, task_id: str, *, wait: bool, timeout_seconds: float) -> tuple[WorkflowTaskResult, Media]:
        """Query a task that was created before, and get its media if it is finished.

        With ``wait``, a task that fails or is canceled is an error; without, it is a status.
        """
        remote = cls()
        return await remote.perform(
            remote._collect(task_id, wait, timeout_seconds), stopped="stopped, the task was not canceled"
        )

    @classmethod
    async def cancel(cls, task_id: str) -> str:
        """Cancel a task; returns the server's message. Canceling one that has ended is no error."""
        remote = cls()
        return await remote.perform(
            remote._cancel(task_id), stopped="stopped, it is not known whether the task was canceled"
        )

    def __init__(self, images_at_once: int = 8, *, reuse: bool = True) -> None:
        from ..xalora_client import AsyncClient  # Imports HTTP libraries, which would slow down ComfyUI's start.

        self.prompt = _host.Prompt.current()
        self.reuse = reuse
        self.open: set[str] = set()  # Tasks that exist and are not known to have ended.
        self.canceled: dict[str, XaloraError | None] = {}
        self.client = AsyncClient(
            fallback_home=_host.home(),
            ledger=True,
            source="node",
            place=place(),
            cancels=self.prompt.cancels,
            on_cancel=self.canceled.__setitem__,
            images_at_once=images_at_once,
        )
        self.progress = Progress()
        self.say: Callable[[], str] = str
        self.began = time.monotonic()
        self.origins: dict[str, str] = {}
        self.ending = "done"

    async def perform(self, work: Coroutine[Any, Any, T], stopped: str = "") -> T:
        """Do the work, and close the client.

        ``stopped`` is the last line of work that makes no task, if it is stopped and no task was canceled with it.
        """
        async with self.client:
            try:
                outcome = await self.prompt.run(work, self.tick)
            except (asyncio.CancelledError, _host.Interrupted) as stop:
                line = stopped if stopped and not self.canceled else self._stopped(stop)
                self.progress.text(line, last=True)
                raise
            self.progress.text(self.ending, last=True)
            return outcome

    async def _make(self, task: WorkflowTask, wait: bool) -> Media:
        self.say = lambda: "submitting"
        self.tick()
        if wait:
            result = await self.finish(task)
            media, words = await self._media(result, task.task_details)
            origin = self.origins.get(result.task_id, "")
            self.ending = self.done_line(origin, words)
            if origin == "finished":
                media.ui["xalora_reused"] = (True,)  # The editor's extension then offers a new seed.
            return media
        task_id = await self.client.execute_workflow(task, self.show_task, reuse=self.reuse)
        self.ending = submitted_line([self.origins[task_id]])
        return Media.nothing(task_id)

    def done_line(self, origin: str, words: str) -> str:
        """The last line of a task that finished."""
        if origin == "finished":
            return f"done · reused, no charge · {words}"
        earlier = "taken up from an earlier run · " if origin == "attach" else ""
        return f"{earlier}done · {self.took()} · {words}"

    def took(self) -> str:
        """How long the node has worked, as minutes and seconds."""
        seconds = int(time.monotonic() - self.began)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def _stopped(self, stop: BaseException) -> str:
        """The last line of a run that ended before its tasks did."""
        if not self.prompt.cancels(stop):
            return self._stopped_with_the_run()
        doubtful = {task_id: error.what for task_id, error in self.canceled.items() if error is not None}
        doubtful |= dict.fromkeys(self.open - set(self.canceled), "it was not canceled")
        if not doubtful:
            return "canceled, nothing runs on"
        task_id, why = next(iter(doubtful.items()))
        which = f"task {task_id}" if len(doubtful) == 1 else f"{len(doubtful)} tasks"
        return f"stopped, but {which} may run on: {why}"

    def _stopped_with_the_run(self) -> str:
        """The last line when another node's failure ended the run. With reuse off, another run would pay again."""
        if not self.origins:
            return "stopped with the run: the Xalora tab shows whether a task was submitted"
        many = len(self.open or self.origins) > 1
        state = ("go on" if many else "goes on") if self.open else ("are finished" if many else "is finished")
        task, them = ("the tasks", "them") if many else ("the task", "it")
        then = f"run again to take {them} up" if self.reuse else f"collect {them} in the Xalora tab"
        return f"stopped with the run, {task} {state}: {then}"

    async def _collect(self, task_id: str, wait: bool, timeout_seconds: float) -> tuple[WorkflowTaskResult, Media]:
        if wait:
            result = await self.client.wait_for_result(task_id, timeout=timeout_seconds, on_update=self.show_task)
        else:
            result = await self.client.query_task_result(task_id)
        if result.status != TaskStatus.FINISHED:
            self.ending = " · ".join(filter(None, [str(result.status), result.message]))
            return result, Media.nothing(task_id)
        media, words = await self._media(result, result.task_details)
        self.ending = f"done · {words}"
        return result, media

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
        self, task: WorkflowTask, on_update: Callable[[TaskUpdate], object] | None = None
    ) -> WorkflowTaskResult:
        """Create the task and wait for it."""
        timeout = (task.timeout_seconds or 0) + LOCAL_GRACE_SECONDS
        try:
            result = await self.client.execute_workflow_and_wait_for_result(
                task, timeout=timeout, on_update=on_update or self.show_task, reuse=self.reuse
            )
        except (TaskFailedError, TaskCanceledError) as error:
            self.open.discard(error.task_id or "")
            self.origins.pop(error.task_id or "", None)
            raise
        self.open.discard(result.task_id)
        return result

    async def download(
        self, result: WorkflowTaskResult, on_progress: Callable[[DownloadProgress], object] | None = None
    ) -> MediaFile:
        """Download the task's media as a file."""
        return await self.client.download(result, on_progress=on_progress or self.show_download)

    async def _media(self, result: WorkflowTaskResult, task_details: object) -> tuple[Media, str]:
        """Download and decode; returns the outputs, and in words what they are and where that was not asked for."""
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
        words = file.info.describe(task_details, frames=len(frames))
        return Media(result.task_id, frames, video, fps, preview), words

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
        shown = self.note(update)
        self.say = lambda: shown.describe(time.monotonic() - began)
        self.tick()
        progress = shown.progress
        if progress is not None and not progress.estimated:
            self.progress.bar(progress.value, progress.maximum, progress.preview)

    def note(self, update: TaskUpdate) -> TaskUpdate:
        """Remember where a task comes from. A task that this prompt itself submitted is not from an earlier run."""
        if update.origin in ("new", "resend") and update.task_id:
            self.prompt.submitted.add(update.task_id)
        elif update.origin == "attach" and update.task_id in self.prompt.submitted:
            update = replace(update, origin="new")
        if update.task_id:
            self.origins[update.task_id] = update.origin
            is_open = update.result is None or not update.result.is_final
            (self.open.add if is_open else self.open.discard)(update.task_id)
        return update

    def show_download(self, progress: DownloadProgress) -> None:
        """Show how much has arrived."""
        done = f"{progress.received / 1e6:.1f}"
        self.say = lambda: (
            f"downloading {done} / {progress.total / 1e6:.1f} MB" if progress.total else f"downloading {done} MB"
        )
        self.tick()
        if progress.total:
            self.progress.bar(progress.received, progress.total)


def submitted_line(origins: Sequence[str]) -> str:
    """The last line of a run that does not wait, by where each of its tasks comes from."""
    parts = []
    for origin, words in (("finished", "reused, no charge"), ("attach", "taken up from an earlier run, no charge")):
        if count := origins.count(origin):
            parts.append(words if len(origins) == 1 else f"{count} of {len(origins)} {words}")
    is_any_new = any(origin not in ("finished", "attach") for origin in origins)
    return " · ".join((["submitted"] if is_any_new else []) + parts)
