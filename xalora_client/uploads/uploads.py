"""An address for each input of a task, by the upload method that the settings choose.

In a bucket, an object is named by its job and its content: ``<folder of the home>/<job id>/<sha256><extension>``. The
ledger has the job before the upload begins. So a later run that sends the same job again finds what is there already,
and whoever sees the job's end knows what to remove. No two jobs share an object.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import platform
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from weakref import WeakKeyDictionary

from ..config import Config
from ..config.validation import AUTO, BY_BUCKET, BY_DATA_URI, BY_SEQUENCER, is_public
from ..errors import ConfigurationError, InvalidParameterError, NetworkError, StorageError, XaloraError
from ..http.upload import WebTransport
from ..protocol import inputs as images
from ..protocol.inputs import InputImage, images_in, stored_hashes
from ..protocol.parameters import encode_data_uri
from ..protocol.requests import CreateRequest
from ..protocol.tasks import UpscalerTask, WorkflowTask
from ..protocol.urls import expiry
from .bucket import Bucket
from .to_sequencer import SequencerUploads, takes_uploads

logger = logging.getLogger("xalora_client")

LARGEST_INLINE = 32 * 1024 * 1024
"""The most bytes of an input that is sent inside the create."""

DEFAULT_TASK_SECONDS = 24 * 3600
"""How long a link is valid for a task without ``timeout_seconds``."""

MARGIN = 3600
"""Seconds that a link is valid longer than its task may take: for queues, and for clocks that differ."""

REMOVAL_SECONDS = 10.0
"""The longest that a removal may take: a finished result and a canceled run wait for it."""

REMOVAL_TRIES = 2

REMOVALS_AT_ONCE = 8

PAUSE_SECONDS = 60.0
"""After a removal without an answer, how long no other is tried, so that results wait for a silent bucket once."""

# Not Python's own table: it differs between versions and systems, and an object has one name.
_EXTENSIONS = {f"image/{kind}": f".{kind}" for kind in ("avif", "bmp", "gif", "png", "tiff", "webp")}
_EXTENSIONS["image/jpeg"] = ".jpg"


@dataclass(frozen=True)
class UploadProgress:
    """How much of one image has been uploaded.

    Attributes:
        name: What messages call the image.
        sent: Bytes sent so far. It starts again when an upload is tried again.
        total: Bytes of the encoded image.
    """

    name: str
    sent: int
    total: int


Check = Callable[..., bytes]
OnUpload = Callable[[UploadProgress], object]

Claimed = tuple[CreateRequest, bool]
"""A job that the ledger has, and whether an earlier run may have sent it, or uploaded inputs of it, before."""


class UploadLimiter:
    """How much is done at once on one event loop.

    Attributes:
        uploads: Upload slots: so many inputs are held encoded at most.
        encoders: Encoder slots: one more input is encoded at a time than there are cores.
        removals: Slots for removals.
    """

    def __init__(self, at_once: int) -> None:
        self.uploads: asyncio.Semaphore = asyncio.Semaphore(at_once)
        # One more than cores, for the moments in which an input waits for the ledger. More threads would only hold
        # more pixels.
        self.encoders: asyncio.Semaphore = asyncio.Semaphore(min(at_once, (os.cpu_count() or 1) + 1))
        self.removals: asyncio.Semaphore = asyncio.Semaphore(REMOVALS_AT_ONCE)


class EncoderSlot:
    """An encoder slot for a task, kept from an input's hash to its encoding, so that its pixels are made once."""

    def __init__(self, limiter: UploadLimiter) -> None:
        self._slots = limiter.encoders
        self._acquired = False

    async def acquire(self) -> None:
        """Wait for the slot, unless the task has it."""
        if not self._acquired:
            await self._slots.acquire()
            self._acquired = True

    async def encode(self, file: InputImage, check: Callable[[bytes], bytes]) -> tuple[bytes, str]:
        """Encode the input, and release the slot. Returns what ``check`` makes of it, and its type."""

        def encoded() -> tuple[bytes, str]:
            content = file.content()
            checked = content if file.is_checked else check(content)
            return checked, file.media_type if checked is content else "image/png"

        await self.acquire()
        try:
            return await asyncio.to_thread(encoded)
        finally:
            self.release()

    def release(self) -> None:
        """Leave the slot to other tasks, if this one has it."""
        if self._acquired:
            self._acquired = False
            self._slots.release()


class Uploads:
    """The inputs of one client's tasks. It may be used on several event loops, one after the other.

    The caller has the claim of a job: no two calls for one job run at once.

    Args:
        config: The settings, which choose the upload method.
        url: The sequencer's address.
        at_once: The most inputs that are held encoded at a time.
        sleep: ``await sleep(seconds)`` between tries.
        check: ``check(content, name, single=…)`` returns what is sent of an image, or raises InvalidParameterError.
            ``single``: its task takes one picture.
    """

    def __init__(
        self,
        config: Config,
        url: str,
        at_once: int = 8,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        *,
        check: Check,
    ) -> None:
        self._config = config
        self._check = check
        self._at_once = at_once
        self._limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, UploadLimiter] = WeakKeyDictionary()
        web = WebTransport()
        self._sequencer = SequencerUploads(url, web, sleep)
        self._known_method: str | None = None
        self._folder = folder_of(config.home)
        self._bucket: Bucket | None = None
        if config.bucket and config.image_delivery in (AUTO, BY_BUCKET):
            self._bucket = Bucket(config.bucket, config.bucket_options.reveal(), web, sleep)
        self._may_read = False
        # By job id, what was uploaded ahead: by the input's hash the object's name, or the address at the sequencer.
        self._uploaded: dict[str, dict[str, str]] = {}
        # By job id: what may be in the bucket.
        self._stored: dict[str, set[str]] = {}
        self._unremoved: set[str] = set()
        # Uploads that were canceled. If all of one was sent, it may be stored only after its removal.
        self._interrupted: set[str] = set()
        self._paused_until = 0.0

    @property
    def removes(self) -> bool:
        """Whether anything is to be removed after a task."""
        return self._bucket is not None and not self._config.bucket_keep

    async def upload_ahead(
        self,
        task: WorkflowTask,
        claim: Callable[[], Awaitable[Claimed | None]],
        on_upload: OnUpload | None = None,
    ) -> None:
        """Upload a task's inputs ahead of its create, unless they are sent inside it.

        ``claim()`` is awaited when it is the task's turn and there is something to upload. It writes the job into the
        ledger, for which it hashes the inputs, or returns None when nothing is to be uploaded. Raises as
        ``with_addresses``.
        """
        limiter = self._limiter()
        async with limiter.uploads:
            inputs = await asyncio.to_thread(images_in, task.task_details)
            if not inputs or await self._method() == BY_DATA_URI:
                return
            slot = EncoderSlot(limiter)
            try:
                await slot.acquire()
                claimed = await claim()
                if claimed is not None:
                    files = await asyncio.to_thread(_by_hash, inputs)
                    self._uploaded[claimed[0].job_id] = await self._upload(claimed, files, slot, on_upload)
            finally:
                slot.release()

    async def with_addresses(self, request: CreateRequest, *, resent: bool = False) -> Any:
        """The task's details with an address for each input in them; what was not uploaded ahead is uploaded.

        ``resent`` says that an earlier run may have uploaded inputs of this job. Then the bucket is asked for them.

        Raises ConfigurationError when no method can be used, StorageError when the bucket refuses an input,
        APIStatusError when the sequencer does, InvalidParameterError when a signed link has expired or an input cannot
        be encoded, and NetworkError when no complete answer comes back. Each says that nothing was sent.
        """
        details = request.task.task_details
        inputs = await asyncio.to_thread(images_in, details)
        await asyncio.to_thread(_check_links, details)  # Also where there is more room for deep details.
        if not inputs:
            return details
        limiter = self._limiter()
        try:
            addresses = self._uploaded.pop(request.job_id, {})
            files = await asyncio.to_thread(_by_hash, inputs)
            if not files.keys() <= addresses.keys():
                async with limiter.uploads:
                    addresses = await self._upload((request, resent), files, EncoderSlot(limiter), None)
            if self._bucket is not None:
                seconds = (request.task.timeout_seconds or DEFAULT_TASK_SECONDS) + MARGIN
                addresses = {sha256: await self._bucket.link(name, seconds) for sha256, name in addresses.items()}
        except XaloraError as error:
            raise error.derived(sent="no") from error
        return await asyncio.to_thread(images.with_addresses, details, lambda file: addresses[file.sha256()])

    async def remove(self, job_id: str, parameters: Any = None) -> None:
        """Remove what was uploaded for a job that has ended, or that was never sent. What fails is logged.

        ``parameters`` are the job's in the ledger: they show what earlier runs uploaded. This takes little more than
        REMOVAL_SECONDS. What is not removed by then is tried again in ``close``.
        """
        self._uploaded.pop(job_id, None)
        names = self._stored.pop(job_id, set())
        if self.removes:
            earlier = {object_name(self._folder, job_id, *stored) for stored in stored_hashes(parameters)}
            await self._remove(names | earlier)

    async def close(self) -> None:
        """Try once more to remove what could not be removed."""
        self._paused_until = 0.0
        await self._remove(self._unremoved | self._interrupted)
        if self._unremoved:
            logger.warning("%s", StorageError(code="inputs_stay", params={"count": len(self._unremoved)}))

    async def about_server(self, tries: int) -> dict[str, Any]:
        """What a server of ours says of itself: see ``SequencerUploads.about``."""
        return await self._sequencer.about(tries)

    async def _method(self) -> str:
        if self._known_method is None:
            method = upload_method(self._config, takes_uploads=True)
            if method == BY_SEQUENCER and not takes_uploads(await self._sequencer.about()):
                method = upload_method(self._config, takes_uploads=False)
            self._known_method = method
        return self._known_method

    async def _upload(
        self, claimed: Claimed, files: Mapping[str, InputImage], slot: EncoderSlot, on_upload: OnUpload | None
    ) -> dict[str, str]:
        """Upload the inputs, which come by their hashes. Returns their addresses, or names in the bucket, by hash."""
        addresses: dict[str, str] = {}
        for sha256, file in files.items():
            try:
                addresses[sha256] = await self._upload_one(claimed, file, slot, on_upload)
            except InvalidParameterError:  # It names the input itself.
                raise
            except XaloraError as error:
                reason = f"{error.what[:1].lower()}{error.what[1:]}"
                what = f"{file.subject} was not uploaded, so no task was created: {reason}"
                raise error.derived(what=what, sent="no") from error
        return addresses

    async def _upload_one(
        self, claimed: Claimed, file: InputImage, slot: EncoderSlot, on_upload: OnUpload | None
    ) -> str:
        request, resent = claimed

        def on_sent(sent: int, total: int) -> None:
            if on_upload is not None:
                on_upload(UploadProgress(file.name, sent, total))

        single = request.task.task_type == UpscalerTask.type_name
        check = partial(self._check, name=file.name, single=single)
        bucket = self._bucket
        if bucket is None:
            by_data_uri = await self._method() == BY_DATA_URI
            content, media_type = await slot.encode(file, check)
            if by_data_uri:
                return await asyncio.to_thread(_data_uri, file.name, content, media_type)
            return await self._sequencer.put(content, media_type, request.credentials, on_sent)
        name = object_name(self._folder, request.job_id, file.sha256(), file.media_type)
        # The first answer says what is wrong with the bucket, before anything is encoded.
        if resent or not bucket.answered:
            slot.release()  # A bucket that does not answer must not keep others from encoding.
            if await bucket.has(name):
                return name
        content, media_type = await slot.encode(file, check)
        if self.removes:
            self._stored.setdefault(request.job_id, set()).add(name)
        try:
            await bucket.put(name, content, media_type, on_sent)
        except asyncio.CancelledError:
            if self.removes:
                self._interrupted.add(name)
            raise
        if not self._may_read:  # Else only the miners would find out that the key may not read.
            await bucket.has(name, stored=True)
            self._may_read = True
        return name

    async def _remove(self, names: set[str]) -> None:
        """Remove objects, several at once. What fails is logged and kept for another try."""

        async def remove(bucket: Bucket, name: str) -> None:
            async with self._limiter().removals:
                self._unremoved.add(name)
                if time.monotonic() < self._paused_until:
                    return
                try:
                    await asyncio.wait_for(bucket.remove(name, REMOVAL_TRIES), REMOVAL_SECONDS)
                except (XaloraError, asyncio.TimeoutError) as error:
                    if isinstance(error, NetworkError | asyncio.TimeoutError):
                        self._paused_until = time.monotonic() + PAUSE_SECONDS
                    reason = error if isinstance(error, XaloraError) else f"no answer within {REMOVAL_SECONDS:.0f} s"
                    logger.warning("An image is not removed yet: %s", reason)
                else:
                    self._unremoved.discard(name)

        if self._bucket is not None:
            await asyncio.gather(*(remove(self._bucket, name) for name in names))

    def _limiter(self) -> UploadLimiter:
        return self._limiters.setdefault(asyncio.get_running_loop(), UploadLimiter(self._at_once))


def folder_of(home: Path) -> str:
    """The folder in the bucket for the inputs of one home on one machine, so that none removes another's."""
    return hashlib.sha256(f"{platform.node()}\0{home.absolute()}".encode()).hexdigest()[:10]


def object_name(folder: str, job_id: str, sha256: str, media_type: str) -> str:
    """The name of an input's object."""
    job = quote(job_id, safe="").replace("~", "%7E").replace("%", "~")  # Percent signs are quoted in links, again.
    return f"{folder}/{job}/{sha256}{_EXTENSIONS.get(media_type.lower(), '')}"


def job_of(name: str) -> str:
    """The job id in the name of an object."""
    return unquote(name.split("/")[1].replace("~", "%"))


def upload_method(config: Config, *, takes_uploads: bool) -> str:
    """How images get to the miners: BY_BUCKET, BY_SEQUENCER or BY_DATA_URI.

    ``takes_uploads`` says whether the sequencer takes uploads. Raises ConfigurationError when images cannot be sent.
    """
    wanted, public = config.image_delivery, is_public(config.workflow_url)
    if config.bucket and wanted in (AUTO, BY_BUCKET):
        return BY_BUCKET
    if wanted == BY_BUCKET:
        reason = "no bucket is set"
    elif wanted != BY_DATA_URI and takes_uploads and not public:
        return BY_SEQUENCER
    elif wanted == BY_SEQUENCER:
        reason = "this sequencer takes no uploads"
    elif public:
        reason = "the public network's miners fetch them only by http or https"
    else:
        return BY_DATA_URI
    raise ConfigurationError(f"Images cannot be sent, because {reason}", code="no_bucket")


def _by_hash(inputs: list[InputImage]) -> dict[str, InputImage]:
    return {file.sha256(): file for file in inputs}


def _data_uri(name: str, content: bytes, media_type: str) -> str:
    if len(content) > LARGEST_INLINE:
        limit = f"{LARGEST_INLINE / 1e6:.0f} MB"
        error = InvalidParameterError("image", f"{name}, {len(content) / 1e6:.0f} MB", limit)
        raise error.derived(code="input_too_large", params={"limit": limit})
    return encode_data_uri(content, media_type)


def _check_links(details: Any) -> None:
    """Refuse signed links that have expired. Raises InvalidParameterError."""
    if isinstance(details, str):
        expires = expiry(details)
        if expires is not None and expires <= datetime.fromtimestamp(time.time(), timezone.utc):
            link = f"a link that expired at {expires:%Y-%m-%d %H:%M} UTC"
            raise InvalidParameterError("image", link, "a link that is valid for the time of the task; make a new one")
    elif isinstance(details, dict | list | tuple):
        for value in details.values() if isinstance(details, dict) else details:
            _check_links(value)
