"""Serving a sequencer: store, workers and routes together."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from ..errors import ConfigurationError
from ..protocol.requests import Credentials
from .folder_lock import FolderLock, unusable
from .options import Options
from .routes import Routes
from .task_store import TaskStore
from .workers import Workers

# The sandbox prints nothing. To see its log, set up logging.
logger = logging.getLogger("xalora_client.sandbox")
logger.addHandler(logging.NullHandler())

_GOODBYE_SECONDS = 1.0
"""How long open requests and downloads may continue when the sandbox stops."""


async def serve(
    host: str,
    port: int,
    data: Path,
    options: Options | None = None,
    *,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the sandbox at ``host``:``port`` until this coroutine is canceled. Prints nothing.

    Port 0 means any free port; ``on_ready`` is called with the real URL, ``http://host:port``. ``data`` is the folder
    for tasks and media: its tasks can be queried, and unfinished ones are rendered.

    Raises ConfigurationError when the address cannot be listened on or another sandbox serves the folder, and
    StorageError when the folder cannot be written.
    """
    with FolderLock(Path(data)) as lock:
        await serve_locked(host, port, lock, options or Options(), on_ready)


async def serve_locked(
    host: str, port: int, lock: FolderLock, options: Options, on_ready: Callable[[str], None]
) -> None:
    """As ``serve``, for a folder whose lock is already held."""
    try:
        store = TaskStore(lock.data)
    except sqlite3.Error as error:
        raise unusable(lock.data, error) from error
    try:
        try:
            pool = Workers(store, lock.data, options)
        except OSError as error:
            raise unusable(lock.data, error) from error
        required = None if options.api_key is None else Credentials.parse(options.api_key)
        app = Routes(store, pool, instance=lock.instance, required=required).app()
        runner = web.AppRunner(app, access_log=None, logger=logger, shutdown_timeout=_GOODBYE_SECONDS)
        try:
            await runner.setup()
            # Before the first request can arrive, so that its task is not queued twice.
            for task_id in store.requeue():
                pool.submit(task_id)
            try:
                await web.TCPSite(runner, host, port).start()
            except (OSError, OverflowError) as error:
                raise ConfigurationError(
                    f"The sandbox cannot listen on {host}:{port}: {error}", advice="Choose another port."
                ) from error
            real_port = runner.addresses[0][1]
            shown_host = f"[{host}]" if ":" in host else host
            lock.publish(f"http://{_reachable(shown_host)}:{real_port}")
            on_ready(f"http://{shown_host}:{real_port}")
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
            await pool.close()
    finally:
        store.close()


def _reachable(host: str) -> str:
    """Return the address to call from this machine: "all interfaces" cannot be called."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - nothing is bound here
