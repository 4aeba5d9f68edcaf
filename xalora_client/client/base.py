"""What the blocking and the asynchronous client share: their settings, opening and closing."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from ..config import load
from ..errors import XaloraError
from ..http.transport import HttpTransport, Transport
from ..ledger import Ledger
from ..media.decoding.limits import Limits
from ..media.inputs import sendable
from ..media.store import MediaStore, budget_of
from ..protocol.requests import Sequencer
from ..uploads import Uploads
from ..workflows import AvailableWorkflow
from .create import discard_ahead
from .sandbox import SandboxTransport
from .session import RETRY_SECONDS, Deadline, Session


class BaseClient:
    """The settings of a client of one sequencer. Client and AsyncClient add the calls.

    A setting that is None is taken from its first source that has one: the environment, ``.env`` in the working
    directory, the stored settings. ``config`` has the result.

    Args:
        api_key: The key, as ``consumer#key``.
        workflow_url: The sequencer's http or https address, or "sandbox" for the local one. An address that is neither
            an argument nor the default needs a key that is an argument or from the same source.
        home: The folder for the ledger, media and stored settings.
        fallback_home: Used in place of the platform's folder for user data when no home is set.
        ledger: Whether every task is written to the ledger before it is sent. A task that an earlier call with the same
            inputs created, is creating or has finished is then reused and not charged again.
        source: Who asks, for the ledger: "node", "cli" or "library".
        caller: Which part of the source asks, for the ledger: JSON, or None.
        limits: The limits on downloads and decoding. None means those of ``Limits()``.
        should_cancel: ``should_cancel(interruption)`` returns whether an interruption of a call, such as Ctrl-C,
            cancels the remote task. None means that every interruption does.
        on_cancel: ``on_cancel(task_id, error)`` is called after each cancel that an interruption sent: with None when
            the sequencer accepted it, else with the error. For a create that was interrupted before its answer, it is
            called with the job id.
        on_available: ``on_available(workflow)`` is called with what the server's miners take for a task that is about
            to be created, where it tells within two seconds. With it, what no miner takes is refused before anything is
            uploaded or sent; earlier tasks and results are reused all the same. None: the server is not asked.
        transport: Sends the requests. None means HTTP.
        sleep: ``sleep(seconds)`` waits; what it returns is awaited if it can be. None means asyncio's.
        clock: Returns monotonic seconds.
        retry_seconds: How long a single call (create, query, cancel) is tried again when a server cannot be reached or
            is overloaded. One of your own that was never reached gets 4 s.
        images_at_once: The most encoded images that are in memory at a time, 1 or more.
        rng: The random numbers that spread retries and queries.

    Raises:
        ConfigurationError: No key is set, a setting has the wrong form, or the key and the address come from sources
            that do not belong together. The first call of a client for the sandbox starts it, and raises StorageError
            when it cannot use its folder.
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
        caller: object = None,
        limits: Limits | None = None,
        should_cancel: Callable[[BaseException], bool] | None = None,
        on_cancel: Callable[[str, XaloraError | None], object] | None = None,
        on_available: Callable[[AvailableWorkflow], object] | None = None,
        transport: Transport | None = None,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        retry_seconds: float = RETRY_SECONDS,
        images_at_once: int = 8,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config = load(api_key, workflow_url, home, fallback_home)
        credentials = config.require_credentials()
        Deadline.after(retry_seconds, clock, "retry_seconds")  # A bad one is refused now.
        self._session: Session | None = None
        self._transport = transport or HttpTransport()
        if config.is_sandbox:
            self._transport = SandboxTransport(self._transport, config.home / "sandbox")
        self._store = MediaStore(config.home, budget_of(config.media_budget))
        self._limits = limits or Limits()

        def new_session(url: str) -> Session:
            session = Session(
                Sequencer(url, credentials),
                name=config.workflow_url,
                transport=self._transport,
                ledger=Ledger(config.home, config.workflow_url) if ledger else None,
                source=source,
                caller=caller,
                should_cancel=should_cancel or (lambda _: True),
                on_cancel=on_cancel or (lambda _, __: None),
                on_available=on_available,
                clock=clock,
                retry_seconds=retry_seconds,
                nap=sleep or asyncio.sleep,
                rng=rng or random.Random(),  # noqa: S311 - it only spreads requests
            )
            session.uploads = Uploads(self.config, url, images_at_once, session.sleep, check=sendable)
            return session

        self._new_session = new_session

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workflow_url={self.config.workflow_url!r})"

    async def _opened(self) -> Session:
        """The session, made at the first call: a local sandbox has to start for it."""
        url = self.config.workflow_url
        if isinstance(self._transport, SandboxTransport):
            url = await self._transport.start()
            if self._session is not None and self._session.sequencer.url != url:  # Another program has the old port.
                await self._close()
                self._session = None
        if self._session is None:
            self._session = self._new_session(url)
        return self._session

    async def _close(self) -> None:
        session = self._session
        if session is not None:
            await discard_ahead(session)
            if session.uploads is not None:
                await session.uploads.close()
            if session.ledger is not None:
                session.ledger.close()
        await self._transport.close()
