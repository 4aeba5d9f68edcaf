"""Changes that come by themselves: when a lease runs out, and when a task's time is over."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from .clock import Clock, Timer
from .work import Lease, Work

logger = logging.getLogger(__name__)
_RETRY_SECONDS = 5.0


class Timers:
    """``lost`` is called with a task whose lease ran out."""

    def __init__(self, clock: Clock, lost: Callable[[Work], None]) -> None:
        self._clock = clock
        self._lost = lost

    def at(self, moment: float, change: Callable[[], object]) -> Timer:
        """Make a change at a Unix time, or at once if that has passed."""
        return self._clock.call_later(max(0.0, moment - self._clock.time()), self._carefully, change)

    def extend(self, work: Work, lease: Lease, seconds: float) -> None:
        """Let a lease last for so many seconds from now."""
        lease.until = self._clock.time() + seconds
        if lease.timer is None:
            lease.timer = self.at(lease.until, lambda: self._look_at(work, lease))

    def _look_at(self, work: Work, lease: Lease) -> None:
        """Not each heartbeat moves the timer: it looks how long the lease lasts by now."""
        lease.timer = None
        if work.lease is not lease or work.status != "running" or lease.until is None:
            return
        if lease.until > self._clock.time():
            lease.timer = self.at(lease.until, lambda: self._look_at(work, lease))
        else:
            self._lost(work)

    def _carefully(self, change: Callable[[], object]) -> None:
        """Nobody waits for the change, so it is made again in a while if the disk cannot be written."""
        try:
            change()
        except sqlite3.Error:
            logger.exception("The database cannot be written")
            self._clock.call_later(_RETRY_SECONDS, self._carefully, change)
