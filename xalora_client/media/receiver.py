"""The receiving end of a download: takes the bytes, counts them, and knows how to ask for the rest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import DownloadError, StorageError
from ..protocol.answers import read_retry_after
from ..protocol.requests import Response
from .decoding.limits import Limits


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is.

    Attributes:
        received: Bytes so far.
        total: Bytes in all, or None where the server does not say.
    """

    received: int
    total: int | None


OnProgress = Callable[[DownloadProgress], object]


class BrokenOffError(DownloadError):
    """The file is not complete; asking again may help."""

    transient = True

    def __init__(self, what: str, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class GoneError(DownloadError):
    """The link has expired, or the file is gone."""

    code = "link_expired"


class Receiver:
    """Takes the bytes, counts them, and knows how to ask for the rest."""

    def __init__(self, path: Path, task_id: str, limits: Limits, on_progress: OnProgress | None) -> None:
        self.path = path
        self.task_id = task_id
        self.limits = limits
        self.on_progress = on_progress
        try:
            self.file = path.open("wb")
        except OSError as error:
            raise unwritable(path.parent, error) from error
        self.digest = hashlib.sha256()
        self.received = 0
        self.total: int | None = None
        self.tag: str | None = None

    def request_headers(self) -> dict[str, str]:
        """Ask for the rest of the same file; a changed one comes whole (RFC 9110, If-Range)."""
        if not self.received or self.tag is None:
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": self.tag}

    def open(self, status: int, headers: Mapping[str, str]) -> Callable[[bytes], object] | None:
        """Take the body of a good answer; leave the body of an error to the caller."""
        coded = "content-encoding" in headers
        said = headers.get("etag", "")
        # A weak tag does not promise the same bytes; a range of coded bytes is of no use here.
        tag = said if said.startswith('"') and not coded else None
        if status == 200:
            self._restart()
            self.total = _length(headers)
        elif status == 206:
            part = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", headers.get("content-range", ""))
            if coded or part is None or int(part[1]) != self.received or (self.received and tag != self.tag):
                # This is not the rest of the file, so ask for all of it.
                self.tag = None
                raise BrokenOffError("The file server sent a different part of the file than requested")
            if part[2] != "*":
                self.total = int(part[2])
        else:
            return None
        self.tag = tag
        self.limits.check_bytes(self.total or 0, "The download")
        return self._take

    def check_complete(self, response: Response) -> None:
        """Raise unless the answer was good and every byte arrived."""
        if response.status == 416 and self.request_headers():
            # Perhaps all bytes are here and only the end of the answer was lost: ask for the whole file.
            self.tag = None
            raise BrokenOffError("The file server has no more bytes of the file")
        if response.status not in (200, 206):
            raise _refused(response)
        if self.total is not None and self.received != self.total:
            raise BrokenOffError(f"{self.received} of {self.total} bytes arrived")
        if not self.received:
            raise BrokenOffError("The file is empty")

    def finish(self) -> None:
        """Write what is still buffered, and close the file."""
        try:
            self.file.close()
        except OSError as error:
            raise unwritable(self.path.parent, error) from error

    def discard(self) -> None:
        """Close the file, and delete it if it is not complete."""
        with suppress(OSError):  # On a full disk, closing tries again to write what is buffered.
            self.file.close()
        with suppress(OSError):  # Windows keeps a file that another program is reading.
            self.path.unlink(missing_ok=True)

    def _restart(self) -> None:
        try:
            self.file.seek(0)
            self.file.truncate()
        except OSError as error:
            raise unwritable(self.path.parent, error) from error
        self.digest = hashlib.sha256()
        self.received = 0

    def _take(self, chunk: bytes) -> None:
        self.received += len(chunk)
        self.limits.check_bytes(self.received, "The download")
        try:
            self.file.write(chunk)
        except OSError as error:
            raise unwritable(self.path.parent, error) from error
        self.digest.update(chunk)
        if self.on_progress is not None:
            self.on_progress(DownloadProgress(self.received, self.total))


def unwritable(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"The download cannot be written to {folder}: {error.strerror}",
        advice="Free some space or make the folder writable, then fetch the task again; nothing is charged again.",
    )


def _refused(response: Response) -> DownloadError:
    if response.status in (408, 425, 429) or response.status >= 500:
        return BrokenOffError(f"The file server answered {response.status}", read_retry_after(response))
    if response.status in (401, 403, 404, 410):
        return GoneError(f"The file server answered {response.status}: the link has expired or the file is gone")
    return DownloadError(f"The file server answered {response.status}")


def _length(headers: Mapping[str, str]) -> int | None:
    value = headers.get("content-length", "")
    known = value.isascii() and value.isdigit() and len(value) <= 18
    # With a content coding, the length is that of the coded bytes.
    return int(value) if known and "content-encoding" not in headers else None
