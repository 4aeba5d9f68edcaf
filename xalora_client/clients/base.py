"""What the blocking and the asynchronous client share: their settings, and what needs no request."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from ..config import load
from ..delivery import Delivery
from ..engine.drivers import AsyncTransport, Transport
from ..engine.exchange import Context
from ..errors import XaloraError
from ..ledger import Ledger
from ..media.decoding.limits import Limits
from ..media.store import MediaStore, budget_of
from ..protocol.requests import Job, Sequencer
from ..protocol.tasks import WorkflowTask
from ..sequencer import local_sandbox
from .web import WebTransport


class BaseClient(ABC):
    """The settings of a client of one sequencer. Client and AsyncClient add the calls.

    A setting that is None is taken from its first source that has one: the environment, ``.env`` in the working
    directory, the stored settings. ``config`` holds the settings in force.

    Args:
        api_key: The key, as ``consumer#key``.
        workflow_url: The sequencer's http or https address, or "sandbox" for the local one. An address that is neither
            an argument nor the default needs a key that is an argument or from the same source.
        home: The folder for the ledger, media and stored settings.
        fallback_home: Used in place of the platform's folder for user data when no home is set.
        ledger: Whether every task is written to the ledger before it is sent. A task that an earlier call with the same
            inputs created, is creating or has finished is then reused and not charged again.
        source: Who asks, written to the ledger: "node", "cli" or "library".
        place: What part of it asks, written to the ledger: JSON, or None.
        limits: The limits on downloads and decoding. None means those of ``Limits()``.
        cancels: ``cancels(interruption)`` returns whether an interruption of a call, such as Ctrl-C, cancels the remote
            task. None means that each one does.
        on_cancel: ``on_cancel(task_id, error)`` is called after each cancel that an interruption sent: with None when
            the sequencer took it, else with the error. For a create that was interrupted before its answer, it is
            called with the job id.
        transport: Sends the requests, blocking for Client, on the event loop for AsyncClient. None means HTTP.
        sleep: ``sleep(seconds)`` waits, awaited by AsyncClient. None means that of the standard library.
        clock: Returns monotonic seconds.
        images_at_once: The most images that are held encoded at a time, 1 or more.
        dice: The random numbers that spread retries and queries.

    Raises:
        ConfigurationError: No key is set, a setting has the wrong form, or the key and the address come from sources
            that do not belong together.
        StorageError: The local sandbox cannot use its folder.
    """

    def __init__(
        self,
        api_key: str | None = None,
        workflow_url: str | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        fallback_home: Path | None = None,
        ledger: bool = False,
        source: str = "library",
        place: object = None,
        limits: Limits | None = None,
        cancels: Callable[[BaseException], bool] | None = None,
        on_cancel: Callable[[str, XaloraError | None], object] | None = None,
        transport: Transport | AsyncTransport | None = None,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        images_at_once: int = 8,
        dice: random.Random | None = None,
    ) -> None:
        self.config = load(api_key, workflow_url, home, fallback_home)
        credentials = self.config.require_credentials()
        folder = self.config.home
        url = local_sandbox(folder / "sandbox") if self.config.is_sandbox else self.config.workflow_url
        record = Ledger(folder, self.config.workflow_url) if ledger else None
        self._sleep = sleep
        self._delivery = Delivery(self.config, url, WebTransport(), record, images_at_once, self._nap)
        self._context = Context(
            Sequencer(url, credentials),
            # The sandbox's port changes with each start; its tasks stay.
            server=self.config.workflow_url,
            ledger=record,
            source=source,
            place=place,
            clock=clock,
            dice=dice or random.Random(),  # noqa: S311 - it only spreads requests
            cancels=cancels or (lambda _: True),
            images=self._delivery,
            on_cancel=on_cancel or (lambda _, __: None),
        )
        self._store = MediaStore(folder, budget_of(self.config.media_budget))
        self._limits = limits or Limits()
        self._transport = transport or self._new_transport()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workflow_url={self._context.sequencer.url!r})"

    async def _nap(self, seconds: float) -> None:
        """Wait on an event loop, also when ``sleep`` blocks."""
        waited = (self._sleep or asyncio.sleep)(seconds)
        if inspect.isawaitable(waited):
            await waited

    def _job(self, task: WorkflowTask) -> Job:
        return Job(task, self._context.sequencer.credentials_of(task), job_id="")

    def _close_ledger(self) -> None:
        if self._context.ledger is not None:
            self._context.ledger.close()

    @abstractmethod
    def _new_transport(self) -> Transport | AsyncTransport:
        """The transport to use when none was given."""
