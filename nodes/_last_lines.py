"""What became of a node's tasks, and the last line in the node that says so."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..xalora_client import TaskUpdate, XaloraError


@dataclass
class NodeTasks:
    """The tasks of one run of a node.

    Attributes:
        reuse: Whether earlier tasks may be taken up.
        origins: Where each task comes from, as in TaskUpdate.
        open: Those that exist and are not known to have ended.
        canceled: How each cancel ended that an interruption sent: None means that the sequencer took it.
        began: When the run began, in monotonic seconds.
    """

    reuse: bool = True
    origins: dict[str, str] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    canceled: dict[str, XaloraError | None] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def note(self, update: TaskUpdate, submitted_here: set[str]) -> TaskUpdate:
        """Remember where a task comes from. One that this prompt itself submitted is not from an earlier run."""
        if update.origin in ("new", "resend") and update.task_id:
            submitted_here.add(update.task_id)
        elif update.origin == "attach" and update.task_id in submitted_here:
            update = replace(update, origin="new")
        if update.task_id:
            self.origins[update.task_id] = update.origin
            is_open = update.result is None or not update.result.is_final
            (self.open.add if is_open else self.open.discard)(update.task_id)
        return update

    def ended(self, task_id: str, *, well: bool) -> None:
        """The task has ended."""
        self.open.discard(task_id)
        if not well:
            self.origins.pop(task_id, None)

    def took(self) -> str:
        """How long the node has worked, as minutes and seconds."""
        seconds = int(time.monotonic() - self.began)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def done_line(self, origin: str, media: str) -> str:
        """A task has finished with this media, in words."""
        if origin == "finished":
            return f"done · reused, no charge · {media}"
        earlier = "taken up from an earlier run · " if origin == "attach" else ""
        return f"{earlier}done · {self.took()} · {media}"

    def canceled_line(self) -> str:
        """The user stopped the run before its tasks ended."""
        unconfirmed = {task_id: error.what for task_id, error in self.canceled.items() if error is not None}
        unconfirmed |= dict.fromkeys(self.open - set(self.canceled), "it was not canceled")
        if not unconfirmed:
            return "canceled, nothing runs on"
        task_id, why = next(iter(unconfirmed.items()))
        which = f"task {task_id}" if len(unconfirmed) == 1 else f"{len(unconfirmed)} tasks"
        return f"stopped, but {which} may run on: {why}"

    def stopped_with_run_line(self) -> str:
        """Another node's failure ended the run. With reuse off, another run would pay again."""
        if not self.origins:
            return "stopped with the run: the Xalora tab shows whether a task was submitted"
        many = len(self.open or self.origins) > 1
        state = ("go on" if many else "goes on") if self.open else ("are finished" if many else "is finished")
        task, them = ("the tasks", "them") if many else ("the task", "it")
        then = f"run again to take {them} up" if self.reuse else f"collect {them} in the Xalora tab"
        return f"stopped with the run, {task} {state}: {then}"


def submitted_line(origins: Collection[str]) -> str:
    """A run that does not wait has submitted its tasks, or taken up earlier ones."""
    listed = list(origins)
    parts = []
    for origin, words in (("finished", "reused, no charge"), ("attach", "taken up from an earlier run, no charge")):
        if count := listed.count(origin):
            parts.append(words if len(listed) == 1 else f"{count} of {len(listed)} {words}")
    is_any_new = any(origin not in ("finished", "attach") for origin in listed)
    return " · ".join((["submitted"] if is_any_new else []) + parts)


def batch_done_line(tasks: NodeTasks, origins: Sequence[str], media: str) -> str:
    """All images of a batch are there."""
    count = len(origins)
    if count == 1:
        return tasks.done_line(origins[0], media)
    reused, earlier = origins.count("finished"), origins.count("attach")
    if reused == count:
        return f"done · {reused} of {count} reused, no charge"
    parts = [f"{reused} of {count} reused"] if reused else []
    parts += [f"{earlier} of {count} taken up from an earlier run"] if earlier else []
    return " · ".join(["done", tasks.took(), f"{count} images of {media}", *parts])
