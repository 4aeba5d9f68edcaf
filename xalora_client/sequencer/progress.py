"""How far a running task is, as its miner says."""

from __future__ import annotations

from typing import Any

from .clock import Clock
from .work import Work

_SHORTEST_SECONDS = 0.5
"""Between two changes of a task that are only progress."""


def set_progress(work: Work, progress: dict[str, Any], preview: str | None, clock: Clock) -> None:
    """Say how far a task is. Those who watch it learn of it at most twice a second, but always of the last."""
    work.progress = progress
    if preview is not None:
        work.preview, work.preview_revision = preview, None
    work.unshown = True
    if work.pending is None:
        _show(work, clock)


def shown_progress(work: Work, after: int) -> dict[str, Any] | None:
    """What an answer says, with the preview if it is newer than the revision ``after``."""
    if work.progress is None:
        return None
    newer = work.preview_revision is None or work.preview_revision > after
    return work.progress | ({"preview": work.preview} if work.preview is not None and newer else {})


def forget_progress(work: Work) -> None:
    """Another attempt begins, or the task has ended."""
    work.progress, work.preview, work.preview_revision, work.unshown = None, None, None, False
    if work.pending is not None:
        work.pending.cancel()
        work.pending = None


def _show(work: Work, clock: Clock) -> None:
    work.pending = None
    if work.unshown:
        work.unshown = False
        work.change(clock.time())
        if work.preview is not None and work.preview_revision is None:
            work.preview_revision = work.revision
        work.pending = clock.call_later(_SHORTEST_SECONDS, _show, work, clock)
