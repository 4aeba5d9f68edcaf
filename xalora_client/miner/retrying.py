"""Asking the sequencer again until it answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import XaloraError
from .timeouts import Timeouts

T = TypeVar("T")


async def until_answered(
    action: Callable[[], Awaitable[T]],
    timeouts: Timeouts,
    report_retry: Callable[[str], None],
    *,
    deadline: float | None = None,
) -> T:
    """The action's result. It is tried again, at growing intervals, for as long as its errors are transient.

    ``report_retry`` is called at each of them. ``deadline`` is in ``time.monotonic()``; after it the error is raised.
    """
    delay = timeouts.first_delay
    while True:
        try:
            return await action()
        except XaloraError as error:
            if not error.transient or (deadline is not None and time.monotonic() + delay > deadline):
                raise
            report_retry(error.what)
        await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - spreads many miners over time
        delay = min(2 * delay, timeouts.longest_delay)
