"""Puts a sequencer together: the same parts for the sandbox, whose miner is the preview, and for miners over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..protocol.requests import Credentials
from ..workflows import read_folder
from .catalog import Catalog, PreviewCatalog
from .clock import Clock
from .common_routes import CommonRoutes
from .consumer_routes import ConsumerRoutes
from .http import PUBLIC_URL, Keys
from .image_routes import ImageRoutes
from .metrics import Metrics
from .miner_files import MinerFiles
from .miner_routes import MinerRoutes
from .observer import Observer
from .offer_catalog import OfferCatalog
from .offers import Offers
from .options import Options, SequencerOptions
from .page import Page
from .preview.miner import PreviewMiner
from .registry import Registry
from .server import Routes, Server
from .work import Workflow


def sandbox(data: Path, instance: str, options: Options, clock: Clock) -> Server:
    """The sandbox. Raises OSError and sqlite3.Error."""
    server = Server("sandbox", data, clock, Observer(), local=True, keep_leases=False, budget=None)
    try:
        server.preview = PreviewMiner(
            server.store, server.dispatcher, server.results, server.inputs.folder, data / "rendering", clock, options
        )
    except BaseException:
        server.store.close()
        raise
    keys = Keys(() if options.api_key is None else (Credentials.parse(options.api_key),))
    server.answer(_common(server, keys, PreviewCatalog(), instance, None))
    return server


def sequencer(data: Path, instance: str, options: SequencerOptions, clock: Clock) -> Server:
    """A sequencer for miners. Raises OSError, sqlite3.Error, and ConfigurationError for its folder of workflows."""
    files = [] if options.workflows is None else read_folder(options.workflows)
    metrics = Metrics()
    server = Server(
        "sequencer",
        data,
        clock,
        metrics,
        local=options.allow_private_images,
        keep_leases=True,
        budget=options.result_bytes,
    )
    try:
        store, dispatcher = server.store, server.dispatcher
        metrics.attach(dispatcher, clock)
        named = [Workflow(each.task_type, each.workflow_id) for each in files]
        offers = Offers(store.db, named, clock.time())
        registry = Registry(dispatcher, offers, store, clock)
        miners = MinerRoutes(
            store,
            dispatcher,
            registry,
            server.results,
            clock,
            miner_key=options.miner_key,
            workflow_files={each.file.name: dict(each.nodes) for each in files},
        )
        miner_files = MinerFiles(store, dispatcher, server.inputs, server.results, server.incoming, clock)
        keys = Keys(tuple(map(Credentials.parse, options.api_keys)))
        catalog = OfferCatalog(offers, dispatcher, clock)
        common = _common(server, keys, catalog, instance, Page(store, dispatcher, clock).html)
        server.answer([*common, miners, miner_files, metrics])
        if options.public_url is not None:
            server.app[PUBLIC_URL] = options.public_url.rstrip("/")
    except BaseException:
        server.store.close()
        raise
    return server


def _common(
    server: Server, keys: Keys, catalog: Catalog, instance: str, page: Callable[[], str] | None
) -> list[Routes]:
    consumers = ConsumerRoutes(
        server.store,
        server.dispatcher,
        server.inputs,
        catalog,
        keys,
        server.clock,
        server.observer,
        place=server.name,
        local=server.local,
    )
    common = CommonRoutes(server.store, server.results, service=f"Xalora {server.name}", instance=instance, page=page)
    uploads = ImageRoutes(server.store, server.images, server.incoming, keys, server.clock)
    return [common, consumers, uploads]
