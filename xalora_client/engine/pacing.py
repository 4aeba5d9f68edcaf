"""One pace for all of a process's requests to a server: when one is told to slow down, the others need not ask."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import RateLimitError
from .effects import Flow, Sleep
from .timing import Deadline

LONGEST_PAUSE = 120.0
"""Seconds that one answer slows everybody down at most; a server that still has too much to do says so again."""

# By server and clock: moments on different clocks cannot be compared. The clock is kept, or its id could come again.
_pauses: dict[tuple[str, int], tuple[Callable[[], float], float]] = {}


def slow_down(server: str, clock: Callable[[], float], seconds: float) -> None:
    """Let nothing be sent to the server for so long."""
    until = clock() + min(seconds, LONGEST_PAUSE)
    _, before = _pauses.get((server, id(clock)), (clock, until))
    _pauses[server, id(clock)] = clock, max(before, until)


def paced(server: str, deadline: Deadline) -> Flow[None]:
    """Wait until the server may be asked again. Raises RateLimitError where that is after the deadline."""
    clock = deadline.clock
    while (known := _pauses.get((server, id(clock)))) is not None:
        pause = known[1] - clock()
        if pause <= 0:
            _pauses.pop((server, id(clock)), None)
        elif pause >= deadline.remaining():
            said = f"too many requests; it asked to wait for another {pause:.0f} s"
            raise RateLimitError(said, status_code=429, retry_after=pause)
        else:
            yield Sleep(pause)
