"""One client's connection to its sequencer: what every call uses.

An error of the SDK means that a call failed. Anything else that ends a wait is an interruption: Ctrl-C, the
cancellation of an asyncio task, ComfyUI's Cancel. The caller no longer waits for the task, so it is canceled remotely
before the interruption is raised.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ParamSpec, TypeVar

from ..config.validation import is_public
from ..errors import (
    APIStatusError,
    ConfigurationError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    StorageError,
    XaloraError,
)
from ..http.limiter import pause_left, slow_down
from ..http.retry import LONGEST_PAUSE, backoff, if_transient, retry
from ..http.transport import HttpTransport, Transport
from ..ledger import Claim, Ledger, Step
from ..protocol import answers
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.requests import CreateRequest, Credentials, Request, Response, Sequencer
from ..uploads import Uploads
from ..workflows import WorkflowList
from .advanced import AdvancedOptions
from .portal import finish, in_caller, interruption
from .waiters import Waiter

logger = logging.getLogger("xalora_client")

P = ParamSpec("P")
T = TypeVar("T")

REQUEST_TIMEOUT = 60.0
"""Seconds one create may take; the reference client's figure."""

QUERY_TIMEOUT = 15.0
"""Seconds one query or cancel may take. Both are free, so after a silence they are sent over a new connection."""

RETRY_SECONDS = 60.0
"""Seconds in which a single call (create, query, cancel) is tried again, unless a client says otherwise."""

REFUSED_SECONDS = 4.0
"""The same for a server of one's own that was never reached: it is off, or its address is wrong."""

_reached: set[str] = set()
"""Servers that answered this process, or may have been sent something."""

USUAL_TIMEOUT = 24 * 3600.0
"""A timeout of more seconds was probably meant to be milliseconds."""

CANCEL_TIMEOUT = 5.0
"""Seconds for the one cancel that an interruption sends."""

SHORTEST_PAUSE = 0.4
"""The pause in seconds after "too many requests", when the server does not say how long to wait."""

Wanted = tuple[str | None, str | None]
"""A task type and a workflow id; None for all."""

ReportRetry = Callable[[XaloraError, float], object]
"""``report(error, delay)`` is called before a pause of ``delay`` seconds, after which a request is sent again."""


@dataclass(frozen=True)
class Deadline:
    """A moment on a monotonic clock. It is at ``unreached_at`` as long as ``is_unreached()``."""

    clock: Callable[[], float]
    at: float
    unreached_at: float = math.inf
    is_unreached: Callable[[], bool] = lambda: False

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float], name: str = "timeout") -> Deadline:
        """The moment ``seconds`` from now. Raises ConfigurationError unless that is a positive number."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ConfigurationError(f"{name} is {seconds!r}", advice="Allowed: a number of seconds above 0.")
        return cls(clock, clock() + seconds)

    def excluding_time_since(self, begun: float) -> Deadline:
        """The same deadline, without counting the time since ``begun``."""
        since = self.clock() - begun
        return replace(self, at=self.at + since, unreached_at=self.unreached_at + since)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        at = min(self.at, self.unreached_at) if self.is_unreached() else self.at
        return max(0.0, at - self.clock())


@dataclass(frozen=True, eq=False)
class PendingCreate:
    """A create that only this client may send.

    Attributes:
        request: What is sent, under its job id.
        claim: The ledger's claim. None without a ledger.
        key: The same for creates of the same task.
    """

    request: CreateRequest
    claim: Claim | None = None
    key: object = None

    @property
    def is_new(self) -> bool:
        """Whether no earlier run may have sent it."""
        return self.claim is None or self.claim.step is Step.NEW


@dataclass
class Session:
    """What the calls of one client share.

    Attributes:
        sequencer: The sequencer's address, and the key for it.
        name: The sequencer's lasting name. The sandbox's port changes with each start; its tasks stay.
        transport: Sends the requests.
        ledger: Where tasks are recorded, or None.
        uploads: Uploads the inputs. None leaves them as they are.
        uploaded_ahead: The creates that are still to be sent, but whose inputs are uploaded.
        job_ids: Job ids by task id, for the removal of what was uploaded.
        known_workflows: What miners take, by task type and workflow id: when the server was asked, and its answer.
        retry_seconds: How long a single call is tried again.
        options: What the client's program set.
    """

    sequencer: Sequencer
    name: str = ""
    transport: Transport = field(default_factory=HttpTransport)
    ledger: Ledger | None = None
    uploads: Uploads | None = None
    uploaded_ahead: list[PendingCreate] = field(default_factory=list)
    job_ids: dict[str, str] = field(default_factory=dict)
    known_workflows: dict[Wanted, tuple[float, WorkflowList | None]] = field(default_factory=dict)
    retry_seconds: float = RETRY_SECONDS
    options: AdvancedOptions = field(default_factory=AdvancedOptions)

    @property
    def clock(self) -> Callable[[], float]:
        """Returns monotonic seconds."""
        return self.options.clock

    def deadline(self, seconds: float) -> Deadline:
        """The moment ``seconds`` from now. Raises ConfigurationError unless that is a positive number."""
        deadline = Deadline.after(seconds, self.clock)
        if USUAL_TIMEOUT < seconds < math.inf:
            logger.warning("The timeout is %.0f hours: it counts seconds", seconds / 3600)
        return deadline

    def call_deadline(self, at_most: float = math.inf) -> Deadline:
        """When a single call gives up retrying: soon where a server of one's own was never reached."""
        deadline, own = self.deadline(min(at_most, self.retry_seconds)), not is_public(self.sequencer.url)
        soon = self.clock() + REFUSED_SECONDS
        return replace(deadline, unreached_at=soon, is_unreached=lambda: own and self.sequencer.url not in _reached)

    async def sleep(self, seconds: float) -> None:
        """Wait. A function that blocks is called in the caller's own thread."""
        if inspect.iscoroutinefunction(self.options.sleep):
            await self.options.sleep(seconds)
        else:
            waited = in_caller(self.options.sleep)(seconds)
            if inspect.isawaitable(waited):
                await waited

    async def ask(self, request: Request, deadline: Deadline, report: ReportRetry | None = None) -> Response:
        """Send a request that may be repeated freely, until there is a 2xx answer or the deadline passes.

        A long poll that fails is sent again as a plain query, which is answered at once.
        """
        waiting = request

        async def attempt() -> Response:
            nonlocal waiting
            longest = QUERY_TIMEOUT + waiting.wait_seconds
            asked, waiting = waiting, request.without_wait()
            return await self.send(asked, min(longest, deadline.remaining() or 0.001))

        try:
            return await self.retry(request, attempt, deadline, report=report)
        except XaloraError as error:
            if error.task_id or not request.task_id:
                raise
            raise error.derived(task_id=request.task_id) from error

    async def retry(
        self,
        request: Request,
        attempt: Callable[[], Awaitable[T]],
        deadline: Deadline,
        may_repeat: Callable[[XaloraError], bool] = if_transient,
        report: ReportRetry | None = None,
    ) -> T:
        """Await ``attempt()``, which sends the request, and again while ``may_repeat`` and the deadline allow it.

        The pause that a server asked another call for is kept, but for no more than half of the time that is left.
        """
        report = report or warn

        async def paced() -> T:
            left = pause_left(self.sequencer.url, request.secret, self.clock)
            if pause := min(left, deadline.remaining() / 2):
                report(RateLimitError("the server asked for a pause"), pause)
                await self.sleep(pause)
            return await attempt()

        return await retry(
            paced,
            may_repeat=may_repeat,
            remaining=deadline.remaining,
            delays=backoff(self.options.rng),
            sleep=self.sleep,
            report=report,
        )

    async def send(self, request: Request, timeout: float | None = None) -> Response:
        """Send a request once. The timeout is in seconds; None means that of a create.

        Raises APIStatusError for a status outside 2xx, and NetworkError.
        """
        try:
            response = await self.transport.send(request, REQUEST_TIMEOUT if timeout is None else timeout)
            logger.debug("%s was answered with %s", request.url, response.status)
            _reached.add(self.sequencer.url)
            answers.check_status(response, request)
        except NetworkError as error:
            logger.debug("%s failed: %s", request.url, error.what)
            if error.sent != "no":
                _reached.add(self.sequencer.url)
            raise
        except APIStatusError as error:
            asked = error.retry_after or SHORTEST_PAUSE
            if isinstance(error, RateLimitError):
                slow_down(self.sequencer.url, request.secret, self.clock, asked)
            if asked <= LONGEST_PAUSE:
                raise
            what = f"{error.what.rstrip('.')}; it asks to wait {asked:,.0f} s"
            advice = f"Try again later; here, no request is held back for more than {LONGEST_PAUSE:.0f} s."
            raise error.derived(what=what, advice=advice) from error
        return response

    async def with_ledger(self, action: Callable[[Ledger], T]) -> T | None:
        """What ``action`` returns. None without a usable ledger: a charged task matters more than its record."""
        if self.ledger is None:
            return None
        try:
            return await in_thread(action, self.ledger)
        except StorageError as error:
            logger.warning("%s", error)
            return None


async def in_thread(action: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Run slow local work (disk, decoding) in a thread. An interruption waits until it ends."""
    return await finish(asyncio.to_thread(action, *arguments, **keywords))


def warn(error: XaloraError, delay: float) -> None:
    """Report that something is asked again, for a call that has no other way to report it."""
    logger.warning("Trying again in %d s: %s", math.ceil(delay), error.what)


async def query(session: Session, task_id: str) -> WorkflowTaskResult:
    """Query a task's status, with retries.

    For a finished task that the server has forgotten, the ledger's record is returned.
    """
    deadline = session.call_deadline()
    try:
        return await check(session, task_id, session.sequencer.credentials, deadline)
    except NotFoundError as error:
        return await remembered(session, task_id, error)


async def cancel(session: Session, task_id: str) -> str:
    """Cancel a task; returns the server's message."""
    credentials = session.sequencer.credentials
    request = session.sequencer.cancel(task_id, credentials)
    response = await session.ask(request, session.call_deadline())
    logger.info("Task %s was canceled", task_id)
    await _record_canceled(session, task_id, credentials)
    return answers.read_message(response, request)


async def check(
    session: Session,
    task_id: str,
    credentials: Credentials,
    deadline: Deadline,
    report: ReportRetry | None = None,
    waiting: Mapping[str, float] | None = None,
) -> WorkflowTaskResult:
    """Query a task's status until there is an answer, and record it in the ledger.

    The fields in ``waiting`` make the first try a long poll, which is answered as soon as the task changes.
    """
    request = session.sequencer.query(task_id, credentials, **(waiting or {}))
    at_once = bool(waiting)

    def failed(error: XaloraError, delay: float) -> None:
        nonlocal at_once
        at_once = False
        (report or warn)(error, delay)

    response = await session.ask(request, deadline, failed)
    result = answers.read_result(response, request, server=session.sequencer.url)
    await _record(session, task_id, result, at_once=at_once)
    return result


async def remembered(session: Session, task_id: str, error: NotFoundError) -> WorkflowTaskResult:
    """The ledger's record of a finished task that the server has forgotten. Without one, raises the server's error."""
    record = await session.with_ledger(lambda ledger: ledger.find(task_id))
    if record is None or record.state != TaskStatus.FINISHED:
        raise error
    return record.as_result()


async def cancel_interrupted(
    session: Session, waiter: Waiter, task_id: str, credentials: Credentials, stop: BaseException
) -> None:
    """Send one short cancel because of an interruption, if the client allows it and nobody else waits for the task.

    If it fails, that is only logged.
    """
    waiter.waits_for(task_id)
    # A coroutine that is being closed may not await.
    if isinstance(stop, GeneratorExit) or not session.options.should_cancel(interruption(stop)):
        return
    if waiter.leave():
        # More interruptions may follow: a loop that is torn down cancels each task more than once.
        await finish(_cancel_once(session, task_id, credentials))
    else:
        logger.info("Task %s was not canceled after an interruption: another call waits for it", task_id)


async def _cancel_once(session: Session, task_id: str, credentials: Credentials) -> None:
    try:
        await session.send(session.sequencer.cancel(task_id, credentials), CANCEL_TIMEOUT)
    except XaloraError as error:
        logger.warning("Task %s may still be running, because canceling it failed: %s", task_id, error)
        session.options.on_cancel(task_id, error)
    else:
        session.options.on_cancel(task_id, None)
        logger.info("Task %s was canceled after an interruption", task_id)
        await _record_canceled(session, task_id, credentials)


async def _record_canceled(session: Session, task_id: str, credentials: Credentials) -> None:
    """Record how a cancel ended, and remove the task's inputs if the task has ended.

    The server is asked, because the task may have finished just before, and its result is then charged.
    """
    record = await session.with_ledger(lambda ledger: ledger.find(task_id))
    removes = session.uploads is not None and session.uploads.removes
    if (record is None and not removes) or (record is not None and record.is_final):
        return
    request = session.sequencer.query(task_id, credentials)
    try:
        response = await session.send(request, CANCEL_TIMEOUT)
        result = answers.read_result(response, request, server=session.sequencer.url)
    except XaloraError as error:
        logger.info("The status of task %s after the cancel is not known: %s", task_id, error.what)
    else:
        await _record(session, task_id, result)
        if result.is_final:
            return
    await session.with_ledger(lambda ledger: ledger.canceled(task_id))


async def _record(session: Session, task_id: str, result: WorkflowTaskResult, *, at_once: bool = False) -> None:
    """Record an answer in the ledger. After the first that shows the task's end, its inputs are removed."""
    uploads = session.uploads
    if uploads is not None and uploads.removes and result.is_final:
        record = await session.with_ledger(lambda ledger: ledger.find(task_id))
        if record is None or not record.is_final:
            # Before it is recorded: if this run is killed in between, the next one finds the task open, and does it.
            job_id = session.job_ids.pop(task_id, None) if record is None else record.job_id
            if job_id is not None:
                await finish(uploads.remove(job_id, None if record is None else record.parameters))
    await session.with_ledger(lambda ledger: ledger.observed(task_id, result, at_once=at_once))
