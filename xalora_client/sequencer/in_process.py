"""The sandbox inside this process, for ``XALORA_WORKFLOW_URL=sandbox``."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

from ..errors import ConfigurationError
from ..threads import loop_thread
from .folder_lock import FolderInUseError, FolderLock, last_port, url_of_owner
from .options import Options

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_PATIENCE_SECONDS = 10.0
_STOPPING_SECONDS = 5.0

_lock = threading.Lock()
_servers: dict[Path, _Server] = {}


def local_sandbox(data: Path, options: Options | None = None) -> str:
    """Return the URL of a sandbox for the data folder on 127.0.0.1, starting one in a thread where none runs.

    There is one per folder, across all processes of this machine. A later call, or another process, gets the URL of
    the one that runs, whose options do not change. It ends with its process. The next one continues unfinished tasks,
    on the same port if that is free.

    Blocks until the sandbox answers, well under a second. Raises StorageError when the folder cannot be written.
    """
    data = Path(data).resolve()
    with _lock:
        running = _servers.get(data)
        if running is not None and running.is_alive():
            return running.url
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                lock = FolderLock(data)
            except FolderInUseError as error:
                url = url_of_owner(data)
                if url is not None:
                    return url
                # Its owner is starting or stopping: try again.
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"Another process uses the data folder {data}, but no sandbox answers there",
                        advice="Stop that process, or choose another folder.",
                    ) from error
                time.sleep(0.02)
            else:
                _servers[data] = _Server(lock, options or Options())
                return _servers[data].url


def close_local_sandboxes() -> None:
    """Stop the sandboxes that ``local_sandbox`` started in this process. At exit this happens automatically."""
    with _lock:
        for server in _servers.values():
            server.stop()
        _servers.clear()


atexit.register(close_local_sandboxes)


def _port_of_last(data: Path) -> int:
    """The port of the folder's last sandbox, where clients and addresses of results expect it; 0 if it is taken."""
    port = last_port(data)
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
        try:
            trial.bind((_HOST, port))
        except OSError:
            return 0
    return port


class _Server:
    """A sandbox in a daemon thread, where its event loop is made and runs. ``url`` is where it answers."""

    def __init__(self, lock: FolderLock, options: Options) -> None:
        self._ready: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._thread = loop_thread(lambda: self._run(lock, options), "xalora-sandbox")
        self._thread.start()
        self.url = self._ready.result()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(_STOPPING_SECONDS)

    def _run(self, lock: FolderLock, options: Options) -> None:
        # asyncio.run would start a thread to wait for other threads, which is not allowed at exit.
        try:
            from .app import serve_locked  # slow to import, and not needed with a real sequencer

            with closing(asyncio.new_event_loop()) as self._loop:
                serving = serve_locked(_HOST, _port_of_last(lock.data), lock, options, self._ready.set_result)
                self._serving = self._loop.create_task(serving)
                self._loop.run_until_complete(self._serving)
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - raised again where the URL is awaited, or logged
            if self._ready.done():
                logger.error("The sandbox has ended: %s", error)
            else:
                self._ready.set_exception(error)
        finally:
            lock.close()
