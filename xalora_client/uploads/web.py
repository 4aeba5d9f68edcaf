"""What the ways of delivery need of HTTP, and how they retry."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from ..errors import NetworkError
from ..protocol.requests import Request, Response

logger = logging.getLogger("xalora_client")

T = TypeVar("T")

TRIES = 5
FIRST_PAUSE = 0.5

OnSent = Callable[[int, int], object]
"""``on_sent(sent, total)`` is called with the bytes of an upload that have been sent, and those that it has."""

Sleep = Callable[[float], Awaitable[object]]


class Web(Protocol):
    """HTTP, one request at a time. Redirects are not followed."""

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        on_sent: OnSent | None = None,
    ) -> Response:
        """Send a request and return the answer, whatever its status, with at most 64 KiB of its body.

        Raises NetworkError, also when nothing moves for half a minute.
        """

    async def send(self, request: Request, timeout: float) -> Response:
        """POST a request of the protocol. Raises NetworkError."""


class PassingError(Exception):
    """An answer that a later try may not get, such as 503. ``error`` is raised when there are no more tries."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


async def with_retries(
    attempt: Callable[[], Awaitable[T]], sleep: Sleep, tries: int = TRIES, longest: float = math.inf
) -> T:
    """Try again, with growing pauses. Every request of delivery may be repeated: contents have one name.

    What has had no answer for ``longest`` seconds is not tried again.
    """
    begun = time.monotonic()
    for number in range(tries):
        try:
            return await attempt()
        except (NetworkError, PassingError) as error:
            last = number == tries - 1
            if isinstance(error, PassingError):
                if last:
                    raise error.error from None
            elif last or not error.transient or time.monotonic() - begun > longest:
                raise
            pause = FIRST_PAUSE * 2**number * (1 - random.random() * 0.3)  # noqa: S311 - it only spreads requests
            logger.info("Trying again in %.1f s: %s", pause, error)
        await sleep(pause)
    raise AssertionError("the last try returns or raises")
