"""When to try again, and when to stop. Pure: clocks and dice are handed in."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import APIStatusError, ConfigurationError, NetworkError, RateLimitError, ServerError, XaloraError

REQUEST_TIMEOUT = 60.0
"""Seconds one request may take; the reference client's figure."""

CALL_TIMEOUT = 60.0
"""Seconds a single call (create, query, cancel) may go on retrying."""

CANCEL_TIMEOUT = 5.0
"""Seconds for the one cancel sent when somebody interrupts."""

FIRST_BACKOFF, SLOWEST_BACKOFF = 0.5, 10.0
JITTER = 0.15
"""Delays are shortened by up to this share, so that clients that started together drift apart."""


@dataclass(frozen=True)
class Deadline:
    """A moment on a monotonic clock."""

    clock: Callable[[], float]
    at: float

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float]) -> Deadline:
        """The moment ``seconds`` from now. Raises ConfigurationError unless that is a positive number."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ConfigurationError(f"timeout is {seconds!r}", advice="Allowed: a number of seconds above 0.")
        return cls(clock, clock() + seconds)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock())


def backoff_delays(dice: random.Random) -> Iterator[float]:
    """Seconds to wait before each further try: from 0.5 s doubling to 10 s, less jitter."""
    return growing_delays(FIRST_BACKOFF, 2.0, SLOWEST_BACKOFF, dice)


def growing_delays(delay: float, factor: float, ceiling: float, dice: random.Random) -> Iterator[float]:
    """``delay`` seconds, then longer by ``factor`` each time up to ``ceiling``, each less jitter."""
    while True:
        yield delay * (1 - JITTER * dice.random())
        delay = min(ceiling, delay * factor)


def is_transient(error: XaloraError) -> bool:
    """Whether asking again may help: no answer, 408, 429, 5xx. Right for queries and cancels, which are free."""
    if isinstance(error, APIStatusError):
        return error.status_code == 408 or isinstance(error, RateLimitError | ServerError)
    return isinstance(error, NetworkError) and not error.lasting


def is_unprocessed(error: XaloraError) -> bool:
    """Whether the server certainly did nothing: no connection, 429, or 503 that says when to come back.

    Only then is a create sent again: anything less certain could be paid twice.
    """
    if isinstance(error, NetworkError):
        return error.never_sent and not error.lasting
    return isinstance(error, RateLimitError) or (
        isinstance(error, ServerError) and error.status_code == 503 and error.retry_after is not None
    )
