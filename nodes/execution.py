"""A node's remote work: create the task, wait, download, decode, with progress in the node."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .. import xalora_client
from ..xalora_client import WorkflowTask, WorkflowTaskResult
from ..xalora_client.config import home_folder
from . import comfy
from .comfy import outputs
from .comfy.progress import Progress
from .comfy.prompt import Interrupted, Prompt, caller, is_wanted, prompt_id
from .status_lines import Line, NodeTasks, Part, several, state_line, submitted_line, verbatim

logger = logging.getLogger("xalora_client")

T = TypeVar("T")

LOCAL_GRACE_SECONDS = 30.0
"""How much longer the node waits than the sequencer gives the task, so that the sequencer's own timeout comes first."""


@dataclass(frozen=True)
class Media:
    """What a task made, as node outputs. An output without a value (yet) is blocked.

    ``frames`` is an IMAGE ``[F, H, W, 3]``, float32 of 0..1; of several pictures, those with the size of the first.
    ``video`` is a VIDEO, blocked for a still; ``fps`` frames per second. ``ui`` shows the media in the node.
    """

    task_id: str
    frames: Any
    video: Any
    fps: Any
    ui: dict[str, Any]

    @classmethod
    def nothing(cls, task_id: str) -> Media:
        """The outputs of a task that has no media yet."""
        return cls(task_id, outputs.blocked(), outputs.blocked(), outputs.blocked(), {})

    def answer(self, *values: Any) -> dict[str, Any]:
        """What the node returns to ComfyUI."""
        return {"ui": self.ui, "result": values}


class DecodesOnDemand:
    """A node that decodes its media only where another is connected to its first output, the frames."""

    @classmethod
    def IS_CHANGED(cls, reuse: bool = True, **_: Any) -> bool:
        """Run again once frames are needed that were not decoded. With ``reuse``, that is not paid for again."""
        return not reuse or is_wanted(0)


async def run_task(task: WorkflowTask, *, wait: bool, reuse: bool) -> Media:
    """Create the task, and with ``wait`` return its media. With ``reuse``, continue an existing task or use its result.

    Like the other functions here, raises XaloraError, and ComfyUI's InterruptProcessingException when Cancel was
    pressed, after the remote tasks were canceled.
    """

    async def create(run: NodeRun) -> tuple[Media, Line]:
        if wait:
            from ..xalora_client.media.decoding.formats import asked_size

            run.warn_of_size(*asked_size(task.task_details))
        run.show([Part("preparing")])
        if not wait:
            task_id = await run.client.execute_workflow(task, run.show_task, reuse=reuse)
            return Media.nothing(task_id), submitted_line([run.tasks.origins[task_id]])
        result = await create_and_wait(run, task, run.show_task)
        media, described = await _media(run, result, task.task_details, decoded=not reuse or is_wanted(0))
        origin = run.tasks.origins.get(result.task_id, "")
        if origin == "finished":
            media.ui["xalora_reused"] = (True,)  # The editor's extension then offers a new seed.
        return media, run.tasks.done_line(origin, described, result.inference_latency)

    return await execute(create, reuse=reuse)


async def collect(
    task_id: str, *, wait: bool, timeout_seconds: float, decoded: bool
) -> tuple[WorkflowTaskResult, Media]:
    """Query a task that was created before, and get its media if it is finished, with the frames if ``decoded``.

    With ``wait``, a task that fails or is canceled is an error; without, it is a status.
    """

    async def query(run: NodeRun) -> tuple[tuple[WorkflowTaskResult, Media], Line]:
        if wait:
            result = await run.client.wait_for_result(task_id, timeout=timeout_seconds, on_update=run.show_task)
        else:
            result = await run.client.query_task_result(task_id)
        if result.status != xalora_client.TaskStatus.FINISHED:
            return (result, Media.nothing(task_id)), state_line(result)
        media, described = await _media(run, result, result.task_details, decoded=decoded)
        return (result, media), [Part("done"), *described]

    return await execute(query, stopped="status_stopped", task_id=task_id)


async def cancel(task_id: str) -> str:
    """Cancel a task; returns the server's message. Canceling one that has ended is no error."""

    async def send(run: NodeRun) -> tuple[str, Line]:
        message = await cancel_or_ended(run.client, task_id)
        return message, [verbatim(message)]

    return await execute(send, stopped="cancel_stopped", task_id=task_id)


async def cancel_or_ended(client: xalora_client.AsyncClient, task_id: str) -> str:
    """Cancel a task; returns the server's message. A server may refuse to cancel a task that has ended: no error."""
    _canceled_at[task_id] = time.monotonic()
    try:
        return await client.cancel_task(task_id)
    except (xalora_client.BadRequestError, xalora_client.ConflictError) as error:
        if not (await client.query_task_result(task_id)).is_final:
            raise
        return error.message


_canceled_at: dict[str, float] = {}
"""When this ComfyUI canceled a task by its id, from the editor's tab or by a node, in monotonic seconds."""


class NodeRun:
    """One run of a node: its client, what became of its tasks, and what the node shows.

    ``server`` has the key and the address where it asks another server than that in force.
    """

    def __init__(self, *, reuse: bool, images_at_once: int, server: tuple[str | None, str | None]) -> None:
        self.prompt = Prompt.current()
        self.tasks = NodeTasks(reuse, prompt_id())
        self.progress = Progress()
        self.line: Callable[[], Line] = list
        self.warning: Line = []
        self.decoded: tuple[int, int] | None = None
        options = xalora_client.AdvancedOptions(
            fallback_home=comfy.home(),
            source="node",
            caller=caller(),
            should_cancel=self.prompt.should_cancel,
            on_cancel=self.tasks.canceled.__setitem__,
            images_at_once=images_at_once,
        )
        self.client = xalora_client.AsyncClient(*server, ledger=True, advanced=options)

    def tick(self) -> None:
        """Update the line, and while the result is decoded the bar. May raise Interrupted, as ComfyUI's bar does."""
        if line := self.line():
            self.progress.text([*line, *self.warning])
        if self.decoded is not None:
            self.fill_bar(*self.decoded)

    def warn_of_size(self, frames: int, width: int, height: int) -> None:
        """Before the create, say that the result's frames may not fit into memory, if they are to be decoded."""
        from ..xalora_client.media.decoding.limits import require_memory

        try:
            require_memory(frames, width, height, 3, "The result")
        except xalora_client.MediaTooLargeError as error:
            if is_wanted(0):
                self.warning = [Part("memory")]
                logger.warning("%s", error)

    def show(self, line: Line) -> None:
        """Show this line from now on."""
        self.line = lambda: line
        self.tick()

    def show_task(self, update: xalora_client.TaskUpdate) -> None:
        """Show the task's status and the time, which keeps counting between queries."""
        began = time.monotonic() - update.elapsed
        noted = self.tasks.note(update, self.prompt.submitted)
        is_end = update.result is not None and update.result.is_final
        if not is_end or update.origin == "finished":  # Else what follows says how it ended.
            self.line = lambda: noted.parts(time.monotonic() - began)
        self.tick()
        progress = noted.progress
        if progress is not None and not progress.estimated:
            self.fill_bar(progress.value, progress.maximum, progress.preview)

    def show_download(self, progress: xalora_client.DownloadProgress) -> None:
        """Show how much has arrived."""
        total = f" / {progress.total / 1e6:.1f}" if progress.total else ""
        self.show([Part("downloading", size=f"{progress.received / 1e6:.1f}{total}")])
        self.fill_bar(*((progress.received, progress.total) if progress.total else (0, 1)))

    def fill_bar(self, done: float, total: float, preview: bytes | None = None) -> None:
        """Fill the node's bar. Where ComfyUI's bar says that Cancel was pressed, all of our nodes stop at once."""
        try:
            self.progress.bar(done, total, preview)
        except Interrupted:
            self.prompt.interrupt()
            raise

    def begin_decoding(self) -> None:
        """From now on the line and the bar are those of the decoding."""
        self.show([Part("decoding")])
        self.fill_bar(0, 1)

    def show_decoding(self, done: int, expected: int) -> None:
        """Show how much is decoded, from the decoding thread. Raises Interrupted once Cancel was pressed."""
        self.prompt.raise_if_interrupted()
        self.line = lambda: [Part("decoding_frames", done=done, total=expected)]
        self.decoded = done, expected


async def execute(
    node: Callable[[NodeRun], Coroutine[Any, Any, tuple[T, Line]]],
    *,
    reuse: bool = True,
    stopped: str = "",
    images_at_once: int = 8,
    task_id: str | None = None,
) -> T:
    """Run what a node does, which returns its result and the node's last line. ComfyUI's Cancel stops it.

    ``stopped`` is the code of the last line of a node that creates no task, if it is stopped and no task was canceled
    with it; ``task_id`` is the task that such a node asks about.
    """
    server = await asyncio.to_thread(_server_of, task_id) if task_id else (None, None)
    run = NodeRun(reuse=reuse, images_at_once=images_at_once, server=server)
    async with run.client:
        try:
            result, line = await run.prompt.run(node(run), run.tick)
        except (asyncio.CancelledError, Interrupted) as stop:
            if stopped and not run.tasks.canceled:
                line = [Part(stopped)]
            elif run.prompt.should_cancel(stop):
                line = run.tasks.canceled_line()
            else:
                line = run.tasks.stopped_with_run_line()
            run.progress.text(line, last=True)
            raise
        except xalora_client.TaskCanceledError as error:
            if _canceled_at.get(error.task_id or "", 0.0) < run.tasks.began:
                raise
            run.progress.text([Part("state_canceled")], last=True)
            raise Interrupted from None  # As ComfyUI's own Cancel: what the user did is no error.
        finally:
            run.tasks.ended()
        run.progress.text(line, last=True)
        return result


def _server_of(task_id: str) -> tuple[str | None, str | None]:
    with xalora_client.TaskRecords(home_folder(fallback_home=comfy.home())) as records:
        return records.client_arguments(task_id, comfy.home())


async def create_and_wait(
    run: NodeRun, task: WorkflowTask, on_update: Callable[[xalora_client.TaskUpdate], object]
) -> WorkflowTaskResult:
    """Create the task and wait for it."""
    timeout = (task.timeout_seconds or 0) + LOCAL_GRACE_SECONDS
    try:
        result = await run.client.execute_workflow_and_wait_for_result(
            task, timeout=timeout, on_update=on_update, reuse=run.tasks.reuse
        )
    except (xalora_client.TaskFailedError, xalora_client.TaskCanceledError) as error:
        # There is no result to get, so no last line speaks of it.
        run.tasks.open.discard(error.task_id or "")
        run.tasks.origins.pop(error.task_id or "", None)
        raise
    run.tasks.open.discard(result.task_id)
    return result


async def _media(
    run: NodeRun, result: WorkflowTaskResult, task_details: object, *, decoded: bool
) -> tuple[Media, Line]:
    """Download and decode; returns the outputs, and a line of what they are and where that was not asked for.

    Without ``decoded``, the frames are blocked, and decoded only for a VIDEO that has to be made of them.
    """
    # Not at the top: it imports torch, which would slow down ComfyUI's start.
    from .tensors import STILL_FPS, load_audio, load_batch, load_frames

    files = await run.client.download_all(result, on_progress=run.show_download)
    (file, *more), elsewhere = of_one_size(files)
    moving = file.info.kind != "image"
    frames, video, fps = outputs.blocked(), outputs.blocked(), file.info.fps or STILL_FPS
    count = None
    if decoded or (moving and not file.info.remuxable):
        run.begin_decoding()
        if more:
            pictures = [one.info for one in (file, *more)]
            frames = await asyncio.to_thread(load_batch, pictures, alpha=False, progress=run.show_decoding)
        else:
            frames, _, fps = await asyncio.to_thread(load_frames, file.info, progress=run.show_decoding)
            count = len(frames)
    if moving and file.info.remuxable:
        # In a thread, because the file is copied if ComfyUI's temporary folder is on another disk.
        video = await asyncio.to_thread(outputs.video_from_file, file.path)
    elif moving:
        video = outputs.video_from_frames(frames, fps, await asyncio.to_thread(load_audio, file.info))
    shown = [file] if moving else files
    preview = await asyncio.to_thread(outputs.preview, [one.path for one in shown], moving=moving)
    described: Line = file.info.parts(task_details, frames=count)
    described = several(1 + len(more), described) if more else described
    left_behind = [verbatim(result.left_behind)] if result.left_behind else []
    return Media(result.task_id, frames, video, fps, preview), [*described, *elsewhere, *left_behind]


def of_one_size(files: Sequence[xalora_client.MediaFile]) -> tuple[list[xalora_client.MediaFile], Line]:
    """A task's first file and those that make one IMAGE with it, and a line that says where the others are."""

    def shape(file: xalora_client.MediaFile) -> tuple[str, int, int]:
        return file.info.kind, file.info.width, file.info.height

    first = files[0]
    fitting = [file for file in files if shape(file) == shape(first)] if first.info.kind == "image" else [first]
    others = [str(file.path) for file in files if file not in fitting]
    return fitting, [Part("elsewhere", count=len(others), files=", ".join(others))] if others else []
