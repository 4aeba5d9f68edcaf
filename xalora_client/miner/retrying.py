"""Asking the sequencer again until it answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import XaloraError
from .sequencer_http import is_temporary
from .times import Times

T = TypeVar("T")


async def until_answered(
    action: Callable[[], Awaitable[T]], times: Times, complain: Callable[[str], None], *, deadline: float | None = None
) -> T:
    """The action's result. It is tried again, at growing intervals, for as long as its failures may be temporary.

    ``complain`` is called at each failure. ``deadline`` is in ``time.monotonic()``; after it the failure is raised.
    """
    delay = times.first_delay
    while True:
        try:
            return await action()
        except XaloraError as error:
            if not is_temporary(error) or (deadline is not None and time.monotonic() + delay > deadline):
                raise
            complain(error.what)
        await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - spreads many miners over time
        delay = min(2 * delay, times.longest_delay)
