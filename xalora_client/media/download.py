"""Fetching a finished result: streamed to disk, resumed where it broke off, checked before it counts."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from .. import policy
from ..effects import Call, Fetch, Flow, Sleep
from ..errors import DecodeError, DownloadError, XaloraError
from ..exchange import Context, logger, note
from ..flows import query
from ..ledger import Ledger
from ..results import TaskStatus, WorkflowTaskResult
from ..wire import Response, read_retry_after
from .inspect import MediaInfo, inspect
from .limits import Limits
from .store import MediaStore

LONGEST_SILENCE = 30.0
"""Seconds without a byte after which a download is taken up again."""

TRIES_WITHOUT_PROGRESS = 6
MOST_REDIRECTS = 5


@dataclass(frozen=True)
class DownloadProgress:
    """Bytes so far, and in all where the server says (else None)."""

    received: int
    total: int | None


OnProgress = Callable[[DownloadProgress], object]


@dataclass(frozen=True)
class MediaFile:
    """A result on disk: where, what its bytes are, and what they show."""

    path: Path
    sha256: str
    size: int
    info: MediaInfo


def download(
    context: Context,
    result: WorkflowTaskResult,
    store: MediaStore,
    limits: Limits,
    on_progress: OnProgress | None = None,
) -> Flow[MediaFile]:
    """Fetch a finished task's media into the store.

    Raises DownloadError when there is nothing to fetch or it cannot be had whole, MediaTooLargeError when a limit
    would be passed, DecodeError when the bytes are no media; such a file is kept and named in the error.
    """
    if result.status != TaskStatus.FINISHED or result.media_url is None:
        raise DownloadError(
            f"There is no media to download, the task is {result.status} and its result is {result.result!r:.100}",
            task_id=result.task_id,
            advice="Wait until the task is finished; if it is, ask support with its id.",
        )
    task_id = result.task_id
    kept: MediaFile | None = yield from _kept(context, task_id, store, limits)
    if kept is not None:
        return kept
    receiver = _Receiver(store.incoming(), task_id, limits, on_progress)
    try:
        try:
            yield from _receive(context, result.media_url, receiver)
        except _GoneError:
            fresh = yield from query(context, task_id)  # Links expire; the sequencer may give another.
            if fresh.media_url in (None, result.media_url):
                raise
            yield from _receive(context, str(fresh.media_url), receiver)
        file: MediaFile = yield Call(lambda: _accept(receiver, store))
    except XaloraError as error:
        error.task_id = error.task_id or task_id
        raise
    finally:
        receiver.discard()
    extension = file.info.format.extension
    yield from note(
        context, lambda ledger: ledger.stored(task_id, file.sha256, extension, file.size, server=context.server)
    )
    return file


def _kept(context: Context, task_id: str, store: MediaStore, limits: Limits) -> Flow[MediaFile | None]:
    """The file of an earlier download, if the ledger knows of one and its bytes are still right."""
    found: list[MediaFile] = []

    def look(ledger: Ledger) -> None:
        entry = ledger.find(task_id, server=context.server)
        if entry is not None and entry.sha256 is not None and entry.extension is not None:
            path = store.find(entry.sha256, entry.extension)
            if path is not None:
                found.append(MediaFile(path, entry.sha256, path.stat().st_size, inspect(path, limits)))

    yield from note(context, look)
    return found[0] if found else None


def _receive(context: Context, url: str, receiver: _Receiver) -> Flow[None]:
    """Follow redirects and go on after breaks until the file is whole."""
    delays = policy.backoff_delays(context.dice)
    redirects = tries = 0
    while True:
        before = receiver.received
        try:
            response: Response = yield Fetch(url, receiver.request_headers(), receiver.open, LONGEST_SILENCE)
            if 300 <= response.status < 400 and "location" in response.headers:
                redirects += 1
                url = _redirected(url, response.headers["location"], redirects)
                continue
            receiver.check_complete(response)
            return
        except DownloadError as error:
            if not isinstance(error, _BrokenOffError):
                raise
            trouble: XaloraError = error
            wait = error.retry_after or 0.0
        except XaloraError as error:
            if not policy.is_transient(error):
                raise
            trouble, wait = error, 0.0
        if receiver.received > before:
            tries, delays = 0, policy.backoff_delays(context.dice)
        tries += 1
        if tries >= TRIES_WITHOUT_PROGRESS:
            raise DownloadError(f"The download broke off {tries} times: {trouble.what}") from trouble
        logger.info("The download of %s goes on after a break: %s", _shown(url), trouble.what)
        yield Sleep(max(next(delays), wait))


class _BrokenOffError(DownloadError):
    """Not whole, but asking again may help."""

    retry_after: float | None = None


class _GoneError(DownloadError):
    """The link leads nowhere any more."""

    advice = (
        "If fetching the task again does not help, the result can only be made anew, and paid for again: "
        "that is for you to decide, by running the task with reuse off."
    )


class _Receiver:
    """Takes the bytes, knows how far they are, and how to ask for the rest."""

    def __init__(self, path: Path, task_id: str, limits: Limits, on_progress: OnProgress | None) -> None:
        self.path = path
        self.task_id = task_id
        self.limits = limits
        self.on_progress = on_progress
        self.file = path.open("wb")
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
        """Take the body of a good answer; leave an error's to the caller."""
        length = _length(headers)
        if status == 200:
            self._restart()
            self.total = length
        elif status != 206 or not headers.get("content-range", "").startswith(f"bytes {self.received}-"):
            return None
        tag = headers.get("etag", "")
        self.tag = tag if tag.startswith('"') else None  # A weak tag does not promise the same bytes.
        self.limits.check_bytes(self.total or 0, "The download")
        return self._take

    def check_complete(self, response: Response) -> None:
        """Raise unless the answer was good and every byte is there."""
        if response.status not in (200, 206):
            raise _refused(response)
        if self.total is not None and self.received != self.total:
            raise _BrokenOffError(f"{self.received} of {self.total} bytes arrived")
        if not self.received:
            raise _BrokenOffError("The file is empty")

    def finish(self) -> None:
        """Put the bytes safely on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def discard(self) -> None:
        """Close, and delete what was not moved to its place."""
        self.file.close()
        self.path.unlink(missing_ok=True)

    def _restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.digest = hashlib.sha256()
        self.received = 0

    def _take(self, chunk: bytes) -> None:
        self.received += len(chunk)
        self.limits.check_bytes(self.received, "The download")
        try:
            self.file.write(chunk)
        except OSError as error:
            raise DownloadError(
                f"The download cannot be written to {self.path.parent}: {error.strerror}",
                advice="Free some space, then fetch the task again; nothing is charged twice.",
            ) from error
        self.digest.update(chunk)
        if self.on_progress is not None:
            self.on_progress(DownloadProgress(self.received, self.total))


def _accept(receiver: _Receiver, store: MediaStore) -> MediaFile:
    """Look at the bytes, and give them their place."""
    receiver.finish()
    try:
        info = inspect(receiver.path, receiver.limits)
    except DecodeError as error:
        kept = store.reject(receiver.path, f"{receiver.task_id}.bin")
        error.advice = error.advice.replace(str(receiver.path), str(kept))
        error.path = kept
        raise
    sha256 = receiver.digest.hexdigest()
    path = store.adopt(receiver.path, sha256, info.format.extension)
    return MediaFile(path, sha256, receiver.received, replace(info, path=path))


def _refused(response: Response) -> DownloadError:
    if response.status in (408, 429) or response.status >= 500:
        broken = _BrokenOffError(f"The file server answered {response.status}")
        broken.retry_after = read_retry_after(response)
        return broken
    if response.status in (401, 403, 404, 410):
        return _GoneError(f"The file server answered {response.status}: the link has expired or the file is gone")
    return DownloadError(f"The file server answered {response.status}")


def _length(headers: Mapping[str, str]) -> int | None:
    value = headers.get("content-length", "")
    # With a content coding, the length is that of the coded bytes.
    return int(value) if value.isascii() and value.isdigit() and "content-encoding" not in headers else None


def _redirected(url: str, location: str, count: int) -> str:
    """Where a redirect leads, or DownloadError where it may not lead: it is the server's word, not the user's."""
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    if count > MOST_REDIRECTS:
        raise DownloadError(f"The download was redirected more than {MOST_REDIRECTS} times")
    if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
        raise DownloadError(f"The download was redirected to an unsafe address, {_shown(target)}")
    if _is_local(new.hostname) and not _is_local(old.hostname):
        raise DownloadError(f"The download was redirected into a private network, {_shown(target)}")
    return target


def _is_local(host: str | None) -> bool:
    if not host or host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _shown(url: str) -> str:
    """The address without its query, which may be signed."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"
