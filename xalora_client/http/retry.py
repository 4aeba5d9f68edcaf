"""Sending again what may be repeated."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import XaloraError

logger = logging.getLogger("xalora_client")

T = TypeVar("T")

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0


async def retry(
    attempt: Callable[[], Awaitable[T]],
    *,
    tries: float = math.inf,
    remaining: Callable[[], float] = lambda: math.inf,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """Await ``attempt()`` again, after growing pauses, as long as its errors are transient.

    Args:
        attempt: What to do. It may be done any number of times.
        tries: The most attempts.
        remaining: The seconds that are left. A pause that would take longer is not begun.
        sleep: Waits so many seconds.

    Returns:
        What the attempt returned.

    Raises:
        XaloraError: The last attempt's.
    """
    for number in itertools.count():
        try:
            return await attempt()
        except XaloraError as error:
            delay = min(FIRST_DELAY * 2**number, LONGEST_DELAY) * (1 - random.random() * 0.3)  # noqa: S311 - it only spreads requests
            if number + 1 >= tries or not error.transient or delay >= remaining():
                raise
            logger.info("Trying again in %.1f s: %s", delay, error.what)
        await sleep(delay)
    raise AssertionError("count() does not end")
