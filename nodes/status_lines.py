"""What became of a node's tasks, and the last line in the node, which says so.

A line is a list of parts, so that the editor can show it in its language.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from .. import xalora_client
from ..xalora_client import StatusPart

Line = Sequence[StatusPart]
"""A line in a node: its parts."""


class Part(StatusPart):
    """A part of a line that only nodes have. WORDS are those of all parts: ``locales/`` has them in other languages."""

    WORDS = StatusPart.WORDS | {
        "preparing": "preparing",
        "uploading": "uploading {count} / {total}",
        "megabytes": "{size} MB",
        "upscaling": "upscaling {done} / {total}",
        "downloading": "downloading {size} MB",
        "decoding": "decoding",
        "decoding_frames": "decoding {done} / {total}",
        "memory": "the result may not fit into memory",
        "done": "done",
        "submitted": "submitted",
        "images": "{count} images of {size}",
        "reused_of": "{count} of {total} reused",
        "reused_free_of": "{count} of {total} reused, no charge",
        "continued_of": "{count} of {total} continued from an earlier run",
        "continued_free": "continued from an earlier run, no charge",
        "continued_free_of": "{count} of {total} continued from an earlier run, no charge",
        "elsewhere": "{count} of another size or kind: {files}",
        "state_waiting": "waiting",
        "state_running": "running",
        "state_failed": "failed",
        "state_canceled": "canceled",
        "task": "task {task_id}",
        "tasks": "{count} tasks",
        "not_canceled": "it was not canceled",
        "may_run": "stopped, but {tasks} may still be running: {why}",
        "status_stopped": "stopped, the task was not canceled",
        "cancel_stopped": "stopped, it is not known whether the task was canceled",
        "error": "{words}",
        "bug": "stopped by an error, see the message",
        "run_stopped_early": "stopped with the run: the Xalora tab shows whether a task was submitted",
        "run_stopped": "stopped with the run, {tasks}: {advice}",
        "task_is_running": "the task is still running",
        "task_is_finished": "the task is finished",
        "tasks_are_running": "the tasks are still running",
        "tasks_are_finished": "the tasks are finished",
        "run_again": "run again to get the result",
        "collect": "collect the result in the Xalora tab",
    }


def verbatim(words: str) -> StatusPart:
    """A part that is the same in every language: a number, a time, a server's or miner's own words."""
    return StatusPart("verbatim", words=words)


@dataclass
class NodeTasks:
    """The tasks of one run of a node.

    Attributes:
        reuse: Whether earlier tasks may be continued, and their results used again.
        prompt_id: The prompt that the node runs in; "" where that is not known.
        origins: Where each task comes from, as in TaskUpdate.
        open: The tasks that exist and are not known to have ended.
        canceled: The tasks that an interruption canceled, each with the error of its cancel, or None.
        began: When the run began, in monotonic seconds.
    """

    reuse: bool
    prompt_id: str = ""
    origins: dict[str, str] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    canceled: dict[str, xalora_client.XaloraError | None] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    waited_for: ClassVar[dict[str, xalora_client.TaskUpdate]] = {}
    """The open tasks of the runs that are under way now, each with the last that is known of it."""

    def note(self, update: xalora_client.TaskUpdate, submitted_here: set[str]) -> xalora_client.TaskUpdate:
        """Remember where a task comes from. One that this prompt itself submitted is not from an earlier run.

        Raises TaskTimeoutError when no miner can begin the task before this prompt has ended.
        """
        if not update.task_id:
            return update
        if update.origin in ("new", "resend"):
            submitted_here.add(update.task_id)
        elif update.origin == "attach" and update.task_id in submitted_here:
            update = replace(update, origin="new")
        self.origins[update.task_id] = update.origin
        is_open = update.result is None or not update.result.is_final
        if is_open:
            self.open.add(update.task_id)
            self.waited_for[update.task_id] = update
        else:
            self.open.discard(update.task_id)
            self.waited_for.pop(update.task_id, None)
        if update.result is not None and update.result.extra.get("blocked_by") == [self.prompt_id]:
            raise xalora_client.TaskTimeoutError(code="blocked_by_prompt", task_id=update.task_id, result=update.result)
        return update

    def ended(self) -> None:
        """The run has ended: it waits for no task any more."""
        for task_id in self.origins:
            self.waited_for.pop(task_id, None)

    def time(self, took: float | None = None) -> StatusPart:
        """How long the node has run, or what ``took`` so many seconds, as minutes and seconds."""
        seconds = int(time.monotonic() - self.began if took is None else took)
        return verbatim(f"{seconds // 60}:{seconds % 60:02d}")

    def done_line(self, origin: str, media: Line, took: float | None) -> Line:
        """The line when a task has finished with this media. ``took`` are its own seconds, where they are known."""
        if origin == "finished":
            return [Part("done"), Part("reused_free"), *media]
        if origin == "attach":  # How long this run waited for it says nothing.
            return [Part("continued"), Part("done"), *([self.time(took)] if took is not None else []), *media]
        return [Part("done"), self.time(took), *media]

    def batch_done_line(self, origins: Sequence[str], media: Line, took: float | None) -> Line:
        """The line when all images of a batch are there. ``origins`` has one for each image, ``took`` is for one."""
        count = len(origins)
        if count == 1:
            return self.done_line(origins[0], media, took)
        if origins.count("finished") == count:
            return [Part("done"), *_earlier(origins, "reused_free", "continued")]
        earlier = _earlier(origins, "reused", "continued")
        return [Part("done"), self.time(), *several(count, media), *earlier]

    def canceled_line(self) -> Line:
        """The line when the user stopped the run before its tasks ended."""
        unconfirmed: dict[str, object] = {
            task_id: error.what for task_id, error in self.canceled.items() if error is not None
        }
        unconfirmed |= dict.fromkeys(self.open - set(self.canceled), Part("not_canceled"))
        if not unconfirmed:
            return [Part("state_canceled")]
        task_id, why = next(iter(unconfirmed.items()))
        count = len(unconfirmed)
        return [Part("may_run", tasks=Part("task" if count == 1 else "tasks", task_id=task_id, count=count), why=why)]

    def stopped_with_run_line(self) -> Line:
        """The line when another node's failure ended the run. With reuse off, another run would pay again."""
        if not self.origins:
            return [Part("run_stopped_early")]
        tasks = "task_is" if len(self.open or self.origins) == 1 else "tasks_are"
        state = "running" if self.open else "finished"
        return [
            Part("run_stopped", tasks=Part(f"{tasks}_{state}"), advice=Part("run_again" if self.reuse else "collect"))
        ]


def several(count: int, media: Line) -> Line:
    """The media of one of several images, as that of all."""
    return [Part("images", count=count, size=media[0]), *media[1:]]


def state_line(result: xalora_client.WorkflowTaskResult) -> Line:
    """The line of a task that was asked about, and has no result."""
    code = f"state_{result.status}"
    state = Part(code) if code in Part.WORDS else verbatim(str(result.status))
    return [state, *([verbatim(result.message)] if result.message else [])]


def submitted_line(origins: Sequence[str]) -> Line:
    """The line of a run that does not wait. ``origins`` has one for each task."""
    is_any_new = bool(set(origins) - {"finished", "attach"})
    return [Part("submitted")] * is_any_new + [*_earlier(origins, "reused_free", "continued_free")]


def _earlier(origins: Sequence[str], reused: str, continued: str) -> Iterator[StatusPart]:
    """How many of the tasks were there before, in the words of these codes."""
    for origin, code in (("finished", reused), ("attach", continued)):
        if count := origins.count(origin):
            yield Part(code) if len(origins) == 1 else Part(f"{code}_of", count=count, total=len(origins))
