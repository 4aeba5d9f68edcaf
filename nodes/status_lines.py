"""What became of a node's tasks, and the last line in the node, which says so."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from .. import xalora_client


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
        (self.open.add if is_open else self.open.discard)(update.task_id)
        if update.result is not None and update.result.extra.get("blocked_by") == [self.prompt_id]:
            raise xalora_client.TaskTimeoutError(code="blocked_by_prompt", task_id=update.task_id, result=update.result)
        return update

    def elapsed(self) -> str:
        """How long the node has run, as minutes and seconds."""
        seconds = int(time.monotonic() - self.began)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def done_line(self, origin: str, media: str) -> str:
        """The line when a task has finished with this media, in words."""
        if origin == "finished":
            return f"done · reused, no charge · {media}"
        earlier = "continued from an earlier run · " if origin == "attach" else ""
        return f"{earlier}done · {self.elapsed()} · {media}"

    def batch_done_line(self, origins: Sequence[str], media: str) -> str:
        """The line when all images of a batch are there. ``origins`` has one for each image."""
        count = len(origins)
        if count == 1:
            return self.done_line(origins[0], media)
        if origins.count("finished") == count:
            return f"done · {count} of {count} reused, no charge"
        earlier = _earlier(origins, "reused", "continued from an earlier run")
        return " · ".join(["done", self.elapsed(), f"{count} images of {media}", *earlier])

    def canceled_line(self) -> str:
        """The line when the user stopped the run before its tasks ended."""
        unconfirmed = {task_id: error.what for task_id, error in self.canceled.items() if error is not None}
        unconfirmed |= dict.fromkeys(self.open - set(self.canceled), "it was not canceled")
        if not unconfirmed:
            return "canceled"
        task_id, reason = next(iter(unconfirmed.items()))
        tasks = f"task {task_id}" if len(unconfirmed) == 1 else f"{len(unconfirmed)} tasks"
        return f"stopped, but {tasks} may still be running: {reason}"

    def stopped_with_run_line(self) -> str:
        """The line when another node's failure ended the run. With reuse off, another run would pay again."""
        if not self.origins:
            return "stopped with the run: the Xalora tab shows whether a task was submitted"
        tasks = "the task is" if len(self.open or self.origins) == 1 else "the tasks are"
        state = "still running" if self.open else "finished"
        advice = "run again to get the result" if self.reuse else "collect the result in the Xalora tab"
        return f"stopped with the run, {tasks} {state}: {advice}"


def submitted_line(origins: Sequence[str]) -> str:
    """The line of a run that does not wait. ``origins`` has one for each task."""
    earlier = list(_earlier(origins, "reused, no charge", "continued from an earlier run, no charge"))
    is_any_new = set(origins) - {"finished", "attach"}
    return " · ".join((["submitted"] if is_any_new else []) + earlier)


def _earlier(origins: Sequence[str], reused: str, continued: str) -> Iterator[str]:
    """How many of the tasks were there before, in these words."""
    for origin, words in (("finished", reused), ("attach", continued)):
        if count := origins.count(origin):
            yield words if len(origins) == 1 else f"{count} of {len(origins)} {words}"
