"""A sequencer or a sandbox, put together and served: the same parts, with miners over HTTP or the preview miner."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from weakref import WeakValueDictionary

from aiohttp import web

from ..errors import ConfigurationError
from ..protocol.requests import Credentials
from ..workflows import read_folder
from .api.bodies import PUBLIC_URL, TRUSTED_PROXIES, answering_in_json, checking_callers
from .api.connections import IDLE_SECONDS, AnswersSent, Connections, Site, most_connections
from .api.consumers import ConsumerRoutes, read_task, read_workflow
from .api.files import ImageUploads, MediaRoutes, MinerFiles
from .api.json_body import LARGE_BODIES
from .api.keys import ConsumerKeys, MinerKeys
from .api.miners import MinerRoutes
from .api.overview import Dashboard, Metrics
from .clock import Clock
from .database import Database
from .file_store import Images, Incoming
from .folder_lock import FolderLock, unusable
from .inputs import Inputs
from .options import MOST_WAITING, Options, SequencerOptions, is_loopback
from .preview_miner import PreviewMiner, any_workflow, preview_workflows, read_known_task
from .queue import TaskQueue
from .values import StoreError

# The server prints nothing. To see its log, set up logging.
logger = logging.getLogger("xalora_client.sequencer")
logger.addHandler(logging.NullHandler())

_SHUTDOWN_SECONDS = 1.0
"""How long open requests and downloads may continue when the server stops."""

_PRUNE_SECONDS = 60.0

_THREADS = 64
"""More than lookups of names can take (``inputs.AT_ONCE``): else the disk would wait for those that take long."""


async def serve(
    host: str,
    port: int,
    data: Path,
    options: Options | SequencerOptions | None = None,
    *,
    on_ready: Callable[[str], object] = lambda url: None,
    clock: Clock | None = None,
) -> None:
    """Serve at ``host``:``port`` until this coroutine is canceled. Prints nothing.

    With ``SequencerOptions`` it is a sequencer that hands tasks to miners over HTTP; else the sandbox, which renders
    previews itself. Port 0 means any free port; ``on_ready`` is called with the real URL, ``http://host:port``, once
    requests are answered. ``data`` is the folder for tasks and media: its tasks can be queried, and unfinished ones
    continue.

    Raises ConfigurationError when the server cannot listen on the address, needs keys there, or another server uses the
    folder, and StorageError when the folder cannot be written.
    """
    name = "sandbox"
    if isinstance(options, SequencerOptions):
        options.check_host(host)
        name = "sequencer"
    with closing(FolderLock(Path(data), name)) as lock:
        await serve_locked(host, port, lock, options or Options(), on_ready, clock)


async def serve_locked(
    host: str,
    port: int,
    lock: FolderLock,
    options: Options | SequencerOptions,
    on_ready: Callable[[str], object],
    clock: Clock | None = None,
) -> None:
    """As ``serve``, for a folder that is locked already."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    with ExitStack() as stack:
        try:
            # Making a new file waits for the disk several times.
            opened = await asyncio.to_thread(Database, lock.data / f"{lock.name}.sqlite3")
            database = stack.enter_context(closing(opened))
            server = _Server(lock, database, options, clock or Clock(), any_address=not is_loopback(host))
        except (OSError, sqlite3.Error, StoreError) as error:
            raise unusable(lock.data, error, lock.name) from error
        try:
            await server.run(host, port, on_ready)
        finally:
            with suppress(StoreError):
                await database.flush()


class _Server:
    """The parts of a sequencer, or of a sandbox."""

    def __init__(
        self,
        lock: FolderLock,
        database: Database,
        options: Options | SequencerOptions,
        clock: Clock,
        *,
        any_address: bool,
    ) -> None:
        self._lock = lock
        self._database = database
        self._clock = clock
        self._budget: int | None = None
        self._preview: PreviewMiner | None = None
        self._results = lock.data / "media"
        self._results.mkdir(parents=True, exist_ok=True)
        incoming, images = Incoming(lock.data / "incoming"), Images(database, lock.data / "inputs", clock)
        keys, proxies = ConsumerKeys(), tuple[str, ...]()
        if isinstance(options, SequencerOptions):
            keys, proxies = ConsumerKeys(list(map(Credentials.parse, options.api_keys))), options.trusted_proxies
        is_open = not (keys.accepted or (isinstance(options, SequencerOptions) and options.miner_keys))
        check_caller = checking_callers(is_open=is_open, any_address=any_address)
        self._app = web.Application(middlewares=[answering_in_json(lock.name), check_caller])
        self._app[LARGE_BODIES] = WeakValueDictionary()
        self._app[TRUSTED_PROXIES] = [ip_network(proxy, strict=False) for proxy in proxies]
        if isinstance(options, SequencerOptions):
            files = [] if options.workflows is None else read_folder(options.workflows)
            local = options.allow_private_images
            self._budget, most_waiting = options.result_bytes, options.max_waiting
            if options.public_url is not None:
                self._app[PUBLIC_URL] = options.public_url.rstrip("/")
        else:
            files, local, most_waiting = [], True, MOST_WAITING
        workflows = [file.key for file in files]
        self._queue = queue = TaskQueue(database, clock, workflows=workflows, most_waiting=most_waiting)
        self._owners = frozenset(queue.owner(consumer.api_key) for consumer in keys.accepted)
        self._inputs = Inputs(queue, images, self._results, incoming, clock, local)
        consumers = partial(ConsumerRoutes, queue, self._inputs, keys, service=lock.name, local=local)
        routes = [*MediaRoutes(queue, self._results).routes(), *ImageUploads(queue, images, incoming, keys).routes()]
        if isinstance(options, SequencerOptions):
            metrics = Metrics(queue, None if options.metrics_open else options.page_token)
            workflow_files = {file.file.name: dict(file.nodes) for file in files}
            of_queue = partial(read_task, queue), partial(read_workflow, queue), queue.list_workflows
            routes += [
                *Dashboard("Xalora sequencer", lock.instance, queue, options.page_token).routes(),
                *consumers(*of_queue, on_query=metrics.query_answered).routes(),
                *MinerRoutes(queue, MinerKeys(options.miner_keys), workflow_files).routes(),
                *MinerFiles(queue, images.folder, self._results, incoming).routes(),
                *metrics.routes(),
            ]
        else:
            self._preview = PreviewMiner(queue, images.folder, self._results, lock.data / "rendering", options)
            routes += [
                *Dashboard("Xalora sandbox", lock.instance, None).routes(),
                *consumers(read_known_task, any_workflow, preview_workflows).routes(),
            ]
        self._app.add_routes(routes)

    async def run(self, host: str, port: int, on_ready: Callable[[str], object]) -> None:
        """Serve until this coroutine is canceled."""
        runner = web.AppRunner(
            self._app,
            access_log=logger,
            access_log_class=AnswersSent,
            logger=logger,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=1.0,
            auto_decompress=False,
        )
        try:
            await runner.setup()
            # Before the first request can arrive, so that its task is not queued twice.
            await self._queue.start(keep_leases=self._preview is None)
            # Without keys, everybody is let in. Then nobody's key was withdrawn.
            if self._owners and (withdrawn := await self._queue.withdraw_others(self._owners)):
                logger.warning("%d tasks were canceled: the keys of their consumers were withdrawn", withdrawn)
            self._inputs.start()
            if self._preview is not None:
                await self._preview.start()
            try:
                await Site(runner, host, port, Connections(most_connections())).start()
            except (OSError, OverflowError) as error:
                raise ConfigurationError(
                    f"The {self._lock.name} cannot listen on {host}:{port}: {error}", advice="Choose another port."
                ) from error
            real_port = runner.addresses[0][1]
            url_host = f"[{host}]" if ":" in host else host
            # From this machine, "all interfaces" cannot be called.
            reachable = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(url_host, url_host)  # noqa: S104 - not bound
            self._lock.publish(f"http://{reachable}:{real_port}")
            on_ready(f"http://{url_host}:{real_port}")
            serving = [self._prune_forever(), self._database.watch(), self._lock.renew()]
            tasks = [asyncio.ensure_future(each) for each in serving]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self._queue.stop()  # So that long polls do not delay the shutdown.
            await runner.cleanup()
            await self._inputs.close()
            if self._preview is not None:
                await self._preview.close()

    async def _prune_forever(self) -> None:
        while True:
            try:
                await self._queue.forget_old_tasks()
                if self._budget is not None:
                    while files := await self._queue.results_over(self._budget):
                        for file in files:
                            (self._results / file).unlink(missing_ok=True)
                            await self._queue.forget_result(file)
                        await asyncio.sleep(0)
                await self._inputs.prune()
            except Exception:
                logger.exception("Old files could not be removed")
            await self._clock.sleep(_PRUNE_SECONDS)
