"""What the blocking client and the one for event loops have in common: their settings, and what needs no request."""

from __future__ import annotations

import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from ..config import load
from ..engine.drivers import AsyncTransport, Transport
from ..engine.exchange import Context
from ..ledger import Ledger
from ..media.decoding.limits import Limits
from ..media.download import MediaFile
from ..media.store import MediaStore
from ..protocol.requests import Sequencer
from ..sequencer import local_sandbox


class BaseClient(ABC):
    """A client of one sequencer, but for its calls. ``config`` is what it works with.

    ``api_key`` is ``consumer#key``; it, ``workflow_url`` and ``home`` come from the environment, ``.env`` or the
    stored settings where they are not given; ``fallback_home`` takes the place of the platform's folder for user
    data. With ``ledger``, every task is written down in the home before it is sent: what an earlier call with the
    same intent created, is creating or has finished is taken up instead of paid for anew, unless that call says
    ``reuse=False``; ``source`` is written down with it. ``cancels(interruption)`` says whether an interruption of a
    call (Ctrl-C, say) should cancel the remote task; unset, each does. ``transport``, ``sleep``, ``clock`` (monotonic
    seconds) and ``dice`` can be replaced.

    Raises ConfigurationError when no key is set or a setting has the wrong form.
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
        limits: Limits | None = None,
        cancels: Callable[[BaseException], bool] | None = None,
        transport: Transport | AsyncTransport | None = None,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        dice: random.Random | None = None,
    ) -> None:
        self.config = load(api_key, workflow_url, home, fallback_home)
        credentials = self.config.require_credentials()
        folder = self.config.home
        url = local_sandbox(folder / "sandbox") if self.config.is_sandbox else self.config.workflow_url
        self._context = Context(
            Sequencer(url, credentials),
            # The sandbox has another port each time; its tasks are the same.
            server=self.config.workflow_url,
            ledger=Ledger(folder, self.config.workflow_url) if ledger else None,
            source=source,
            clock=clock,
            dice=dice or random.Random(),  # noqa: S311 - it only spreads requests
            cancels=cancels or (lambda _: True),
        )
        self._store = MediaStore(folder)
        self._limits = limits or Limits()
        self._transport = transport or self._new_transport()
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workflow_url={self._context.sequencer.url!r})"

    def release(self, file: MediaFile) -> None:
        """Say that a downloaded file is not needed any more: from ten minutes later, the store may make room."""
        self._store.release(file.path)

    def _close_ledger(self) -> None:
        if self._context.ledger is not None:
            self._context.ledger.close()

    @abstractmethod
    def _new_transport(self) -> Transport | AsyncTransport:
        """What requests go through where nothing else was given."""
