"""Downloading a finished result: streamed to disk, resumed where it broke off, checked before it counts."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import (
    DecodeError,
    DownloadError,
    InvalidParameterError,
    MediaTooLargeError,
    StorageError,
    XaloraError,
    one_line,
)
from ..http.retry import backoff
from ..http.transport import Fetch
from ..media.decoding import inspect
from ..media.decoding.formats import MediaInfo
from ..media.decoding.limits import Limits
from ..media.receiver import GoneError, OnProgress, Receiver
from ..media.store import MediaStore
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from ..protocol.requests import Response
from ..protocol.urls import Link, display_url
from ..storage import files
from .session import Session, in_thread, logger, query

LONGEST_SILENCE = 30.0
"""Seconds without a byte after which a download is resumed on a new connection."""

LONGEST_PATIENCE = 120.0
"""The longest wait in seconds that a file server may ask for; users do not watch a node for longer."""

TRIES_WITHOUT_PROGRESS = 6

LEAST_PROGRESS = 1024
"""Bytes that a try must add to count as progress; at one byte per try, a download would never end."""

MOST_REDIRECTS = 5
MOST_MOVES = 5


@dataclass(frozen=True)
class MediaFile:
    """A result on disk.

    Attributes:
        path: The file in the store.
        sha256: The hash of its bytes, in hex.
        size: Its size in bytes.
        info: Its format, size in pixels, frames and rate.
    """

    path: Path
    sha256: str
    size: int
    info: MediaInfo

    def __fspath__(self) -> str:
        return str(self.path)

    def save(self, to: str | os.PathLike[str]) -> Path:
        """Copy the file out of the store.

        Args:
            to: The new file, or a folder, where it keeps its name: one that is there, or is made because of the
                slash at its end. A file that is there is replaced; a pipe, a device or a link is written into.

        Returns:
            The path of the copy.

        Raises:
            StorageError: It cannot be written. The file is safe in the store.
        """
        path = Path(to)
        try:
            if os.fspath(to).endswith(("/", os.sep)):
                path.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                path /= self.path.name
            files.copy(self.path, path)
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written: {error.strerror}", advice=f"It is in {self.path}."
            ) from error
        return path

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What a notebook shows."""
        kind, data = self.info.format.mime_type, base64.b64encode(self.path.read_bytes()).decode()
        if kind.startswith("video/"):
            return {"text/html": f'<video controls loop src="data:{kind};base64,{data}"></video>'}
        return {"text/html": f'<img src="data:{kind};base64,{data}">'}


async def download(
    session: Session,
    result: WorkflowTaskResult,
    store: MediaStore,
    limits: Limits,
    on_progress: OnProgress | None = None,
    number: int = 1,
) -> MediaFile:
    """Fetch a finished task's media into the store; ``number`` says which of several.

    What an earlier run completed is not downloaded again, wherever that run was stopped. Raises DownloadError when
    there is nothing to download or it does not arrive whole, MediaTooLargeError when a limit would be exceeded,
    DecodeError when the bytes are not media (a complete file is kept in either case, and named in the error), and
    StorageError when the store cannot be written.
    """
    if not isinstance(result, WorkflowTaskResult):
        raise InvalidParameterError("result", result, "a WorkflowTaskResult, such as wait_for_result(task_id) returns")
    task_id = result.task_id
    key = f"{session.name}\n{task_id}" if number == 1 else f"{session.name}\n{task_id}\n{number}"
    name = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32]
    try:
        for _ in range(MOST_MOVES):
            record = await session.with_ledger(lambda ledger: ledger.find(task_id))
            known = None if record is None else record.stored(number)
            stored = await in_thread(_stored, known, store, limits)
            if stored is not None:
                return stored
            try:
                whole = await in_thread(store.completed, name)
                if whole is None:
                    url = await _address(session, result, number, refresh=known is not None)
                    whole = await _fetch(session, task_id, number, url, store, name, limits, on_progress)
                return await _accept(session, task_id, number, *whole, store, limits)
            except _MovedError:
                continue
        raise DownloadError(f"The downloaded file disappeared from {store.folder}, {MOST_MOVES} times in a row")
    except XaloraError as error:
        if error.task_id:
            raise
        raise error.derived(task_id=task_id) from error


async def download_all(
    session: Session,
    result: WorkflowTaskResult,
    store: MediaStore,
    limits: Limits,
    on_progress: OnProgress | None = None,
    on_file: Callable[[MediaFile], object] | None = None,
) -> list[MediaFile]:
    """Fetch all media of a finished task, one after the other, as ``download`` does one."""
    found = []
    for number in range(1, 2 + len(result.more_media_urls)):
        found.append(await download(session, result, store, limits, on_progress, number))
        if on_file is not None:
            on_file(found[-1])
    return found


class _MovedError(Exception):
    """Another run has just moved the complete file into the store."""


def _stored(known: tuple[str, str] | None, store: MediaStore, limits: Limits) -> MediaFile | None:
    """The file of an earlier download, if the ledger knows one and its bytes are unchanged."""
    path = None if known is None else store.find(*known)
    if known is None or path is None:
        return None
    return MediaFile(path, known[0], path.stat().st_size, inspect(path, limits))


def _nth(result: WorkflowTaskResult, number: int) -> str | None:
    """The address of that one of the media."""
    return next(iter(result.media_urls[number - 1 : number]), None)


async def _address(session: Session, result: WorkflowTaskResult, number: int, *, refresh: bool) -> str:
    """The media's address. With ``refresh``, the server is asked again: the old link is as old as the lost file."""
    url = _nth(result, number)
    if result.status != TaskStatus.FINISHED or url is None:
        raise DownloadError(
            f"There is no media to download, the task is {result.status} and its result is {_described(result.result)}",
            task_id=result.task_id,
            advice="Wait until the task is finished; if it is, ask support with its id.",
        )
    if refresh:
        with suppress(XaloraError):
            return _nth(await query(session, result.task_id), number) or url
    return url


def _described(result: object) -> str:
    """A result without media, as text. An address is cut, because it may hold a password or a signature."""
    return display_url(result) if isinstance(result, str) and "//" in result else one_line(repr(result), 100)


async def _fetch(
    session: Session,
    task_id: str,
    number: int,
    url: str,
    store: MediaStore,
    name: str,
    limits: Limits,
    on_progress: OnProgress | None,
) -> tuple[Path, str]:
    """Download; returns the complete file, which is not in the store yet, and its hash."""
    part = store.incoming(name)  # Not in a thread: an interruption would leave the file, whose name nobody knows yet.
    receiver = Receiver(part, limits, on_progress)
    try:
        try:
            await _receive(session, url, receiver)
        except GoneError:
            fresh = _nth(await query(session, task_id), number)  # Links expire; there may be a new one.
            if fresh is None or fresh == url:
                raise
            await _receive(session, fresh, receiver)
        await in_thread(receiver.finish)
        sha256 = receiver.digest.hexdigest()
        return await in_thread(store.mark_complete, part, name, sha256), sha256
    except GoneError as gone:  # Known inside this package only.
        raise DownloadError(gone.what, task_id=task_id, code=gone.code) from None
    finally:
        receiver.discard()


async def _receive(session: Session, url: str, receiver: Receiver) -> None:
    """Receive until the file is complete, resuming after breaks."""
    warn_of_plain(session.sequencer.url, url)
    delays = backoff(session.options.rng)
    tries = farthest = 0
    while True:
        try:
            receiver.check_complete(await _request(session, url, receiver))
            return
        except XaloraError as error:
            if not error.transient:
                raise
            last_error = error
        if receiver.received >= farthest + LEAST_PROGRESS:
            tries, delays, farthest = 0, backoff(session.options.rng), receiver.received
        tries += 1
        wait = last_error.retry_after or 0.0
        if wait > LONGEST_PATIENCE:
            raise DownloadError(f"{last_error.what}, and asks to wait {wait:,.0f} s") from last_error
        if tries >= TRIES_WITHOUT_PROGRESS:
            raise DownloadError(f"The download broke off {tries} times: {last_error.what}") from last_error
        logger.info("The download of %s is resumed after a break: %s", display_url(url), last_error.what)
        await session.sleep(max(next(delays), wait))


async def _request(session: Session, url: str, receiver: Receiver) -> Response:
    """Request the file and follow redirects. Each try starts at the first address: redirect targets may expire."""
    for _ in range(MOST_REDIRECTS + 1):
        headers = receiver.request_headers()
        response = await session.transport.fetch(
            Fetch(url, headers, receiver.open, LONGEST_SILENCE, session.sequencer.url)
        )
        if not (300 <= response.status < 400 and "location" in response.headers):
            return response
        url = redirected(url, response.headers["location"])
    raise DownloadError(f"The download was redirected more than {MOST_REDIRECTS} times")


async def _accept(
    session: Session, task_id: str, number: int, whole: Path, sha256: str, store: MediaStore, limits: Limits
) -> MediaFile:
    """Inspect the file, write it to the ledger, and move it into the store.

    The order matters: after a stop at any moment, the file is found through the ledger or where it is now. If the
    ledger cannot record it (a full disk, a task it does not know), the file also stays where it is.
    """
    file = await in_thread(_examined, task_id, whole, sha256, store, limits)
    extension = file.info.format.extension
    recorded = await session.with_ledger(lambda ledger: ledger.stored(task_id, sha256, extension, file.size, number))
    keep = session.ledger is not None and not recorded
    path = await in_thread(store.commit, whole, sha256, extension, keep_source=keep)
    logger.info("The result of task %s is downloaded, %s bytes", task_id, f"{file.size:,}")
    await in_thread(_prune, store)
    return replace(file, path=path, info=replace(file.info, path=path))


def _examined(task_id: str, whole: Path, sha256: str, store: MediaStore, limits: Limits) -> MediaFile:
    try:
        return MediaFile(whole, sha256, whole.stat().st_size, inspect(whole, limits))
    except FileNotFoundError:
        raise _MovedError from None
    except DecodeError as error:
        if not whole.exists():
            raise _MovedError from None
        stored = store.reject(whole, f"{task_id}.bin")
        what, advice = error.what.replace(whole.name, "The downloaded file"), error.advice
        raise error.derived(what=what, advice=advice.replace(str(whole), str(stored)), path=stored) from error
    except MediaTooLargeError as error:
        what = error.what.replace(whole.name, "The downloaded file")
        raise error.derived(what=what, code="kept_media_too_large", params={"path": whole}, path=whole) from error


def _prune(store: MediaStore) -> None:
    """Keep the store within its budget. If that fails, the file that was just downloaded is still returned."""
    try:
        store.prune()
    except (StorageError, OSError) as error:
        logger.warning("Old media could not be removed: %s", error)


def redirected(url: str, location: str) -> str:
    """Where a redirect leads. Raises DownloadError where it may not lead: the server chose it, not the user."""
    kind = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]{0,20}):", location)
    if kind is not None and kind[1].lower() not in ("http", "https"):
        raise DownloadError(f"The download was redirected to an unsafe address that begins with {kind[1]}:")
    try:
        old = Link.parse(url)
        new = old.join(location)
    except ValueError:
        raise DownloadError("The download was redirected to something that is not an address") from None
    if old.scheme == "https" and new.scheme == "http":
        raise DownloadError(f"The download was redirected to an unsafe address, {new.display_url}")
    return new.text


def warn_of_plain(sequencer: str, url: str) -> None:
    """Warn when a secure sequencer names a plain http address. It is still used, because the result is charged."""
    if sequencer.lower().startswith("https:") and url.strip().lower().startswith("http:"):
        logger.warning(
            "The result is downloaded without encryption, because the server gave an http address: %s", display_url(url)
        )
