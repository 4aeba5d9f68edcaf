"""What a program that is built around a client may set, such as the nodes and the command, and what tests replace."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import XaloraError
from ..http.transport import Transport
from ..workflows import AvailableWorkflow


@dataclass(frozen=True)
class AdvancedOptions:
    """The options of a client that few programs need.

    Attributes:
        source: Who asks, for the ledger: "node", "cli" or "library".
        caller: Which part of the source asks, for the ledger: JSON, or None.
        fallback_home: Used in place of the platform's folder for user data when no home is set.
        should_cancel: ``should_cancel(interruption)`` returns whether an interruption of a call, such as Ctrl-C,
            cancels the remote task.
        on_cancel: ``on_cancel(task_id, error)`` is called after each cancel that an interruption sent: with None when
            the sequencer accepted it, else with the error. For a create that was interrupted before its answer, it is
            called with the job id.
        on_available: ``on_available(workflow)`` is called with what the server's miners take for a task that is about
            to be created, where it tells within two seconds. With it, what no miner takes is refused before anything is
            uploaded or sent; earlier tasks and results are reused all the same. None: the server is not asked.
        images_at_once: The most encoded images that are in memory at a time, 1 or more.
        transport: Sends the requests. None means HTTP.
        sleep: ``sleep(seconds)`` waits; what it returns is awaited if it can be.
        clock: Returns monotonic seconds.
        rng: The random numbers that spread retries and queries.
    """

    source: str = "library"
    caller: object = None
    fallback_home: Path | None = None
    should_cancel: Callable[[BaseException], bool] = lambda _: True
    on_cancel: Callable[[str, XaloraError | None], object] = lambda _, __: None
    on_available: Callable[[AvailableWorkflow], object] | None = None
    images_at_once: int = 8
    transport: Transport | None = None
    sleep: Callable[[float], object] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
