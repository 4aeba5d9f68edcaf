"""Progress reports of a call that waits: the state of its task, as values and as text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import NetworkError, XaloraError
from ..protocol.answers import TaskProgress, TaskStatus, WorkflowTaskResult
from ..protocol.parameters import number_text
from ..status_parts import StatusPart
from .polling import ENOUGH_TO_LEARN


@dataclass(frozen=True)
class TaskUpdate:
    """The state of a task that a call waits for.

    Attributes:
        task_id: The task's id. Empty while its create is tried again.
        status: A TaskStatus, or the server's own word. "submitting" while the create is tried again.
        elapsed: Seconds since the wait began.
        next_poll: Seconds from now to the next query.
        result: The server's last answer. None before the first.
        last_error: What went wrong with the last request. None when it was answered.
        connected: False when the last request got no answer at all.
        origin: Where the task comes from: "new", "resend" (sent again under its job id after a break), "attach"
            (created by an earlier call with the same inputs), "finished" (the same, and its result was known already;
            it is not charged again) or "given" (the call waits for it by its id).
        progress: How far the running task is, as the server reports it. Where it does not, an estimate from how long
            such tasks took before. None when nothing is known. Of a finished task it is complete.
    """

    task_id: str
    status: str
    elapsed: float
    next_poll: float
    result: WorkflowTaskResult | None = None
    last_error: str | None = None
    connected: bool = True
    origin: str = "new"
    progress: TaskProgress | None = None

    def describe(self, elapsed: float | None = None) -> str:
        """Describe the update in a few words.

        Args:
            elapsed: Seconds since the wait began, to show instead of the update's own: for a text that keeps counting
                between two updates.

        Returns:
            For example "running 0:48", "running 0:48 · KSampler 12 / 30" or "running 0:48, about 0:30 left".
        """
        return StatusPart.line(self.parts(elapsed))

    def parts(self, elapsed: float | None = None) -> list[StatusPart]:
        """What ``describe`` says, for other languages: as codes and values.

        Args:
            elapsed: As for ``describe``.

        Returns:
            The parts, in their order.
        """
        now = self.elapsed if elapsed is None else elapsed
        since = now - self.elapsed
        code = _CODES.get(self.status, "state")
        progress = None if self.status == TaskStatus.FINISHED or self.last_error is not None else self.progress
        left = round(progress.maximum - progress.value - since) if progress is not None and progress.estimated else 0
        if left > 0 and code == "running":
            return [StatusPart("running_left", time=minutes(now), left=minutes(left))]
        state = StatusPart(code, time=minutes(now), state=str(self.status))
        return [state, *self._more(progress, since)]

    def _more(self, progress: TaskProgress | None, since: float) -> Iterator[StatusPart]:
        """The rest of the line, ``since`` seconds after the update."""
        if self.last_error is not None:
            # Before any answer, no connection was lost: the server may be off, or its address wrong.
            is_lost = not self.connected and (self.result or (self.task_id and self.origin == "new"))
            left = math.ceil(self.next_poll - since)
            code = ("lost" if is_lost else "retry") + ("_in" if left > 0 else "")
            yield StatusPart(code, error=self.last_error, seconds=left)
        elif progress is not None:
            if not progress.estimated:
                title = f"{progress.title} " if progress.title else ""
                words = f"{title}{number_text(progress.value)} / {number_text(progress.maximum)}"
                yield StatusPart("verbatim", words=words)
        elif self.result is not None and self.result.why_waiting:
            yield from _why(self.result.why_waiting)
        elif self.origin in _ORIGINS:
            yield StatusPart(_ORIGINS[self.origin])


def _why(words: str) -> Iterator[StatusPart]:
    """Why a task waits. What our own sequencer says of each task has a code."""
    for code in ("miner_lost", "no_miner"):
        if words.startswith(StatusPart.WORDS[code]):
            yield StatusPart(code)
            words = words.removeprefix(StatusPart.WORDS[code]).removeprefix("; ")
    if words:
        yield StatusPart("verbatim", words=words)


_CODES = {"submitting": "submitting", "waiting": "queued", "running": "running", "finished": "finished"}
_ORIGINS = {"attach": "continued", "finished": "reused_free", "resend": "resent"}

OnUpdate = Callable[[TaskUpdate], object]


def error_fields(error: XaloraError | None) -> dict[str, Any]:
    """The fields of a TaskUpdate that report an error."""
    return {"last_error": error.what if error else None, "connected": not isinstance(error, NetworkError)}


def minutes(seconds: float) -> str:
    """A time as minutes and seconds, such as "0:48"."""
    whole, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{whole}:{rest:02d}"


def estimate(durations: Sequence[float], elapsed: float) -> TaskProgress | None:
    """Estimate how far a task is, ``elapsed`` seconds after its create, from how long such tasks took before.

    Of those that took longer than ``elapsed``, half were done by ``maximum`` seconds. None with fewer than three
    durations, and for a task that takes longer than all of them.
    """
    longer = [duration for duration in durations if duration > elapsed]
    if len(durations) < ENOUGH_TO_LEARN or not longer:
        return None
    return TaskProgress(max(0.0, elapsed), statistics.median(longer), estimated=True)
