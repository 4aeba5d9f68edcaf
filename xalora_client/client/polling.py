"""When to query a task.

With pauses of fixed length, adaptive, or learned from how long such tasks took before. Or by long polling: the server
answers a query as soon as the task changes. Only a server that announces it is asked this way, in the create's answer
or in a query's. A proxy may cut such queries, so two failures in a row end it for the wait.
"""

from __future__ import annotations

import itertools
import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..errors import ConfigurationError, NetworkError, RateLimitError, XaloraError
from ..http.retry import JITTER, growing_delays
from ..protocol.answers import WorkflowTaskResult

FIRST_POLL, POLL_GROWTH, SLOWEST_POLL = 1.0, 1.3, 8.0
ENOUGH_TO_LEARN = 3
"""Finished tasks of a kind that are needed to learn from their durations."""

EAGERNESS = 2.05
"""Polls per second, over the square root of the hazard per second: a poll may cost 1 / (2 * 2.05**2) s of waiting."""

MOST_REQUESTS = 1.1
"""Polls that learned polling expects to make at most, as a multiple of those of adaptive polling."""

LONGEST_BLIND = 60.0
"""The longest pause of learned polling, in seconds."""

MOST_OPEN = 128
"""The most long polls at one server at a time, in one process. Each one needs a connection of its own."""

LONGEST_WAIT = 50.0
"""The longest wait of one query in seconds, whatever the server offers: proxies often cut after a minute."""

SHORTEST_WAIT = 1.0
"""Near the deadline, a shorter wait is not worth it."""

BURST = 5
"""Queries that may follow each other at once, each after a change."""

SPACING = 0.5
"""Seconds until one more query may follow. So a server that answers at once is asked twice a second in the long run."""

MOST_FAILURES = 2
"""After so many failed long polls in a row, the wait uses plain queries."""

_open: Counter[str] = Counter()
_lock = threading.Lock()


def poll_delays(interval: float | None, rng: random.Random) -> Iterator[float]:
    """Seconds to wait before each query: ``interval`` each time, or from 1 s growing by 1.3 to 8 s, less jitter.

    Raises ConfigurationError for an interval under 1 s, as the reference client does.
    """
    if interval is not None:
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not 1 <= interval < math.inf:
            raise ConfigurationError(f"interval is {interval!r}", advice="Allowed: 1 second or more, or None.")
        return itertools.repeat(float(interval))
    return growing_delays(FIRST_POLL, POLL_GROWTH, SLOWEST_POLL, rng)


def learned_delays(durations: Sequence[float], elapsed: Callable[[], float], rng: random.Random) -> Iterator[float]:
    """Seconds to wait before each query of a task whose kind took ``durations`` (seconds) before.

    Queries are rare while an end is unlikely, come every second where ends are dense, and are adaptive again once the
    task takes longer than all before. Each delay is 1 to 60 s, less jitter and less the time of the last answer, and
    at least 0.4 s. ``elapsed()`` gives the seconds since the task was created, which may be any number when the wait
    begins. With fewer than three durations this is ``poll_delays(None, rng)``.

    A new task is as likely to end in any one of the gaps between the sorted durations as in any other. That gives
    the hazard: the chance of an end in the next second, if there was none yet. Of all schedules with as many polls,
    the one that detects the end soonest polls with a density proportional to the hazard's square root; from one poll
    to the next, it adds up to 1.

    For example, a kind of task whose six last runs took 28 to 32 s is asked about twice on the way, every second where
    all of them ended, and ever less often once it takes longer (here without jitter):

    >>> rng, now, asked = random.Random(), 0.0, []
    >>> rng.random = lambda: 0.0
    >>> delays = learned_delays([28, 29, 30, 30, 31, 32], lambda: now, rng)
    >>> for _ in range(10):
    ...     now += next(delays)
    ...     asked.append(round(now, 1))
    >>> asked
    [10.3, 20.6, 28.3, 29.4, 30.4, 31.4, 32.4, 33.6, 35.0, 37.0]
    """
    known = sorted(duration for duration in durations if 0 < duration < math.inf)
    if len(known) < ENOUGH_TO_LEARN:
        return poll_delays(None, rng)
    return _expecting(_affordable(_densities(_smoothed(known))), elapsed, rng)


def _smoothed(known: list[float]) -> list[float]:
    """Space the durations evenly within groups of neighbors, because random samples form clumps.

    The number of groups grows with the cube root of the number of durations, the best rate for the bars of a histogram.
    A gap ten times as wide as the median one is not random: it lies between two modes or in a tail, and stays.
    """
    last = len(known) - 1
    groups = round(1.5 * last ** (1 / 3))
    kept = {round(group * last / groups) for group in range(groups + 1)}
    gaps = [later - earlier for earlier, later in itertools.pairwise(known)]
    wide = 10 * sorted(gaps)[len(gaps) // 2]
    kept |= {edge for index, gap in enumerate(gaps) if gap > wide for edge in (index, index + 1)}
    smooth = [known[0]]
    for a, b in itertools.pairwise(sorted(kept)):
        smooth += [known[a] + (known[b] - known[a]) * step / (b - a) for step in range(1, b - a + 1)]
    return smooth


def _densities(known: list[float]) -> list[tuple[float, float]]:
    """The polls per second up to each duration."""
    stretches, start = [], 0.0
    # Before the quickest, an end is mostly impossible: the more durations are known, the less that gap counts.
    weight = 1 / math.sqrt(len(known))
    for index, end in enumerate(known):
        if end > start:
            gaps_left = len(known) - index + 0.5  # Half of this one on average, and those after it.
            density = EAGERNESS * math.sqrt(weight / ((end - start) * gaps_left))
            stretches.append((end, min(1 / FIRST_POLL, max(1 / LONGEST_BLIND, density))))
            start, weight = end, 1.0
    return stretches


def _affordable(stretches: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Reduce the polls where ends are so spread out that there would be more polls than adaptive polling makes."""
    ours = theirs = so_far = start = 0.0
    for end, density in stretches:
        so_far += density * (end - start)
        ours, start = ours + so_far, end
        growing = min(end, (SLOWEST_POLL - FIRST_POLL) / (POLL_GROWTH - 1))
        theirs += math.log(1 + (POLL_GROWTH - 1) * growing / FIRST_POLL, POLL_GROWTH) + (end - growing) / SLOWEST_POLL
    thinner = max(1.0, ours / (MOST_REQUESTS * theirs))
    return [(end, max(1 / LONGEST_BLIND, density / thinner)) for end, density in stretches]


def _expecting(
    stretches: list[tuple[float, float]], elapsed: Callable[[], float], rng: random.Random
) -> Iterator[float]:
    asked = None
    while True:
        now = max(0.0, elapsed())
        jitter = 1 - JITTER * rng.random()
        at_most = _pause(stretches, now) * jitter
        # The time of the last answer counts as waiting too, but a slow server still gets at least half the pause.
        since = now if asked is None else asked
        planned = _pause(stretches, since) * jitter
        delay = min(at_most, max(planned / 2, since + planned - now))
        asked = now + delay
        yield delay


def _pause(stretches: list[tuple[float, float]], now: float) -> float:
    return min(LONGEST_BLIND, max(FIRST_POLL, _until_next(stretches, now)))


def _until_next(stretches: list[tuple[float, float]], now: float) -> float:
    """Seconds until the densities from now on add up to one poll."""
    missing, moment = 1.0, now
    for end, density in stretches:
        polls = density * (end - moment)
        if polls >= missing:
            return moment + missing / density - now
        if polls > 0:
            missing, moment = missing - polls, end
    # Longer than all before: from here as after a create, 1 s and then longer by 1.3 each time.
    overdue = moment - stretches[-1][0]
    return moment - now + min(SLOWEST_POLL, missing * FIRST_POLL + (POLL_GROWTH - 1) * overdue)


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
        """Hold a slot for a long poll during one pause and query, if one is free and the server offers it."""
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
        """The fields of a query that make it a long poll of at most ``remaining`` seconds; none if it is not one."""
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
            # An early answer without a change: something on the way does not wait.
            early = self._clock() - self._asked < self._waited / 2
            self._failures = self._failures + 1 if early and self._announced == before else 0
