"""Retries: the two policies, which never merge, and the loop around them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from ..errors import ServerError, XaloraError

logger = logging.getLogger("xalora_client")

T = TypeVar("T")

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
LONGEST_PAUSE = 60.0
"""The longest pause in seconds, whatever a server asks for. One that is still overloaded then will say so again."""

JITTER = 0.15
"""Delays are shortened by up to this share, so that clients that started together drift apart."""


def if_transient(error: XaloraError) -> bool:
    """The policy for everything that may be repeated freely: whether the same call may work later."""
    return error.transient


def if_not_processed(error: XaloraError) -> bool:
    """The policy for creates: whether the server certainly did nothing, and may accept it later.

    Anything less certain could be charged twice. A server's own trouble, such as a full disk or no miner, is told at
    once unless the server says when to come back; and so is that this takes longer than LONGEST_PAUSE.
    """
    told_when = error.retry_after is not None or not isinstance(error, ServerError)
    return error.transient and error.sent == "no" and told_when and (error.retry_after or 0.0) <= LONGEST_PAUSE


def growing_delays(delay: float, factor: float, longest: float, rng: random.Random) -> Iterator[float]:
    """``delay`` seconds, then longer by ``factor`` each time up to ``longest``, each less jitter."""
    while True:
        yield delay * (1 - JITTER * rng.random())
        delay = min(longest, delay * factor)


def backoff(rng: random.Random | None = None) -> Iterator[float]:
    """Seconds to wait before each further try: from 0.5 s doubling to 10 s, less jitter."""
    return growing_delays(FIRST_DELAY, 2.0, LONGEST_DELAY, rng or random.Random())  # noqa: S311 - it only spreads requests


async def retry(
    attempt: Callable[[], Awaitable[T]],
    *,
    may_repeat: Callable[[XaloraError], bool] = if_transient,
    tries: float = math.inf,
    remaining: Callable[[], float] = lambda: math.inf,
    delays: Iterator[float] | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    report: Callable[[XaloraError, float], object] | None = None,
) -> T:
    """Await ``attempt()`` until it succeeds, or trying again would be wrong or too late.

    Args:
        attempt: What to do. Errors other than the SDK's end it at once.
        may_repeat: The policy.
        tries: The most attempts.
        remaining: The seconds that are left. A pause that would take longer is not begun.
        delays: The pauses in seconds. A server that asks for more gets more, up to LONGEST_PAUSE.
        sleep: Waits so many seconds.
        report: ``report(error, delay)`` is called before each pause.

    Returns:
        What the attempt returned.

    Raises:
        XaloraError: The last attempt's.
    """
    delays = backoff() if delays is None else delays
    for number in itertools.count(1):
        try:
            return await attempt()
        except XaloraError as error:
            delay = max(next(delays), min(error.retry_after or 0.0, LONGEST_PAUSE))
            if number >= tries or not may_repeat(error) or delay >= remaining():
                raise
            last_error = error
        logger.info("Trying again in %.1f s: %s", delay, last_error.what)
        if report is not None:
            report(last_error, delay)
        await sleep(delay)
        if not remaining():
            raise last_error
    raise AssertionError("count() does not end")
