"""Serving a sequencer: store, dispatcher, miners and routes together."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from ..errors import ConfigurationError
from .assembly import sandbox, sequencer
from .clock import Clock
from .folder_lock import FolderLock, unusable
from .options import Options, SequencerOptions
from .server import Server

# The server prints nothing. To see its log, set up logging.
logger = logging.getLogger("xalora_client.sequencer")
logger.addHandler(logging.NullHandler())

_GOODBYE_SECONDS = 1.0
"""How long open requests and downloads may continue when the server stops."""


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
    requests are answered. ``data`` is the folder for tasks and media: its tasks can be queried, and unfinished ones go
    on.

    Raises ConfigurationError when the address cannot be listened on, needs keys, or another server uses the folder, and
    StorageError when the folder cannot be written.
    """
    name = "sandbox"
    if isinstance(options, SequencerOptions):
        options.check_host(host)
        name = "sequencer"
    with FolderLock(Path(data), name) as lock:
        await serve_locked(host, port, lock, options or Options(), on_ready, clock)


async def serve_locked(
    host: str,
    port: int,
    lock: FolderLock,
    options: Options | SequencerOptions,
    on_ready: Callable[[str], object],
    clock: Clock | None = None,
) -> None:
    """As ``serve``, for a folder whose lock is already held."""
    try:
        server = _build(lock, options, clock or Clock())
    except (OSError, sqlite3.Error) as error:
        raise unusable(lock.data, error, lock.name) from error
    try:
        runner = web.AppRunner(server.app, access_log=None, logger=logger, shutdown_timeout=_GOODBYE_SECONDS)
        try:
            await runner.setup()
            # Before the first request can arrive, so that its task is not queued twice.
            server.start()
            try:
                await web.TCPSite(runner, host, port).start()
            except (OSError, OverflowError) as error:
                raise ConfigurationError(
                    f"The {server.name} cannot listen on {host}:{port}: {error}", advice="Choose another port."
                ) from error
            real_port = runner.addresses[0][1]
            shown_host = f"[{host}]" if ":" in host else host
            lock.publish(f"http://{_reachable(shown_host)}:{real_port}")
            on_ready(f"http://{shown_host}:{real_port}")
            await asyncio.Event().wait()
        finally:
            server.stop_waiting()
            await runner.cleanup()
            await server.close()
    finally:
        server.store.close()


def _build(lock: FolderLock, options: Options | SequencerOptions, clock: Clock) -> Server:
    if isinstance(options, SequencerOptions):
        return sequencer(lock.data, lock.instance, options, clock)
    return sandbox(lock.data, lock.instance, options, clock)


def _reachable(host: str) -> str:
    """Return the address to call from this machine: "all interfaces" cannot be called."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - nothing is bound here
