"""The parts that every sequencer has, and their start and end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from aiohttp import web

from .clock import Clock, Timer
from .dispatcher import Dispatcher
from .file_store import Incoming
from .http import answering_in_json
from .images import Images
from .inputs import Inputs
from .observer import Observer
from .preview.miner import PreviewMiner
from .results import Results
from .store import Store

logger = logging.getLogger(__name__)
_MAX_BODY = 128 * 2**20
"""Of a JSON body: a 4K image fits in a ``data:`` URI. Uploads are streamed, and have limits of their own."""

_PRUNE_SECONDS = 60.0


class Routes(Protocol):
    """Some of the endpoints."""

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""


class Server:
    """The parts that every sequencer has. ``name`` is what it is called in messages."""

    def __init__(
        self,
        name: str,
        data: Path,
        clock: Clock,
        observer: Observer,
        *,
        local: bool,
        keep_leases: bool,
        budget: int | None,
    ) -> None:
        self.name = name
        self.clock = clock
        self.observer = observer
        self.local = local
        self.store = Store(data / f"{name}.sqlite3")
        observers = [observer]
        try:
            self.dispatcher = Dispatcher(self.store, clock, observers)
            self.results = Results(data / "media", self.store.db, budget)
            self.incoming = Incoming(data / "incoming")
            self.images = Images(data / "inputs", self.store.db)
            self.inputs = Inputs(
                self.store, self.dispatcher, self.images, self.results, self.incoming, clock, local=local
            )
            observers.append(self.inputs)
        except BaseException:
            self.store.close()
            raise
        self.app = web.Application()
        self.preview: PreviewMiner | None = None
        self._keep_leases = keep_leases
        self._pruning: Timer | None = None

    def answer(self, routes: Sequence[Routes]) -> None:
        """Make the application of these routes."""
        self.app = web.Application(client_max_size=_MAX_BODY, middlewares=[answering_in_json(self.name)])
        for each in routes:
            self.app.add_routes(each.routes())

    def start(self) -> None:
        """Take up what an earlier process left."""
        for work in self.dispatcher.load(keep_leases=self._keep_leases):
            self.inputs.bring(work)
        if self.preview is not None:
            self.preview.start()
        self._prune()

    def stop_waiting(self) -> None:
        """Let the long polls end, so that they do not hold up the end."""
        self.dispatcher.stop()

    async def close(self) -> None:
        """End all work. The store stays open."""
        if self._pruning is not None:
            self._pruning.cancel()
        await self.inputs.close()
        if self.preview is not None:
            await self.preview.close()

    def _prune(self) -> None:
        try:
            now = self.clock.time()
            self.results.prune(now)
            self.images.prune(now)
            self.inputs.prune()
            self.store.prune(now)
        except Exception:
            logger.exception("Old files could not be removed")
        self._pruning = self.clock.call_later(_PRUNE_SECONDS, self._prune)
