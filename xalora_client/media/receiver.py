"""The receiving end of a download: writes the bytes to a file, and resumes after a break."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
        total: Bytes in all, or None where it is unknown.
    """

    received: int
    total: int | None


OnProgress = Callable[[DownloadProgress], object]


class BrokenOffError(DownloadError):
    """The file is not complete; another request may complete it."""

    transient = True

    def __init__(self, what: str, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class GoneError(DownloadError):
    """The link has expired, or the file is gone."""

    code = "link_expired"


class Receiver:
    """Writes a download to a file, however many requests it takes.

    ``received`` and ``digest`` are the number of bytes so far and their SHA-256. Methods that write raise StorageError.
    """

    def __init__(self, path: Path, limits: Limits, on_progress: OnProgress | None) -> None:
        self._path = path
        self._limits = limits
        self._on_progress = on_progress
        with self._disk_errors():
            self._file = path.open("wb")
        self.digest = hashlib.sha256()
        self.received: int = 0
        self._total: int | None = None
        self._etag: str | None = None

    def request_headers(self) -> dict[str, str]:
        """Headers that request the rest of the same file; a changed file is sent whole (RFC 9110, If-Range)."""
        if not self.received or self._etag is None:
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": self._etag}

    def open(self, status: int, headers: Mapping[str, str]) -> Callable[[bytes], object] | None:
        """Return the function that takes the body of a good answer, or None for an error's.

        Raises BrokenOffError for a part of the file that was not requested, and MediaTooLargeError.
        """
        coded = "content-encoding" in headers
        etag = headers.get("etag", "")
        # A weak tag does not promise the same bytes; a range of coded bytes is of no use here.
        strong_etag = etag if etag.startswith('"') and not coded else None
        if status == 200:
            self._restart()
            self._total = None if coded else _length(headers)  # Else it counts the coded bytes.
        elif status == 206:
            part = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", headers.get("content-range", ""))
            if coded or part is None or int(part[1]) != self.received or (self.received and strong_etag != self._etag):
                # This is not the rest of the file, so request all of it.
                self._etag = None
                raise BrokenOffError("The file server sent a different part of the file than requested")
            if part[2] != "*":
                self._total = int(part[2])
        else:
            return None
        self._etag = strong_etag
        self._limits.check_bytes(self._total or 0, "The download")
        return self._write

    def check_complete(self, response: Response) -> None:
        """Raise unless the answer was good and every byte arrived."""
        if response.status == 416 and self.request_headers():
            # Perhaps all bytes are here and only the end of the answer was lost: request the whole file.
            self._etag = None
            raise BrokenOffError("The file server has no more bytes of the file")
        if response.status not in (200, 206):
            raise _status_error(response)
        if self._total is not None and self.received != self._total:
            raise BrokenOffError(f"{self.received} of {self._total} bytes arrived")
        if not self.received:
            raise BrokenOffError("The file is empty")

    def finish(self) -> None:
        """Write what is still buffered, and close the file."""
        with self._disk_errors():
            self._file.close()

    def discard(self) -> None:
        """Close the file, and delete it if it is not complete."""
        with suppress(OSError):  # On a full disk, closing tries again to write what is buffered.
            self._file.close()
        with suppress(OSError):  # Windows keeps a file that another program is reading.
            self._path.unlink(missing_ok=True)

    def _restart(self) -> None:
        with self._disk_errors():
            self._file.seek(0)
            self._file.truncate()
        self.digest = hashlib.sha256()
        self.received = 0

    def _write(self, chunk: bytes) -> None:
        self.received += len(chunk)
        self._limits.check_bytes(self.received, "The download")
        with self._disk_errors():
            self._file.write(chunk)
        self.digest.update(chunk)
        if self._on_progress is not None:
            self._on_progress(DownloadProgress(self.received, self._total))

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"The download cannot be written to {self._path.parent}: {error.strerror}",
                advice="Free some space or make the folder writable, then fetch the task again;"
                " nothing is charged again.",
            ) from error


def _status_error(response: Response) -> DownloadError:
    if response.status in (408, 425, 429) or response.status >= 500:
        return BrokenOffError(f"The file server answered {response.status}", read_retry_after(response))
    if response.status in (401, 403, 404, 410):
        return GoneError(f"The file server answered {response.status}: the link has expired or the file is gone")
    return DownloadError(f"The file server answered {response.status}")


def _length(headers: Mapping[str, str]) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if re.fullmatch("[0-9]{1,18}", value) else None
