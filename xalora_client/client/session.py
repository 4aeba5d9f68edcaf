"""One client's connection to its sequencer: what every call uses."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ..errors import ConfigurationError, RateLimitError, StorageError, XaloraError
from ..http.limiter import pause_left, slow_down
from ..http.retry import backoff, retry
from ..http.transport import HttpTransport, Transport
from ..ledger import Claim, Ledger
from ..protocol.answers import check_status
from ..protocol.requests import CreateRequest, Request, Response, Sequencer
from ..uploads import Uploads
from .portal import finish, in_caller

logger = logging.getLogger("xalora_client")

T = TypeVar("T")

REQUEST_TIMEOUT = 60.0
"""Seconds one create may take; the reference client's figure."""

QUERY_TIMEOUT = 15.0
"""Seconds one query or cancel may take. Both are free, so after a silence they are sent over a new connection."""

CALL_TIMEOUT = 60.0
"""Seconds a single call (create, query, cancel) may go on retrying."""

CANCEL_TIMEOUT = 5.0
"""Seconds for the one cancel that an interruption sends."""

SHORTEST_PAUSE = 0.4
"""Seconds in which nobody asks a server that says "too many requests", and not when to come back."""

ReportRetry = Callable[[XaloraError, float], object]
"""Called before a pause of so many seconds, after which a request is sent again because of the error."""


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


@dataclass
class Session:
    """What the calls of one client share.

    Attributes:
        sequencer: Where requests go, and who sends them.
        name: The sequencer's lasting name. The sandbox's port changes with each start; its tasks stay.
        transport: Sends the requests.
        ledger: Where tasks are recorded, or None.
        uploads: Brings inputs to the miners, or None to leave them as they are.
        uploaded_ahead: The jobs whose inputs were uploaded ahead of their create, by what was asked for.
        job_ids: Job ids by task id, for the removal of what was uploaded.
        source: Who asks, for the ledger; ``caller`` is what part of it.
        should_cancel: Whether an interruption cancels the remote task.
        on_cancel: ``on_cancel(task_id, error)`` is told how each cancel ended that an interruption sent: None means
            that the sequencer took it. Of a create that was interrupted, it is told the job id.
        clock: Monotonic seconds.
        nap: Waits so many seconds, blocking or awaited.
    """

    sequencer: Sequencer
    name: str = ""
    transport: Transport = field(default_factory=HttpTransport)
    ledger: Ledger | None = None
    uploads: Uploads | None = None
    uploaded_ahead: dict[object, list[tuple[CreateRequest, Claim | None]]] = field(default_factory=dict)
    job_ids: dict[str, str] = field(default_factory=dict)
    source: str = "library"
    caller: object = None
    should_cancel: Callable[[BaseException], bool] = lambda _: True
    on_cancel: Callable[[str, XaloraError | None], object] = lambda _, __: None
    clock: Callable[[], float] = time.monotonic
    nap: Callable[[float], object] = asyncio.sleep
    rng: random.Random = field(default_factory=random.Random)

    def deadline(self, seconds: float) -> Deadline:
        """The moment ``seconds`` from now. Raises ConfigurationError unless that is a positive number."""
        return Deadline.after(seconds, self.clock)

    def call_deadline(self, at_most: float = math.inf) -> Deadline:
        """When a single call gives up retrying."""
        return self.deadline(min(at_most, CALL_TIMEOUT))

    async def sleep(self, seconds: float) -> None:
        """Wait. A function that blocks is called in the caller's own thread."""
        if inspect.iscoroutinefunction(self.nap):
            await self.nap(seconds)
        else:
            waited = in_caller(self.nap)(seconds)
            if inspect.isawaitable(waited):
                await waited

    async def ask(self, request: Request, deadline: Deadline, report: ReportRetry | None = None) -> Response:
        """Send a request that may be repeated freely, until there is a 2xx answer or the time is over.

        A long poll that fails is asked again without its wait: the question then is whether there is an answer at all.
        """
        waiting = request

        async def attempt() -> Response:
            nonlocal waiting
            await self.pace(deadline)
            longest = QUERY_TIMEOUT + waiting.wait_seconds
            asked, waiting = waiting, request.without_wait()
            return await self.send(asked, min(longest, deadline.remaining() or 0.001))

        try:
            return await retry(
                attempt, remaining=deadline.remaining, delays=backoff(self.rng), sleep=self.sleep, report=report
            )
        except XaloraError as error:
            if error.task_id or not request.task_id:
                raise
            raise error.derived(task_id=request.task_id) from error

    async def send(self, request: Request, timeout: float | None = None) -> Response:
        """Send a request once; ``timeout`` None gives it the time of a create.

        Raises what a status outside 2xx stands for, and NetworkError.
        """
        try:
            response = await self.transport.send(request, REQUEST_TIMEOUT if timeout is None else timeout)
            check_status(response, request)
        except RateLimitError as error:
            slow_down(self.sequencer.url, self.clock, error.retry_after or SHORTEST_PAUSE)
            raise
        return response

    async def pace(self, deadline: Deadline) -> None:
        """Wait until the server may be asked again. Raises RateLimitError if that is after the deadline."""
        while pause := pause_left(self.sequencer.url, self.clock):
            if pause >= deadline.remaining():
                what = f"too many requests; it asked to wait for another {pause:.0f} s"
                raise RateLimitError(what, status_code=429, retry_after=pause)
            await self.sleep(pause)

    async def with_ledger(self, action: Callable[[Ledger], T]) -> T | None:
        """What ``action`` returns. None without a usable ledger: a task that is charged goes on without it."""
        ledger = self.ledger
        if ledger is None:
            return None
        try:
            return await in_thread(lambda: action(ledger))
        except StorageError as error:
            logger.warning("%s", error)
            return None


async def in_thread(action: Callable[[], T]) -> T:
    """Run slow local work (disk, decoding) off the event loop. An interruption waits until it ends."""
    return await finish(asyncio.to_thread(action))
