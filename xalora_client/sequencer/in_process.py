"""One sandbox or sequencer per data folder, across all processes; and the sandbox inside this process.

The second is for ``XALORA_WORKFLOW_URL=sandbox``.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import http.client
import json
import secrets
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ConfigurationError, StorageError
from ..files import ProcessLock
from .options import Options

_ANSWER_SECONDS = 2.0
_PATIENCE_SECONDS = 10.0
_STOPPING_SECONDS = 5.0

_guard = threading.Lock()
_servers: dict[Path, _Server] = {}


class FolderInUseError(ConfigurationError):
    """Another sequencer, in this or another process, serves the data folder."""


class FolderLock:
    """The right to serve a data folder, held until ``release`` or the end of the process, even if it is killed.

    ``name`` is what the server is called in messages.

    Raises FolderInUseError when another holds it, and StorageError when the folder cannot be made or written.
    """

    def __init__(self, data: Path, name: str = "sandbox") -> None:
        self.data = data
        self.name = name
        self.instance = secrets.token_hex(8)
        try:
            lock = ProcessLock.acquire(data / "lock")
        except OSError as error:
            raise unusable(data, error, name) from error
        if lock is None:
            raise FolderInUseError(
                f"Another {name} uses the data folder {data}",
                advice="Use that one, stop it, or choose another folder.",
            )
        self._lock = lock

    def publish(self, url: str) -> None:
        """Write the URL of this sandbox for other processes."""
        fresh = self.data / "url.new"
        try:
            fresh.write_text(json.dumps({"url": url, "instance": self.instance}), encoding="utf-8")
            fresh.replace(self.data / "url")
        except OSError as error:
            raise unusable(self.data, error, self.name) from error

    def release(self) -> None:
        """Let others serve the folder."""
        self._lock.release()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def unusable(data: Path, error: Exception, name: str) -> StorageError:
    """Return the error for a data folder that cannot be made, read or written."""
    return StorageError(
        f"The {name} cannot use the data folder {data}: {error}", advice="Choose one that can be written."
    )


def url_of_owner(data: Path) -> str | None:
    """Return the URL of the live sandbox that serves the folder; None if it cannot be reached.

    The file alone is no proof: its writer may be dead and its port reused. So the sandbox itself is asked.
    """
    try:
        written = json.loads((data / "url").read_text(encoding="utf-8"))
        url = str(written["url"])
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", "/")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return url if answer["instance"] == written["instance"] else None
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None


def local_sandbox(data: Path, options: Options | None = None) -> str:
    """Return the URL of a sandbox for the data folder on 127.0.0.1, starting one in a thread where none runs.

    There is one per folder, across all processes of this machine. A later call, or another process, gets the URL of
    the one that runs, whose options do not change. It ends with its process, and the next one continues unfinished
    tasks.

    Blocks until the sandbox answers, well under a second. Raises StorageError when the folder cannot be
    written.
    """
    data = Path(data).resolve()
    with _guard:
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
                # Its owner is starting or stopping: look again.
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
    with _guard:
        for server in _servers.values():
            server.stop()
        _servers.clear()


atexit.register(close_local_sandboxes)


class _Server:
    """A sandbox in a daemon thread with its own event loop. ``url`` is where it answers."""

    def __init__(self, lock: FolderLock, options: Options) -> None:

        from .app import serve_locked  # slow to import, and not needed with a real sequencer

        self._loop = asyncio.new_event_loop()
        self._ready: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._serving = self._loop.create_task(serve_locked("127.0.0.1", 0, lock, options, self._ready.set_result))
        self._thread = threading.Thread(target=self._run, args=(lock,), name="xalora-sandbox", daemon=True)
        self._thread.start()
        self.url = self._ready.result()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(_STOPPING_SECONDS)

    def _run(self, lock: FolderLock) -> None:
        # asyncio.run would start a thread to wait for other threads, which is not allowed at exit.
        try:
            self._loop.run_until_complete(self._serving)
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - it is raised again where the URL is awaited
            self._ready.set_exception(error)
        finally:
            self._loop.close()
            lock.release()
