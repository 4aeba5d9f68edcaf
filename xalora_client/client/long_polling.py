"""Long polling: queries that the server answers as soon as the task changes.

Only a server that announces it is asked this way, in the create's answer or in a query's. What comes between may cut
such queries, so two failures in a row end it for the wait.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import NetworkError, RateLimitError, XaloraError
from ..protocol.answers import WorkflowTaskResult

MOST_OPEN = 128
"""The most long polls at one server at a time, in one process. Each one needs a connection of its own."""

LONGEST_WAIT = 50.0
"""The longest wait of one query in seconds, whatever the server offers: proxies often cut after a minute."""

SHORTEST_WAIT = 1.0
"""A wait that would be shorter, because the deadline is near, is not worth it."""

BURST = 5
"""Queries that may follow each other at once, each after a change."""

SPACING = 0.5
"""Seconds after which one more may, so that a server that answers at once is asked twice a second in the long run."""

MOST_FAILURES = 2
"""Long polls that fail in a row before the wait does without them."""

_open: Counter[str] = Counter()
_lock = threading.Lock()


class LongPolling:
    """The long polls of one wait for one task."""

    def __init__(self, server: str, clock: Callable[[], float], announced: tuple[int, float] | None) -> None:
        self._server = server
        self._clock = clock
        self._announced = announced
        self._failures = 0
        self._asked = clock()
        self._booked = clock()  # Each query books SPACING; ahead of the clock by BURST of them, the next one waits.
        self._waited = 0.0
        self._has_slot = False

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a place for a long poll, if there is one and the server offers it, during one pause and query."""
        if self._announced is not None and self._failures < MOST_FAILURES:
            with _lock:
                self._has_slot = _open[self._server] < MOST_OPEN
                _open[self._server] += self._has_slot
        try:
            yield
        finally:
            if self._has_slot:
                self._has_slot = False
                with _lock:
                    _open[self._server] -= 1

    def pause(self, remaining: float) -> float | None:
        """Seconds until the next query, which will be a long poll. None when it will not be one."""
        if not self._has_slot or remaining < SHORTEST_WAIT:
            return None
        return max(0.0, self._booked - (BURST - 1) * SPACING - self._clock())

    def fields(self, remaining: float) -> dict[str, float]:
        """What the query says about waiting. ``remaining`` is how many seconds it may wait at most. Maybe nothing."""
        self._asked, self._waited = self._clock(), 0.0
        self._booked = max(self._booked, self._asked) + SPACING
        if self._announced is None or not self._has_slot or remaining < SHORTEST_WAIT:
            return {}
        revision, offered = self._announced
        # Rounded down: the wait ends before the deadline.
        self._waited = int(10 * min(offered, LONGEST_WAIT, remaining)) / 10
        return {"wait_seconds": self._waited, "after": revision}

    def failed(self, error: XaloraError) -> None:
        """Count a query that failed, if waiting may be the reason. A long poll is not sent again as it was."""
        never_arrived = isinstance(error, NetworkError) and error.sent == "no"
        asked_to_wait = isinstance(error, RateLimitError) or error.retry_after is not None
        if self._waited and not never_arrived and not asked_to_wait:
            self._failures += 1
        self._waited = 0.0

    def answered(self, result: WorkflowTaskResult) -> None:
        """Learn from an answer: the revision to wait for next, and whether the server waits at all."""
        before = self._announced
        known = result.revision is not None and result.long_poll_seconds is not None
        self._announced = (result.revision or 0, result.long_poll_seconds or 0.0) if known else None
        if self._waited:
            # An answer that comes early without any news: something on the way does not wait.
            early = self._clock() - self._asked < self._waited / 2
            self._failures = self._failures + 1 if early and self._announced == before else 0
