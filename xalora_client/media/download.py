"""Fetching a finished result: streamed to disk, resumed where it broke off, checked before it counts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from .. import policy
from ..effects import Call, Fetch, Flow, Sleep
from ..errors import ConfigurationError, DecodeError, DownloadError, XaloraError
from ..exchange import Context, logger, note
from ..flows import query
from ..ledger import Ledger
from ..results import TaskStatus, WorkflowTaskResult
from ..wire import Response
from .inspect import MediaInfo, inspect
from .limits import Limits
from .receiver import BrokenOffError, GoneError, OnProgress, Receiver, unwritable
from .redirects import redirected, shown
from .store import MediaStore

LONGEST_SILENCE = 30.0
"""Seconds without a byte after which a download is taken up again."""

TRIES_WITHOUT_PROGRESS = 6
MOST_REDIRECTS = 5


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
    task_id, url = result.task_id, result.media_url
    kept = yield from _kept(context, task_id, store, limits)
    if isinstance(kept, MediaFile):
        return kept
    if result.status != TaskStatus.FINISHED or url is None:
        raise DownloadError(
            f"There is no media to download, the task is {result.status} and its result is {result.result!r:.100}",
            task_id=result.task_id,
            advice="Wait until the task is finished; if it is, ask support with its id.",
        )
    if kept is _Lost.SINCE:
        with suppress(XaloraError):  # The link is as old as the file was; a younger one is better.
            url = (yield from query(context, task_id)).media_url or url
    receiver = Receiver(store.incoming(), task_id, limits, on_progress)
    try:
        try:
            yield from _receive(context, url, receiver)
        except GoneError:
            fresh = (yield from query(context, task_id)).media_url  # Links expire; there may be another.
            if fresh is None or fresh == url:
                raise
            yield from _receive(context, fresh, receiver)
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


class _Lost(Enum):
    """Why there is no file: it was never here, or is gone or damaged since."""

    NEVER_HERE = "never here"
    SINCE = "since"


def _kept(context: Context, task_id: str, store: MediaStore, limits: Limits) -> Flow[MediaFile | _Lost]:
    """The file of an earlier download, if the ledger knows of one and its bytes are still right."""
    found: list[MediaFile | _Lost] = [_Lost.NEVER_HERE]

    def look(ledger: Ledger) -> None:
        entry = ledger.find(task_id, server=context.server)
        if entry is not None and entry.sha256 is not None and entry.extension is not None:
            found[0] = _Lost.SINCE
            path = store.find(entry.sha256, entry.extension)
            if path is not None:
                found[0] = MediaFile(path, entry.sha256, path.stat().st_size, inspect(path, limits))

    yield from note(context, look)
    return found[0]


def _receive(context: Context, url: str, receiver: Receiver) -> Flow[None]:
    """Follow redirects and go on after breaks until the file is whole."""
    delays = policy.backoff_delays(context.dice)
    redirects = tries = 0
    while True:
        before = receiver.received
        try:
            response: Response = yield Fetch(url, receiver.request_headers(), receiver.open, LONGEST_SILENCE)
            if 300 <= response.status < 400 and "location" in response.headers:
                redirects += 1
                if redirects > MOST_REDIRECTS:
                    raise DownloadError(f"The download was redirected more than {MOST_REDIRECTS} times")
                url = redirected(url, response.headers["location"])
                continue
            receiver.check_complete(response)
            return
        except DownloadError as error:
            if not isinstance(error, BrokenOffError):
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
        logger.info("The download of %s goes on after a break: %s", shown(url), trouble.what)
        yield Sleep(max(next(delays), wait))


def _accept(receiver: Receiver, store: MediaStore) -> MediaFile:
    """Look at the bytes, and give them their place."""
    receiver.finish()
    sha256 = receiver.digest.hexdigest()
    try:
        try:
            info = inspect(receiver.path, receiver.limits)
        except DecodeError as error:
            kept = store.reject(receiver.path, f"{receiver.task_id}.bin")
            error.what = error.what.replace(receiver.path.name, "The downloaded file")
            error.advice = error.advice.replace(str(receiver.path), str(kept))
            error.path = kept
            raise
        path = store.adopt(receiver.path, sha256, info.format.extension)
        _prune(store)
    except OSError as error:
        raise unwritable(store.folder, error) from error
    return MediaFile(path, sha256, receiver.received, replace(info, path=path))


def _prune(store: MediaStore) -> None:
    """Keep the store within its budget. That it cannot be is no reason to withhold what was just downloaded."""
    try:
        store.prune()
    except (ConfigurationError, OSError) as error:
        logger.warning("Old media could not be removed: %s", error)
