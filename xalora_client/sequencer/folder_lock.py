"""One sandbox or sequencer per data folder, across all processes: which one serves it, and where."""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError, StorageError
from ..storage import files
from ..storage.file_locks import FileSystemError, ProcessLock
from ..storage.sqlite_file import is_busy, is_damage

_ANSWER_SECONDS = 2.0
_RENEW_SECONDS = 1.0


class FolderInUseError(ConfigurationError):
    """Another sequencer, in this or another process, serves the data folder."""


class FolderLock:
    """The right to serve a data folder, until ``close`` or the end of the process, even if it is killed.

    ``name`` is what the server is called in messages.

    Raises FolderInUseError when another server has it, and StorageError when the folder cannot be made or written.
    """

    def __init__(self, data: Path, name: str = "sandbox") -> None:
        self.data = data
        self.name = name
        self.instance: str = secrets.token_hex(8)
        try:
            self._lock = self._acquire()
            if name == "sequencer":  # An older one may be open to others, and what is in it as well.
                data.chmod(0o700)
        except OSError as error:
            raise unusable(data, error, name) from error

    def _acquire(self) -> ProcessLock:
        lock = ProcessLock.acquire(self.data / "lock")
        if lock is None:
            raise FolderInUseError(
                f"Another {self.name} uses the data folder {self.data}",
                advice="Use that one, stop it, or choose another folder.",
            )
        return lock

    async def renew(self) -> None:
        """Make the lock again whenever its file was deleted. Raises FolderInUseError once another server has it."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            with suppress(OSError):
                if self.data.is_dir() and not self._lock.is_present():
                    self._lock = self._acquire()

    def publish(self, url: str) -> None:
        """Write the URL of this sandbox for other processes."""
        new = self.data / "url.new"
        try:
            new.write_text(json.dumps({"url": url, "instance": self.instance}), encoding="utf-8")
            files.replace(new, self.data / "url")
        except OSError as error:
            raise unusable(self.data, error, self.name) from error

    def close(self) -> None:
        """Let others serve the folder."""
        self._lock.release()


def unusable(data: Path, error: Exception, name: str) -> StorageError:
    """Return the error for a data folder that cannot be made, read or written."""
    advice = "Choose one that can be written."
    if is_damage(error) and name == "sequencer":
        advice = f"Save what can be read with `xalora sequencer --data {data} --recover`, or put a backup in its place."
    elif is_damage(error):
        advice = f"Remove {name}.sqlite3 there, or choose another one."
    elif isinstance(error, FileSystemError):
        advice = "Choose one on a disk of this machine."
    elif is_busy(error):
        advice = "Close the program that keeps it locked, and start this again."
    reason = error.strerror if isinstance(error, FileSystemError) else error
    return StorageError(f"The {name} cannot use the data folder {data}: {reason}", advice=advice)


def url_of_owner(data: Path) -> str | None:
    """Return the URL of the live sandbox that serves the folder; None if it cannot be reached.

    The file alone proves nothing: its writer may be dead and its port reused. So the sandbox itself is asked.
    """
    try:
        written = _published(data)
        url = str(written["url"])
        with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=_ANSWER_SECONDS)) as connection:
            connection.request("GET", "/")
            answer = json.loads(connection.getresponse().read())
        return url if answer["instance"] == written["instance"] else None
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None


def last_port(data: Path) -> int:
    """Return the port of the sandbox that serves the folder, or served it last. 0 if that is not known."""
    try:
        return urlsplit(str(_published(data)["url"])).port or 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _published(data: Path) -> Any:
    return json.loads((data / "url").read_text(encoding="utf-8"))
