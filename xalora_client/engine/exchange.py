"""One request and its answer: trying again where that is right, and the one cancel an interruption sends.

A driver throws failures *into* the flow, Ctrl-C, task cancellation and ComfyUI's interrupt among them. An error of
the SDK means that a call did not work; anything else thrown in is an interruption, and means that nobody waits for
the task any more: it is cancelled remotely before the interruption goes on its way.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import APIStatusError, ConfigurationError, XaloraError
from ..ledger import Ledger
from ..protocol import wire
from ..protocol.wire import Request, Response, Sequencer
from . import retrying
from .effects import Call, Flow, Send, Sleep, T
from .retrying import Deadline

logger = logging.getLogger("xalora_client")


@dataclass(frozen=True)
class Context:
    """What every flow of one client shares.

    ``clock`` is monotonic, in seconds. ``cancels(interruption)`` says whether an interruption should cancel the
    remote task. ``ledger`` is where tasks are written down, if anywhere, under the lasting name ``server`` of the
    sequencer and with ``source`` as the one who asked.
    """

    sequencer: Sequencer
    clock: Callable[[], float] = time.monotonic
    dice: random.Random = field(default_factory=random.Random)
    cancels: Callable[[BaseException], bool] = lambda _: True
    server: str = ""
    ledger: Ledger | None = None
    source: str = "library"


def answered(
    context: Context,
    request: Request,
    deadline: Deadline,
    may_repeat: Callable[[XaloraError], bool],
    *,
    settle: bool = False,
    on_trouble: Callable[[XaloraError, float], Flow[None]] | None = None,
) -> Flow[Response]:
    """Send until there is a 2xx answer, or repeating would be wrong or come after the deadline.

    ``on_trouble(error, delay)`` runs before each pause. With ``settle`` every try keeps its full time: a create cut
    short would leave a task that nobody knows of.
    """
    delays = retrying.backoff_delays(context.dice)
    while True:
        timeout = retrying.REQUEST_TIMEOUT if settle else min(retrying.REQUEST_TIMEOUT, deadline.remaining() or 0.001)
        try:
            response: Response = yield Send(request, timeout, settle)
            wire.check_status(response, request)
        except XaloraError as error:
            delay = max(next(delays), retry_after(error) or 0.0)
            if not may_repeat(error) or delay >= deadline.remaining():
                error.task_id = error.task_id or request.task_id
                raise
            logger.info("%s: trying again in %.1f s: %s", request.url, delay, error.what)
            if on_trouble is not None:
                yield from on_trouble(error, delay)
            yield Sleep(delay)
            if not deadline.remaining():
                raise
        else:
            return response


def retry_after(error: XaloraError) -> float | None:
    """The seconds the server asked to wait, where it did."""
    return error.retry_after if isinstance(error, APIStatusError) else None


def cancel_interrupted(context: Context, cancel: Request, stop: BaseException) -> Flow[None]:
    """Send one short cancel because of an interruption; its own failure is only logged."""
    # A generator that is being closed may not yield, and whoever closes it drives it no more.
    if isinstance(stop, GeneratorExit) or not context.cancels(stop):
        return
    try:
        # Settled, because interruptions come in swarms: a loop that is torn down cancels each task more than once.
        response: Response = yield Send(cancel, retrying.CANCEL_TIMEOUT, settle=True)
        wire.check_status(response, cancel)
    except XaloraError as error:
        logger.warning("Task %s may still be running, cancelling it failed: %s", cancel.task_id, error)
    else:
        logger.info("Task %s was cancelled after an interruption", cancel.task_id)


def with_ledger(context: Context, work: Callable[[Ledger], T]) -> Flow[T | None]:
    """What ``work`` returns; None without a ledger, or where it cannot be used: that stops no task that is paid for."""
    ledger = context.ledger
    if ledger is None:
        return None
    try:
        answer: T = yield Call(lambda: work(ledger))
    except ConfigurationError as error:
        logger.warning("%s", error)
        return None
    return answer
