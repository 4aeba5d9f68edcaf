"""How long tasks take, as far as it was watched."""

from __future__ import annotations

from ..protocol.answers import TaskStatus
from .entry import Entry

WATCHED = 75.0
"""The longest time in seconds between two queries of a run that waits: it polls at least once a minute. After a longer
gap, the moment of the task's end is unknown, and nothing is learned from it."""


def ran(entry: Entry, seen: float | None, now: float) -> float | None:
    """How long a finished task took: it ended between the last query that found it open and this one."""
    if entry.state != TaskStatus.FINISHED or entry.submitted is None or seen is None:
        return None
    return max(0.0, (seen + now) / 2 - entry.submitted) if 0 <= now - seen <= WATCHED else None
